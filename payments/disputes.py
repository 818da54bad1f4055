"""Disputes: a shopper's bank takes money back. Noticed by webhook, by Stripe's events and by the sweep.

An event only says that there is something to see: what is written was fetched from Stripe. While a dispute is open or
lost its amount is not refundable (refund.py), for the seller would lose it twice (FAILURES 109).
"""

import datetime

import structlog
from django.conf import settings

from orders.models import Order
from payments.breaks import raise_break, resolve_breaks
from payments.errors import GatewayError
from payments.gateways.base import Call, SeenDispute, gateway
from payments.gateways.transport import Deadline
from payments.history import tell_calls
from payments.models import Asker, Break, Dispute, Payment, PaymentEvent
from payments.refund import balance_minor
from payments.row_lock import again_on_conflict, give_back_connections, locked_payment
from shop.acts import Act, witnessed
from shop.money import money_text

log = structlog.get_logger(__name__)

# A dispute only moves on: what was fetched earlier and written later can never take it back.
_STEPS = ("warning_needs_response", "warning_under_review", "needs_response", "under_review")


def follow_disputes(payment: Payment, asked_by: Asker, actor: str = "", act: Act | None = None) -> bool:
    """Bring our rows in line with Stripe's list of this charge's disputes. Whether Stripe answered."""
    if payment.charge_id is None:
        return True
    calls: list[Call] = []
    give_back_connections()
    try:
        listed = gateway().list_disputes_of(payment.charge_id, Deadline(settings.LOOK_TIMEOUT.total_seconds()), calls)
    except GatewayError as error:
        log.info("disputes_not_seen", payment=payment.pk, error=str(error))
        return False
    finally:
        tell_calls(payment, calls, asked_by, actor)
    for seen in listed:
        write_dispute(payment, seen, asked_by, actor, act)
    return True


@again_on_conflict
def write_dispute(
    payment: Payment, seen: SeenDispute, asked_by: Asker, actor: str = "", act: Act | None = None
) -> bool:
    """The row, the story and, where the money has gone back already, a break: one transaction. Whether it moved."""
    with locked_payment(payment.pk, payment.order_id) as (order, locked), witnessed(act):
        row = Dispute.objects.filter(dispute_id=seen.id).first()
        before = row.status if row else ""
        if row is not None and ((row.status, row.amount_minor) == _facts(seen) or _is_older(seen.status, row.status)):
            if row.status == seen.status and row.due_at != due_at(seen):  # a new last day is no step of the dispute
                Dispute.objects.filter(pk=row.pk).update(due_at=due_at(seen))
            _flag_money_lost_twice(order, locked, row.dispute_id, row.status)  # a refund may have ended since
            return False
        Dispute.objects.update_or_create(
            dispute_id=seen.id,
            defaults={
                "payment": locked,
                "status": seen.status,
                "reason": seen.reason[:40],
                "amount_minor": seen.amount_minor,
                "currency": seen.currency,
                "due_at": due_at(seen),
                "opened_at": datetime.datetime.fromtimestamp(seen.created, datetime.UTC),
            },
        )
        PaymentEvent.objects.create(
            order=order,
            payment=locked,
            kind="dispute",
            from_state=before[:24],
            to_state=seen.status[:24],
            asked_by=asked_by,
            actor=actor,
            note=f"{money_text(seen.amount_minor, seen.currency)}, {seen.reason}, {seen.id}"[:200],
        )
        _flag_money_lost_twice(order, locked, seen.id, seen.status)
    log.warning("dispute", dispute=seen.id, payment=payment.pk, order=payment.order_id, status=seen.status)
    return True


def due_at(seen: SeenDispute) -> datetime.datetime | None:
    """Until when the bank takes our evidence."""
    return datetime.datetime.fromtimestamp(seen.due_by, datetime.UTC) if seen.due_by else None


def _facts(seen: SeenDispute) -> tuple[str, int]:
    return seen.status, seen.amount_minor


def _is_older(status: str, than: str) -> bool:
    def step(word: str) -> int:
        return _STEPS.index(word) if word in _STEPS else len(_STEPS)

    return step(status) < step(than)


def _flag_money_lost_twice(order: Order, payment: Payment, dispute_id: str, status: str) -> None:
    """A refund was under way when the dispute came: more goes back than was taken."""
    lost_minor = -balance_minor(payment)
    if lost_minor <= 0:
        resolve_breaks([dispute_id], kinds=[Break.Kind.AMOUNT], by="sweep", note="not refunded and disputed any more")
        return
    log.error("refunded_and_disputed", dispute=dispute_id, payment=payment.pk, order=order.pk)
    evidence: dict[str, object] = {
        "found_by": "disputes",
        "dispute": dispute_id,
        "status": status,
        "proposal": "Refunded and disputed: answer the dispute with the refund as evidence, so that the bank gives"
        " the money back.",
    }
    raise_break(Break.Kind.AMOUNT, dispute_id, order, payment, lost_minor, evidence)
