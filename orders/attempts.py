"""What orders need to know of payment attempts: read by the reverse relation, for orders never imports payments."""

from typing import Protocol

from orders.models import Order

# Nothing was charged, and nothing will be. Every other attempt is live: it may still charge, or has (DESIGN section 1).
NOT_LIVE = ("declined", "failed", "canceled", "released")


class Press(Protocol):
    """An attempt, as far as orders look at it."""

    outcome: str
    phase: str
    reason: str

    @property
    def payment_status(self) -> str: ...


def live_attempt(order: Order) -> Press | None:
    """The order's press of Pay that may still charge or has charged."""
    return order.attempts.exclude(outcome__in=NOT_LIVE).first()


def newest_attempt(order: Order) -> Press | None:
    """The last press of Pay."""
    return order.attempts.order_by("-number").first()
