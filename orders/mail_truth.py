"""Is what a mail says still so when it is about to be sent? Between owing and sending the order goes on."""

from enum import Enum, auto

from orders.attempts import live_attempt, refund_of, took_other_amount, was_charged
from orders.models import Mail, Order


class Say(Enum):
    NOW = auto()
    LATER = auto()  # what it says may be so or not: a press is being decided
    NEVER = auto()


def what_to_say(mail: Mail) -> Say:
    """From the rows as they are now; `mail.order` must have just been read."""
    order = mail.order
    match Mail.Kind(mail.kind):
        case Mail.Kind.RECEIPT:
            return Say.NOW if order.is_paid else Say.NEVER
        case Mail.Kind.CANCELED:
            return _not_charged(order) if order.status == Order.Status.CANCELED else Say.NEVER
        case Mail.Kind.FINISH_PAYING:
            if order.status not in (Order.Status.PENDING, Order.Status.EXPIRED) or took_other_amount(order):
                return Say.NEVER
            return _not_charged(order)
        case Mail.Kind.REFUND:
            refund = refund_of(order, mail.subject)  # it may have failed after it had succeeded
            return Say.NOW if refund is not None and refund.outcome == "succeeded" else Say.NEVER
        case Mail.Kind.LATE_MONEY:
            return Say.NOW if was_charged(order) else Say.NEVER


def why_never(mail: Mail) -> str:
    """In words for staff: what is not so of a mail that would be dropped."""
    order = mail.order
    match Mail.Kind(mail.kind):
        case Mail.Kind.RECEIPT:
            return f"It is a receipt, and the order is {order.status}"
        case Mail.Kind.REFUND:
            return "It tells of a refund that has not gone back"
        case Mail.Kind.LATE_MONEY:
            return "It tells of money that came late, and none came"
        case Mail.Kind.CANCELED if order.status != Order.Status.CANCELED:
            return f"It says that the order is canceled, and the order is {order.status}"
        case Mail.Kind.FINISH_PAYING if not (was_charged(order) or took_other_amount(order)):
            return f"It asks to finish paying, and the order is {order.status}"
        case _:
            return "Money of the order has arrived, and the mail says the opposite"


def _not_charged(order: Order) -> Say:
    """Whether "you were not charged" may be said. Never while somebody may still find a charge (UX14)."""
    if was_charged(order):
        return Say.NEVER
    return Say.LATER if order.is_closing or live_attempt(order) else Say.NOW
