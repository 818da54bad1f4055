"""Duplicates: money of an order that does not pay it. A second charge, or another amount than the order's total, found
by the sweep or by settling, and given back once, by staff or by the setting (RULES R83, R89).

What goes back is a refund like any other (refund.py): a row that names its charge. Its key follows from the charge and
from how many of its refunds have failed. So however often staff and the sweep ask, together or years apart, and
whatever our database has lost meanwhile, the money moves once; and once more only after a refund that has failed.
"""

import structlog
from django.utils import timezone

from orders.models import Order
from payments.breaks import Difference
from payments.errors import RowBusy
from payments.gateways.base import SeenCharge
from payments.models import NOT_GIVEN, Asker, Break, Charge, Payment, Refund
from payments.reconciliation.recovery import ask_stripe
from payments.refund import Ask, follow_refunds, refund_once
from shop.acts import Act
from shop.money import money_text

log = structlog.get_logger(__name__)

# Of the breaks that are about money to give back: why it goes back, in Stripe's words.
_REASONS: dict[str, Refund.Reason] = {
    Break.Kind.DOUBLE_CHARGE: Refund.Reason.DUPLICATE,
    Break.Kind.AMOUNT: Refund.Reason.REQUESTED_BY_CUSTOMER,
}


def double_charge(seen: SeenCharge, order: Order, good: Payment) -> Difference | None:
    """The difference that a second charge is; None if it pays the order, or once all of it has gone back, whoever did
    that."""
    left = seen.captured_minor - seen.refunded_minor
    if left <= 0 or seen.id == good.charge_id:
        return None
    text = money_text(left, seen.currency)
    return Difference(
        kind=Break.Kind.DOUBLE_CHARGE,
        subject=seen.id,
        order=order,
        payment=good,
        charge=seen,
        amount_minor=left,
        currency=seen.currency,
        proposal=f"Give {text} back: the charge to refund is {seen.id}, never {good.charge_id}.",
        evidence={
            "intent": seen.intent_id,
            "charge": seen.id,
            "last4": seen.last4,
            "good_intent": good.intent_id,
            "good_charge": good.charge_id,
        },
    )


def give_back(found: Break, asked_by: Asker = Asker.STAFF, actor: str = "", act: Act | None = None) -> Refund | None:
    """Give all that is left of the break's charge back, or learn what became of it; None if nothing is left to do.

    The break is resolved when Stripe says that all of it has gone back, not when it has taken the request.

    Raises:
        ValueError: the break is about no money to give back, or about the charge that pays the order.
        Problem: request-in-progress. DoneAlready, StaleForm: of the act of staff that it is.
    """
    found.refresh_from_db()
    charge, payment = found.charge, found.payment
    if (why_not := why_not_give_back(found)) != "" or charge is None or payment is None:
        raise ValueError(why_not)
    if found.resolved_at is not None:
        return None
    follow_refunds(payment, asked_by, actor)  # what has gone back, or failed, decides how much and under which key
    if asked_by == Asker.SWEEP and charge.refunds.filter(outcome__in=NOT_GIVEN).exists():
        return None  # by itself once: if that failed, a person looks why, and asks again
    refund = _open_refund(charge)
    if refund is None and charge.left_minor == 0:
        _nothing_left(found, act)
        return None
    if refund is None:
        refund = Refund(idempotency_key=_key(charge), amount_minor=charge.left_minor)
    ask = Ask(
        refund.idempotency_key,
        fingerprint="",
        amount_minor=refund.amount_minor,
        reason=_REASONS[found.kind],
        actor_id=act.who.user.pk if act else None,
        asked_by=asked_by,
        act=act,
        charge=charge,
    )
    made = refund_once(payment, ask, looked=True)
    log.warning("given_back", charge=charge.pk, order=found.order_id, refund=made.pk, outcome=made.outcome)
    _go_on(found, asked_by, actor)
    made.refresh_from_db()
    return made


def why_not_give_back(found: Break) -> str:
    """In words; empty where the break is about money to give back, resolved or not."""
    if found.kind not in _REASONS or found.charge_id is None or found.payment_id is None:
        return "It is about no money to give back"
    if Payment.objects.filter(charge_id=found.charge_id).exists():
        return "This charge pays an order of ours, and is never given back here"
    return ""


def _open_refund(charge: Charge) -> Refund | None:
    """One that has not ended: it is asked about, and no other is made beside it."""
    return charge.refunds.exclude(phase=Refund.Phase.FINISHED).order_by("created_at").first()


def _key(charge: Charge) -> str:
    """The next key of giving this charge back: it grows after each definite failure, for Stripe replays a success
    which has failed at the bank since."""
    failures = charge.refunds.filter(outcome__in=NOT_GIVEN).count()
    return f"charge:{charge.pk}:{failures}"


def _nothing_left(found: Break, act: Act | None) -> None:
    if act is not None:
        act.record()
    still_open = Break.objects.filter(pk=found.pk, resolved_at=None)
    still_open.update(resolved_at=timezone.now(), resolved_by="refund", note="all of it has gone back")


def _go_on(found: Break, asked_by: Asker, actor: str) -> None:
    """When all of another amount has gone back, the press that took it has ended; while it is pending, the completer
    goes on."""
    if found.kind != Break.Kind.AMOUNT or found.order is None:
        return
    try:
        ask_stripe(found.order, asked_by, actor)
    except RowBusy:
        log.warning("left_to_completer", order=found.order_id)
