"""Rebuild: a payment whose row our database lost while Stripe kept the money (crash point C22).

Only what the intent's metadata proves: it names our order, and a payment whose id we derive from that order's id, for
the order's exact amount and currency; and no other payment of the order may charge it.
"""

from orders.models import Order
from payments.gateways.base import Intent
from payments.models import Asker, Payment, payment_id
from payments.pay import new_payment
from payments.row_lock import again_on_conflict, locked_order
from payments.seek import give_intent

_MOST_PAYMENTS = 50  # of one order; each but the first follows one that was given up


@again_on_conflict
def rebuild_payment(order_id: str, intent: Intent) -> bool:
    """Give the order its payment back, open and with this intent, ready to be settled. False if it is not proven."""
    with locked_order(order_id) as order:
        n = _number_of(order, intent)
        if n is None or (order.total_minor, order.currency) != (intent.amount_minor, intent.currency):
            return False
        if Payment.objects.filter(order=order).exclude(phase__in=Payment.OVER).exclude(n=n).exists():
            return False
        payment = Payment.objects.filter(order=order, n=n).first() or new_payment(order, n)
        return give_intent(order, payment, intent, Asker.SWEEP)


def _number_of(order: Order, intent: Intent) -> int | None:
    """Which of the order's payments the intent was created for."""
    named = intent.metadata.get("payment")
    return next((n for n in range(1, _MOST_PAYMENTS + 1) if payment_id(order.pk, n) == named), None)
