"""The live state of an order's payment, as the API and the pages tell it (DESIGN section 8, payment-status)."""

from typing import Any

from django.db.models import Exists

from orders.attempts import newest_attempt
from orders.models import Order
from payments import responses
from payments.breaks import money_elsewhere
from payments.gateways.base import Intent
from payments.models import Attempt, Payment


def payment_status(order: Order, intent: Intent | None = None) -> dict[str, Any]:
    """What is so now. `intent` is a fresh look, if there was one: the only source of a `next_action`."""
    newest = newest_attempt(order)
    return {
        "order_status": order.status,
        "payment_status": newest.payment_status if newest else "none",
        "payment": newest.payment_id if newest else None,
        "pay_key": order.pay_key if may_press(order) else None,
        "next_action": responses.next_action_of(intent),
        "reason": (newest.reason or None) if newest else None,
        "receipt_url": order.get_absolute_url() if order.is_paid else None,
    }


def may_press(order: Order) -> bool:
    """Whether a press of Pay may start now."""
    if order.status != Order.Status.PENDING or order.is_closing:
        return False
    if Attempt.objects.filter(order=order).live().exists():
        return False
    closing = Payment.objects.filter(order=order, phase=Payment.Phase.CLOSING)
    return not Order.objects.filter(Exists(closing) | Exists(money_elsewhere(order)), pk=order.pk).exists()
