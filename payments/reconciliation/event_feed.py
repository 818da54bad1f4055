"""Events: read Stripe's own record of what happened into the webhook inbox, every minute (RULES R87).

Webhooks that were lost, late money, refunds and disputes in Stripe's dashboard all arrive by this path: the same table,
the same worker, and a duplicate changes nothing. A shop whose webhook endpoint was never set up works all the same.
"""

import datetime

from django.conf import settings
from django.utils import timezone

from payments.gateways.base import Event, Window, gateway
from payments.models import Heartbeat
from payments.monitoring.heartbeats import beat
from payments.reconciliation.inbox import store_events
from payments.reconciliation.rate_limit import Pace

_FIRST_LOOK = datetime.timedelta(hours=1)  # without a cursor; what is older is the long sweep's
_SLICE = datetime.timedelta(hours=1)  # after an outage: so much at a time, so that what was read stays read


def read_events(pace: Pace | None = None) -> int:
    """Store what Stripe tells of since the cursor; how many events were read, duplicates included.

    The cursor moves by Stripe's clock only, slice by slice, and each slice begins EVENTS_OVERLAP before it: an event
    may become visible a little after one that was created later. Killed anywhere, the next round reads the slice again.

    Raises:
        GatewayError: Stripe does not answer; what was read stays.
    """
    pace = pace or Pace()
    read = 0
    start, now = _cursor(), timezone.now()
    while start + 2 * _SLICE < now:
        read += _read_slice(_window(start, start + _SLICE), pace)[0]
        start += _SLICE
        _keep(start)
    last, newest = _read_slice(_window(start, None), pace)
    if newest:
        _keep(max(start, datetime.datetime.fromtimestamp(newest, datetime.UTC)))
    beat(Heartbeat.Name.EVENTS)
    return read + last


def _window(start: datetime.datetime, end: datetime.datetime | None) -> Window:
    """The newest slice is open to the future: Stripe's clock decides, and ours may be behind it."""
    return Window(int((start - settings.EVENTS_OVERLAP).timestamp()), int(end.timestamp()) if end else None)


def _read_slice(window: Window, pace: Pace) -> tuple[int, int]:
    """How many, and when Stripe made the newest of them."""
    read = newest = 0
    for page in pace.pages(gateway().list_events(window)):
        store_events(page)
        read += len(page)
        newest = max(newest, _newest(page))
    return read, newest


def _newest(page: list[Event]) -> int:
    return max((event.created for event in page), default=0)


def _cursor() -> datetime.datetime:
    row = Heartbeat.objects.filter(name=Heartbeat.Name.EVENTS).first()
    return row.cursor if row is not None and row.cursor else timezone.now() - _FIRST_LOOK


def _keep(cursor: datetime.datetime) -> None:
    """Two readers at once may both write it; the overlap and the inbox's unique ids make either right."""
    Heartbeat.objects.update_or_create(
        name=Heartbeat.Name.EVENTS,
        defaults={"cursor": cursor},
        create_defaults={"cursor": cursor, "beat_at": timezone.now()},
    )
