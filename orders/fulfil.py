"""Fulfil: staff say that an order's goods leave the house. Once, and never while its money may not be ours to keep, or
while the order does not hold its goods and cannot take them.

Every writer of an order's money takes the order's row first: settling, a refund's claim, a dispute. So what is read
here under that row's lock is so until the order is fulfilled, and whoever comes later finds it fulfilled.
"""

from django.db import transaction
from django.utils import timezone

from orders import ends, goods
from orders.attempts import NOT_LIVE
from orders.models import Order
from shop.acts import Act, Snapshot, witnessed


class CannotFulfil(Exception):
    """The order may not be fulfilled now; says why. Nothing was done."""


def fulfil_order(order_id: str, act: Act) -> None:
    """paid -> fulfilled, with its audit row, in one transaction under the order's lock.

    Goods that the order does not hold (a refund that had put them back on sale has failed) it takes first: all of them,
    or nothing is done.

    Raises:
        CannotFulfil: with the reason. DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        order = Order.objects.select_for_update(no_key=True, of=("self",)).get(pk=order_id)
        with witnessed(act):
            if reason := why_not_fulfil(order):
                raise CannotFulfil(reason)
            if not goods.take(order):  # somebody bought them since the look
                raise CannotFulfil(_why_no_goods(order) or "Its goods are being bought. Look again.")
            if not ends.fulfil(order, timezone.now()):
                raise RuntimeError(f"Bug! Order {order.number} was paid, and moved under our lock.")


def why_not_fulfil(order: Order) -> str:
    """Why the order's goods must stay here, in words for staff; "" if they may go."""
    if order.status != Order.Status.PAID:
        return _WHY_NOT.get(Order.Status(order.status), f"It is {order.status}.")
    if order.is_closing:
        return "It is being given up."
    if any(payment.disputes.withholding().exists() for payment in order.payments.all()):
        return "Its money is disputed: the shopper's bank may keep it."
    if _all_goes_back(order):
        return "All of its money is going back."
    if _other_breaks(order):
        return "It has an open break: resolve it first."
    return _why_no_goods(order)


_WHY_NOT = {
    Order.Status.PENDING: "It is not paid.",
    Order.Status.FULFILLED: "It is fulfilled already.",
    Order.Status.CANCELED: "It was canceled.",
    Order.Status.EXPIRED: "It expired before it was paid.",
    Order.Status.REFUNDED: "Its money has gone back.",
}


def _other_breaks(order: Order) -> bool:
    """Open ones, but for the one that says that the goods are missing: taking them resolves it."""
    return any(one.found_by != goods.BREAK_OF_GOODS for one in order.breaks.filter(resolved_at=None))


def _why_no_goods(order: Order) -> str:
    short = goods.short_in_words(order)
    if not short:
        return ""
    return f"It does not hold its goods, and there are too few to take them ({short}): restock them, or refund it."


def _all_goes_back(order: Order) -> bool:
    """Refunds that have succeeded, or still may, make the sum whole."""
    taken = order.payments.filter(captured_minor__gt=0)
    return any(payment.refunds.perhaps_given().total_minor() >= payment.captured_minor for payment in taken)


def money_under_way(order: Order) -> Snapshot:
    """What a form to fulfil rests on, for its version and the audit row. Amounts in minor units."""
    payments = list(order.payments.order_by("n"))
    return {
        "order": order.status,
        "closing": order.closing_reason,
        "payments": {str(one.n): [one.phase, one.captured_minor, one.refunded_minor] for one in payments},
        "attempts": {one.pk: one.payment_status for one in order.attempts.exclude(outcome__in=NOT_LIVE)},
        "refunds": {one.pk: one.outcome or one.phase for payment in payments for one in payment.refunds.order_by("pk")},
        "disputes": {
            one.dispute_id: one.status for payment in payments for one in payment.disputes.order_by("dispute_id")
        },
        "goods": {line.sku: line.held for line in order.lines.all()},
        "open_breaks": list(order.breaks.filter(resolved_at=None).order_by("pk").values_list("pk", flat=True)),
    }
