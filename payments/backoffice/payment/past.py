"""Past: what an order's own row may have forgotten: that it was given up, by whom, and that money came all the same."""

from collections.abc import Iterable
from dataclasses import dataclass

from payments.backoffice.payment.times import when_text
from payments.models import PaymentEvent

# Whose wish it was that an order ended, where it was nobody of staff.
_BY = {"shopper": "the shopper", "expiry": "itself, for its time was over"}


@dataclass
class Past:
    ended: PaymentEvent | None = None
    late: PaymentEvent | None = None


def past_of(order_ids: Iterable[str]) -> dict[str, Past]:
    """Of each of these orders; one query."""
    kinds = (PaymentEvent.ORDER_ENDED, PaymentEvent.LATE_MONEY)
    found = {order_id: Past() for order_id in order_ids}
    for event in PaymentEvent.objects.filter(order_id__in=list(found), kind__in=kinds).order_by("id"):
        if event.kind == PaymentEvent.ORDER_ENDED:
            found[event.order_id].ended = event
        else:
            found[event.order_id].late = event
    return found


def end_in_words(event: PaymentEvent) -> str:
    """`canceled by clara`."""
    return f"{event.to_state} by {_BY.get(event.actor, event.actor)}"


def late_in_words(event: PaymentEvent) -> str:
    if event.to_state == event.from_state:
        return f"Late money: the order was {event.from_state} and its goods are gone, so all of the money goes back"
    return f"Late money: the order was {event.from_state} and its goods were still here, so it is revived and paid"


def past_in_words(past: Past) -> str:
    """Of an order whose money came late; else nothing."""
    if past.late is None:
        return ""
    ended = f"{end_in_words(past.ended)} at {when_text(past.ended.at)}" if past.ended else past.late.from_state
    if past.late.to_state == past.late.from_state:
        return f"It was {ended}. The money came after that, and its goods were gone: all of it goes back."
    return f"It was {ended}. The money came after that, and its goods were still here: it is revived."
