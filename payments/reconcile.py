"""Reconcile one order: everything of it that is not known yet is asked of Stripe now. For staff and for the command.

The same steps as the completer's, for one order and whatever the ladder says: carry a wish to close out, finish an
undecided attempt and open refunds, and follow what Stripe's book says of refunds and disputes.
"""

from dataclasses import dataclass

from orders.models import Order
from payments.close import finish_closing
from payments.complete import complete_attempt
from payments.disputes import follow_disputes
from payments.errors import RowBusy
from payments.models import Asker, Attempt, Payment, Refund
from payments.refund import complete_refund, follow_refunds
from payments.snapshot import money_snapshot
from shop.acts import Act, Snapshot


@dataclass(frozen=True)
class Reconciled:
    """What the order was before and is after. `answered`: whether Stripe did, and nobody else was at work on it."""

    before: Snapshot
    after: Snapshot
    answered: bool

    @property
    def changed(self) -> bool:
        return self.before != self.after


def reconcile_order(order_id: str, asked_by: Asker, actor: str = "", act: Act | None = None) -> Reconciled:
    """Ask Stripe about everything of this order, and settle it. Idempotent; never confirms what nobody pressed.

    Args:
        act: of staff, repeatable; its row is written with what the attempt came to, or else by itself.
    """
    before = money_snapshot(order_id)
    answered = True
    try:
        if Order.objects.filter(pk=order_id, closing_since__isnull=False).exists():
            finish_closing(order_id, asked_by)
        for attempt_id in Attempt.objects.filter(order=order_id).undecided().values_list("pk", flat=True):
            answered &= complete_attempt(attempt_id, asked_by, actor, act) is not None
        open_refunds = Refund.objects.filter(payment__order=order_id).exclude(phase=Refund.Phase.FINISHED)
        for refund_id in list(open_refunds.values_list("pk", flat=True)):
            answered &= complete_refund(refund_id, asked_by) is not None
        for payment in Payment.objects.filter(order=order_id, phase=Payment.Phase.SUCCEEDED).select_related("order"):
            answered &= follow_refunds(payment, asked_by) and follow_disputes(payment, asked_by)
    except RowBusy:
        answered = False
    if act is not None:
        act.record()
    return Reconciled(before, money_snapshot(order_id), answered)
