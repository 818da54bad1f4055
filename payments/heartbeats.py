"""Heartbeats: when each repeated piece of repair last completed. /healthz/payments shows their ages (RULES R90)."""

import datetime

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
    Heartbeat.objects.update_or_create(name=name, defaults={"beat_at": timezone.now()})


def ages() -> dict[str, datetime.timedelta]:
    """How long ago each completed. Without those that have no row: nothing is known of them."""
    now = timezone.now()
    return {row.name: max(now - row.beat_at, datetime.timedelta(0)) for row in Heartbeat.objects.order_by("name")}


def late(now_ages: dict[str, datetime.timedelta]) -> list[str]:
    """Those that should have completed since."""
    return [name for name, age in now_ages.items() if age > LATE_AFTER[Heartbeat.Name(name)]]
