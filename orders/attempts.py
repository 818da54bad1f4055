"""What orders need to know of payment attempts: read by the reverse relation, for orders never imports payments."""

from typing import Any, Protocol

from django.db.models import Case, When

from orders.models import Order

# Nothing was charged, and nothing will be. Every other attempt is live: it may still charge, or has (DESIGN section 1).
NOT_LIVE = ("declined", "failed", "canceled", "released")


class Press(Protocol):
    """An attempt, as far as orders look at it."""

    outcome: str
    phase: str
    reason: str
    payment_id: str

    @property
    def payment_status(self) -> str: ...


class GivenBack(Protocol):
    """A refund, as far as orders look at it."""

    amount_minor: int
    currency: str
    outcome: str
    payment: Any

    @property
    def is_of_credited_charge(self) -> bool: ...


def live_attempt(order: Order) -> Press | None:
    """The order's press of Pay that may still charge or has charged."""
    return order.attempts.exclude(outcome__in=NOT_LIVE).first()


def newest_attempt(order: Order) -> Press | None:
    """The press that the order's state is about: the live one if there is one, else the last.

    A released press may be claimed again by its own key after a later one was declined: then the older is the live one.
    """
    dead_last = Case(When(outcome__in=NOT_LIVE, then=1), default=0)
    return order.attempts.order_by(dead_last, "-number").first()


# The press took another amount than the order's total, and all of that has gone back: the order is not paid by it, and
# "you were not charged" would be a lie.
OTHER_AMOUNT = "other-amount"


def took_other_amount(order: Order) -> bool:
    return order.attempts.filter(reason=OTHER_AMOUNT).exists()


# What an order's last state was when money was found that nobody knew of, or was sure of, until then.
_IN_DOUBT = ("unknown", "processing", "open", "closing")


def was_found(order: Order) -> bool:
    """Whether the order's payment was not known for a while, and then found."""
    return order.payment_events.filter(kind="settled", from_state__in=_IN_DOUBT, to_state="succeeded").exists()


def refund_of(order: Order, refund_id: str) -> GivenBack | None:
    """The order's refund of this id."""
    payment = order.payments.filter(refunds__pk=refund_id).first()
    return payment.refunds.get(pk=refund_id) if payment else None


def was_charged(order: Order) -> bool:
    """Whether money of this order has arrived, whatever became of the order."""
    return order.payments.filter(captured_minor__gt=0).exists()
