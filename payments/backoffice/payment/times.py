"""Times in sentences for staff: UTC, and with the day unless it is today."""

import datetime

from django.utils import timezone


def when_text(at: datetime.datetime) -> str:
    """`18:05:57 UTC`, or `2026-11-25 18:05:57 UTC`."""
    at = at.astimezone(datetime.UTC)
    return f"{at:%H:%M:%S} UTC" if at.date() == timezone.now().date() else f"{at:%Y-%m-%d %H:%M:%S} UTC"
