"""A moment given on a command line."""

import datetime

from django.core.management.base import CommandError
from django.utils.dateparse import parse_datetime


def moment(option: str, text: str) -> datetime.datetime:
    """The moment that the text says, with its zone.

    Raises:
        CommandError: with exit code 2 (could not check) for a text that is no moment, or that has no zone.
    """
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise CommandError(f"{option}: give a moment with its zone, such as 2026-11-24T10:00:00Z", returncode=2)
    return found
