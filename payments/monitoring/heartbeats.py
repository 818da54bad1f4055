"""Heartbeats: when each repeated piece of repair last completed. /healthz/payments shows their ages (RULES R90)."""

import datetime
from dataclasses import dataclass

from django.utils import timezone

from payments.models import Heartbeat

# Older than this and nobody repairs: /healthz/payments is red.
LATE_AFTER = {
    Heartbeat.Name.COMPLETER: datetime.timedelta(minutes=5),
    Heartbeat.Name.EVENTS: datetime.timedelta(minutes=5),
    Heartbeat.Name.SWEEP: datetime.timedelta(minutes=30),
    Heartbeat.Name.LONG_SWEEP: datetime.timedelta(hours=36),
}


def beat(name: Heartbeat.Name) -> None:
    """A round has completed: everything that was due was looked at."""
    Heartbeat.objects.update_or_create(name=name, defaults={"beat_at": timezone.now(), "has_beaten": True})


@dataclass(frozen=True)
class Beat:
    """When it last completed; `has_beaten` is false while that is only when the shop was installed."""

    at: datetime.datetime
    has_beaten: bool
    began_at: datetime.datetime | None  # of the round under way


def beats() -> dict[str, Beat]:
    """Of each that has a row. Of the others nothing is known."""
    return {row.name: Beat(row.beat_at, row.has_beaten, row.began_at) for row in Heartbeat.objects.order_by("name")}


def ages(seen: dict[str, Beat], now: datetime.datetime) -> dict[str, datetime.timedelta]:
    """How long ago each completed."""
    return {name: max(now - one.at, datetime.timedelta(0)) for name, one in seen.items()}


def late(now_ages: dict[str, datetime.timedelta]) -> list[str]:
    """Those that should have completed since."""
    return [name for name, age in now_ages.items() if age > LATE_AFTER[Heartbeat.Name(name)]]
