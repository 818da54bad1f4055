"""What an order's page says: one word for each state that a shopper can meet."""

from enum import StrEnum

from orders.attempts import NOT_LIVE, Press
from orders.models import Order


class Shown(StrEnum):
    """The states of the order page. Nothing here is called failed while it may still be paid (UX14)."""

    OPEN = "open"  # waits for a first press, or for another after a start-over
    DECLINED = "declined"  # the last press ended in a definite no
    ASKING = "asking"  # we do not know yet, or work on it right now
    ACTION = "action"  # the bank waits for the shopper (3-D Secure)
    CLOSING = "closing"  # being given up; the bank has the last word
    PAID = "paid"
    REFUNDED = "refunded"
    CANCELED = "canceled"
    EXPIRED = "expired"


_ENDED = {
    Order.Status.PAID: Shown.PAID,
    Order.Status.FULFILLED: Shown.PAID,
    Order.Status.REFUNDED: Shown.REFUNDED,
    Order.Status.CANCELED: Shown.CANCELED,
    Order.Status.EXPIRED: Shown.EXPIRED,
}


def shown_state(order: Order, newest: Press | None) -> Shown:
    """The state, from the order and its newest press of Pay."""
    if ended := _ENDED.get(Order.Status(order.status)):
        return ended
    if order.is_closing:
        return Shown.CLOSING
    if newest is None:
        return Shown.OPEN
    if newest.outcome not in NOT_LIVE:
        return Shown.ACTION if newest.outcome == "requires_action" else Shown.ASKING
    return Shown.DECLINED if newest.outcome in ("declined", "failed") else Shown.OPEN
