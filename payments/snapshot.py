"""Snapshot: an order's money as it is now, in few words; what an act's audit row and its form's version are made of."""

from orders.models import Order
from payments.models import Break, Dispute, Refund, RefundProposal
from shop.acts import Snapshot


def money_snapshot(order_id: str) -> Snapshot:
    """Amounts in minor units. Equal snapshots: nothing that an act of staff could rest on has changed in between."""
    order = Order.objects.get(pk=order_id)
    payments = order.payments.order_by("n")
    return {
        "order": order.status,
        "closing": order.closing_reason,
        "payments": {str(one.n): [one.phase, one.captured_minor, one.refunded_minor] for one in payments},
        "attempts": {str(one.number): one.payment_status for one in order.attempts.order_by("number")},
        "refunds": {
            row.pk: [row.outcome or row.phase, row.amount_minor]
            for row in Refund.objects.filter(payment__order=order).order_by("created_at")
        },
        "proposals": {
            str(row.pk): [row.decision or "waits", row.amount_minor]
            for row in RefundProposal.objects.filter(payment__order=order).order_by("pk")
        },
        "disputes": {row.dispute_id: row.status for row in Dispute.objects.filter(payment__order=order)},
        "open_breaks": list(
            Break.objects.filter(order=order, resolved_at=None).order_by("pk").values_list("pk", flat=True)
        ),
    }
