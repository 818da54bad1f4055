"""Compare: what one intent, charge or refund of Stripe's book means beside our rows. The sweep walks, this judges.

Most of a page matches at one glance at one query's rows. What does not is fetched afresh and goes through the core
(settle, follow_refunds, rebuild) first; only what still differs is a difference. Ours is what carries our env in its
metadata; all else on the account is foreign, and no business of ours (FAILURES 53).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.utils import timezone

from orders.models import Order
from payments.breaks import BY_SWEEP, Difference, missing_at_gateway, open_break, resolve_breaks
from payments.cancellation import give_up_payment
from payments.charges import payments_of_charges
from payments.errors import GatewayError, Missing, RowBusy
from payments.gateways.base import Call, Intent, SeenCharge, SeenRefund, gateway
from payments.gateways.transport import Deadline
from payments.history import called
from payments.models import NOT_GIVEN, Asker, Break, Payment, PaymentEvent, Refund
from payments.outcome import all_went_back
from payments.reconciliation.double_charges import double_charge
from payments.reconciliation.rate_limit import Pace
from payments.reconciliation.recovery import ask_stripe
from payments.reconciliation.restore import rebuild_payment
from payments.refund import follow_refunds
from payments.seek import is_of, take_intent

log = structlog.get_logger(__name__)

Kind = Break.Kind
_UNCONFIRMED = ("requires_payment_method", "requires_confirmation", "requires_action")


@dataclass
class Round:
    """One sweep under way: what it may do, and what it has come to so far."""

    dry_run: bool = False
    pace: Pace = field(default_factory=Pace)
    checked: int = 0
    changed: int = 0
    put_off: int = 0  # somebody was at work on it, or Stripe did not answer for it: not judged this time
    judged: set[str] = field(default_factory=set)  # intents that were looked at closely, so that their charges are not
    strangers: dict[str, str] = field(default_factory=dict)  # intent by order, of orders that we do not have


@dataclass(frozen=True)
class Verdict:
    """What these objects come to. Without a difference: whatever was said against them is gone."""

    about: tuple[str, ...]
    difference: Difference | None = None


class TooYoung(Exception):
    """A press, or a call of ours, may still be under way: not a difference yet."""


class NotNow(Exception):
    """Somebody holds the row, or Stripe does not answer for it: it can only be judged by a later round."""


class Named(Protocol):
    """An object of Stripe's that may carry our metadata."""

    @property
    def metadata(self) -> dict[str, str]: ...


N = TypeVar("N", bound=Named)


def ours_among(page: list[N]) -> list[N]:
    """Those that carry our env: today's, or the one under which the row of the named payment was made, for the setting
    may have been renamed since."""
    others = {
        one.metadata.get("payment", "") for one in page if one.metadata.get("env") not in (None, settings.PAYMENT_ENV)
    }
    rows = Payment.objects.filter(pk__in=others).only("idempotency_key") if others else []
    envs = {row.pk: row.env for row in rows}
    return [
        one
        for one in page
        if one.metadata.get("env") == settings.PAYMENT_ENV
        or one.metadata.get("env", "") == envs.get(one.metadata.get("payment", ""))
    ]


def _is_young(created: int) -> bool:
    least: float = settings.SWEEP_MIN_AGE.total_seconds()
    return timezone.now().timestamp() - created < least


def _refuse_young(created: int) -> None:
    if _is_young(created):
        raise TooYoung


def _looking() -> Deadline:
    return Deadline(settings.LOOK_TIMEOUT.total_seconds())


# --- intents ----------------------------------------------------------------------------------------------------------


def judge_intents(round_: Round, page: list[Intent]) -> Iterator[Verdict]:
    """One query for the page; a closer look at what does not match at once."""
    ours = ours_among(page)
    round_.checked += len(ours)
    ids, named = [intent.id for intent in ours], [intent.metadata.get("payment", "") for intent in ours]
    rows = list(Payment.objects.filter(Q(intent_id__in=ids) | Q(pk__in=named))) if ours else []
    by_intent, by_pk = {row.intent_id: row for row in rows}, {row.pk: row for row in rows}
    for intent in ours:
        payment = by_intent.get(intent.id)
        settled = payment is not None and payment.phase == Payment.Phase.SUCCEEDED
        taken = intent.status == "succeeded"
        owner = payment or by_pk.get(intent.metadata.get("payment", ""))
        if payment is None and owner is not None and _give_back(round_, owner, intent):
            payment = owner
        if payment is not None and settled and taken and _equal(payment, intent):
            yield Verdict(_about(intent))
        elif (taken or settled) and not _is_being_paid(payment, intent.created):
            yield from _look_closer(round_, intent.id)
        elif intent.status in _UNCONFIRMED and owner is not None and owner.phase == Payment.Phase.ABANDONED:
            _cancel_orphan(round_, owner, intent)


def _give_back(round_: Round, owner: Payment, intent: Intent) -> bool:
    """Whether a payment that lost its intent has it again (crash point C22), whatever became of that. One that is being
    opened right now learns it by itself."""
    lost = owner.phase == Payment.Phase.OPENING and owner.intent_id is None and is_of(owner, intent)
    if not lost or round_.dry_run or _is_young(intent.created):
        return False
    try:
        given = take_intent(owner, intent, Asker.SWEEP)
    except RowBusy as error:
        log.info("not_judged", error=repr(error), intent=intent.id)
        round_.put_off += 1
        return False
    round_.changed += given
    log.warning("intent_given_back", order=owner.order_id, payment=owner.pk, intent=intent.id)
    return given


def _is_being_paid(payment: Payment | None, created: int) -> bool:
    """Just now, by a press that settles it by itself; or it was, after the page was made."""
    return payment is not None and not payment.is_over and _is_young(created)


def _look_closer(round_: Round, intent_id: str) -> Iterator[Verdict]:
    """The intent as it is now: the page is older than the rows that it was compared with."""
    round_.judged.add(intent_id)
    with _as_far_as_it_can_be_told(round_, intent=intent_id):
        round_.pace.step()
        intent = gateway().retrieve_intent(intent_id, _looking(), [])
        yield Verdict(_about(intent), judge_intent(round_, intent))


@contextmanager
def _as_far_as_it_can_be_told(round_: Round, **what: str) -> Iterator[None]:
    try:
        yield
    except TooYoung:
        return
    except (NotNow, GatewayError) as error:
        log.info("not_judged", error=repr(error), **what)
        round_.put_off += 1


def judge_intent(round_: Round, intent: Intent) -> Difference | None:
    """None: it matches, now.

    Raises:
        TooYoung, NotNow: it cannot be told yet.
    """
    payment = Payment.objects.select_related("order").filter(intent_id=intent.id).first()
    if intent.status != "succeeded":
        if payment is None or payment.phase != Payment.Phase.SUCCEEDED:
            return None
        _refuse_young(intent.created)
        proposal = "Our rows say paid, and Stripe says that it is not: find out who wrote them before the goods go out."
        return _difference(Kind.STATUS, intent, payment.order, payment, proposal)
    if payment is None:
        return _judge_unknown(round_, intent)
    if payment.phase != Payment.Phase.SUCCEEDED and not payment.is_over:
        _through_core(round_, payment)
    if payment.phase == Payment.Phase.SUCCEEDED and _equal(payment, intent):
        return None
    if payment.is_over and all_went_back(intent):
        return None
    good = _good_payment(payment.order_id)
    if good is not None and good != payment:
        return _double(round_, intent.charge_id, payment.order, good)
    _refuse_young(intent.created)
    if payment.phase == Payment.Phase.SUCCEEDED or not _equal_amounts(payment, intent):
        proposal = "Stripe took another amount than the order's: refund it in Stripe's dashboard, or ask the shopper."
        return _difference(Kind.AMOUNT, intent, payment.order, payment, proposal)
    proposal = f"Stripe took the money of a payment that is {payment.phase} here: look at its story, or refund it."
    difference = _difference(Kind.STATUS, intent, payment.order, payment, proposal)
    if payment.is_over:
        _give_up_others(round_, payment.order, intent, difference)
    return difference


def _judge_unknown(round_: Round, intent: Intent) -> Difference | None:
    """Money with our name on it, under an intent that no row of ours has."""
    order = Order.objects.filter(pk=intent.metadata.get("order", "")).first()
    if order is None:
        return _judge_stranger(round_, intent)
    for payment in order.payments.exclude(phase__in=Payment.OVER).exclude(intent_id=None):
        if payment.phase != Payment.Phase.SUCCEEDED:
            _through_core(round_, payment)
    good = _good_payment(order.pk)
    if good is not None:
        return None if good.intent_id == intent.id else _double(round_, intent.charge_id, order, good)
    if _gone_back(round_, intent):
        return None
    _refuse_young(intent.created)
    proposal = "Stripe took money for this order under an intent that we do not have: refund it in Stripe's dashboard."
    difference = _difference(Kind.MISSING_LOCAL, intent, order, None, proposal)
    _give_up_others(round_, order, intent, difference)
    good = _good_payment(order.pk)
    if good is not None:  # the other one was faster
        return _double(round_, intent.charge_id, order, good)
    if not round_.dry_run and rebuild_payment(order.pk, intent):
        log.warning("payment_rebuilt", order=order.pk, intent=intent.id)
        round_.changed += 1
        resolve_breaks([intent.id], [Kind.MISSING_LOCAL], by=BY_SWEEP, note="the payment was rebuilt")
        return judge_intent(round_, intent)
    return difference


def _give_up_others(round_: Round, order: Order, intent: Intent, difference: Difference) -> None:
    """Another payment of the order may still charge it, beside this money: nobody shall pay that one too.

    The break first: while it is open no new payment takes the place of the one that is given up (pay._payment_of).

    Raises:
        NotNow: a press of it is being made, or Stripe did not answer: a later round goes on.
    """
    others = order.payments.exclude(phase__in=(*Payment.OVER, Payment.Phase.SUCCEEDED)).exclude(
        Q(intent_id=intent.id) | Q(pk=intent.metadata.get("payment", ""), intent_id=None)
    )
    if round_.dry_run or not others.exists():
        return
    open_break(difference)
    log.error("money_by_another_intent", order=order.pk, intent=intent.id)
    round_.pace.step()
    try:
        given_up = give_up_payment(order.pk, Asker.SWEEP)
    except RowBusy as error:
        raise NotNow(repr(error)) from error
    if not given_up:
        raise NotNow("a press is being made, or no answer")
    round_.changed += 1


def _judge_stranger(round_: Round, intent: Intent) -> Difference | None:
    if _gone_back(round_, intent):
        return None
    order_id = intent.metadata.get("order", "")
    other = round_.strangers.setdefault(order_id, intent.id)
    if order_id and other != intent.id:
        proposal = f"Two charges ({other} is the other) for an order that we do not have: refund at least one."
        return _difference(Kind.DOUBLE_CHARGE, intent, None, None, proposal, charge_is_subject=True)
    _refuse_young(intent.created)
    proposal = "Stripe took money for an order that is not here: refund it in Stripe's dashboard, and tell the shopper."
    return _difference(Kind.MISSING_LOCAL, intent, None, None, proposal)


def _gone_back(round_: Round, intent: Intent) -> bool:
    """Whether all that a charge of no payment of ours took is on its way back: there is nothing left to explain. Should
    that refund fail, Stripe counts it no more, and a later sweep finds the money again."""
    if not intent.charge_id:
        return False
    round_.pace.step()
    charge = gateway().retrieve_charge(intent.charge_id, _looking(), [])
    return 0 < charge.captured_minor <= charge.refunded_minor


def _through_core(round_: Round, payment: Payment) -> None:
    """Let the core ask Stripe and settle. What it cannot settle stays different, and so becomes a break.

    Raises:
        NotNow: somebody is at work on the order, or Stripe did not answer.
    """
    if round_.dry_run:
        return
    round_.pace.step()
    try:
        asked, _ = ask_stripe(payment.order, Asker.SWEEP)
    except (OperationalError, InterfaceError):
        raise
    except RowBusy as error:
        raise NotNow(repr(error)) from error
    except Exception:
        log.exception("not_settled", payment=payment.pk)
        asked = True
    if not asked:
        raise NotNow("busy, or no answer")
    payment.refresh_from_db()
    round_.changed += payment.phase == Payment.Phase.SUCCEEDED


def _cancel_orphan(round_: Round, owner: Payment, intent: Intent) -> None:
    """The intent of a create that was never answered, whose payment was abandoned for the next one. Nobody can pay it;
    canceled, nobody ever will."""
    if round_.dry_run:
        return
    round_.pace.step()
    calls: list[Call] = []
    key = f"{owner.env}:cancel:orphan:{intent.id}"
    try:
        gateway().cancel_intent(intent.id, key, _looking(), calls)
        round_.changed += 1
    except GatewayError as error:
        log.info("orphan_not_canceled", intent=intent.id, error=repr(error))
    PaymentEvent.objects.bulk_create([called(call, owner.order, owner, None, Asker.SWEEP, "") for call in calls])


# --- charges ----------------------------------------------------------------------------------------------------------


def judge_charges(round_: Round, page: list[SeenCharge]) -> Iterator[Verdict]:
    """A charge may be hours younger than its intent, and one may have no intent at all."""
    ours = ours_among([one for one in page if one.status == "succeeded" and one.captured_minor])
    round_.checked += len(ours)
    ids, intents = [one.id for one in ours], [one.intent_id for one in ours if one.intent_id]
    rows = list(Payment.objects.filter(Q(charge_id__in=ids) | Q(intent_id__in=intents))) if ours else []
    by_charge, by_intent = {row.charge_id: row for row in rows}, {row.intent_id: row for row in rows}
    for charge in ours:
        payment = by_charge.get(charge.id) or by_intent.get(charge.intent_id)
        if payment is not None and _equal_charge(payment, charge) and payment.charge_id in (charge.id, None):
            yield Verdict((charge.id,))
        elif charge.intent_id not in round_.judged and not _is_being_paid(payment, charge.created):
            yield from _look_closer_at_charge(round_, charge)


def _look_closer_at_charge(round_: Round, charge: SeenCharge) -> Iterator[Verdict]:
    """By its intent, which the list of intents may not have shown; then what only the charge shows."""
    with _as_far_as_it_can_be_told(round_, charge=charge.id):
        about: tuple[str, ...] = (charge.id,)
        difference = None
        if charge.intent_id:
            round_.judged.add(charge.intent_id)
            round_.pace.step()
            intent = gateway().retrieve_intent(charge.intent_id, _looking(), [])
            about, difference = (*_about(intent), charge.id), judge_intent(round_, intent)
        yield Verdict(about, difference or _judge_charge(round_, charge))


def _judge_charge(round_: Round, charge: SeenCharge) -> Difference | None:
    payment = Payment.objects.select_related("order").filter(charge_id=charge.id).first()
    if payment is not None:
        if _equal_charge(payment, charge):
            return None
        _refuse_young(charge.created)
        return _charge_difference(Kind.AMOUNT, charge, payment.order, payment, "Stripe took another amount than ours.")
    order = Order.objects.filter(pk=charge.metadata.get("order", "")).first()
    good = _good_payment(order.pk) if order else None
    if order is not None and good is not None:
        same = good.charge_id is None and good.intent_id == charge.intent_id
        return None if same else _double(round_, charge.id, order, good)
    if charge.intent_id or charge.captured_minor <= charge.refunded_minor:
        return None  # its intent matches, or all of it has gone back
    _refuse_young(charge.created)
    proposal = "Stripe took money in our name, by no intent: refund it in Stripe's dashboard."
    return _charge_difference(Kind.MISSING_LOCAL, charge, order, None, proposal)


def _double(round_: Round, charge_id: str, order: Order, good: Payment) -> Difference | None:
    """At any age: it is not a press under way, for the order's one payment names another charge."""
    round_.pace.step()
    return double_charge(gateway().retrieve_charge(charge_id, _looking(), []), order, good)


# --- refunds ----------------------------------------------------------------------------------------------------------


def judge_refunds(round_: Round, page: list[SeenRefund]) -> Iterator[Verdict]:
    """Ours by its metadata, or by the intent: the dashboard gives a refund no metadata."""
    intents = [seen.intent_id for seen in page if seen.intent_id]
    payments = {row.intent_id: row for row in Payment.objects.filter(intent_id__in=intents).select_related("order")}
    rows = {row.refund_id: row for row in Refund.objects.filter(refund_id__in=[seen.id for seen in page])}
    ours = {seen.id for seen in ours_among(page)}
    of_charges = payments_of_charges([seen.charge_id for seen in page if seen.intent_id not in payments])
    for seen in page:
        payment, row = payments.get(seen.intent_id) or of_charges.get(seen.charge_id), rows.get(seen.id)
        if payment is None and seen.id not in ours:
            continue
        round_.checked += 1
        if row is not None and _same_refund(row, seen):
            yield Verdict((seen.id,))
        else:
            with _as_far_as_it_can_be_told(round_, refund=seen.id):
                yield Verdict((seen.id,), _judge_refund(round_, payment, seen))


def _judge_refund(round_: Round, payment: Payment | None, seen: SeenRefund) -> Difference | None:
    if payment is None:
        _refuse_young(seen.created)
        return _refund_difference(Kind.ORPHAN_REFUND, seen, None, "Money went back for a payment that we do not have.")
    if seen.status in NOT_GIVEN and not Refund.objects.filter(refund_id=seen.id).exists():
        return None  # nothing went back, and nobody here believes so
    _refuse_young(seen.created)
    if not round_.dry_run:
        _adopt(round_, payment)
    row = Refund.objects.filter(refund_id=seen.id).first()
    if row is None:
        proposal = "Money went back that our rows cannot take in: compare the payment's refunds with Stripe's."
        return _refund_difference(Kind.ORPHAN_REFUND, seen, payment, proposal)
    if _same_refund(row, seen):
        round_.changed += 1
        return None
    kind = Kind.STATUS if (row.amount_minor, row.currency) == (seen.amount_minor, seen.currency) else Kind.AMOUNT
    return _refund_difference(kind, seen, payment, f"Our row says {row.outcome or row.phase}, Stripe {seen.status}.")


def _adopt(round_: Round, payment: Payment) -> None:
    """Through the core: the payment itself first, for what was not taken cannot go back."""
    if payment.phase != Payment.Phase.SUCCEEDED and not payment.is_over:
        _through_core(round_, payment)
    round_.pace.step()
    try:
        followed = follow_refunds(payment, Asker.SWEEP)
    except (OperationalError, InterfaceError):
        raise
    except RowBusy as error:
        raise NotNow(repr(error)) from error
    except Exception:
        log.exception("refunds_not_adopted", payment=payment.pk)
        return
    if not followed:
        raise NotNow("Stripe did not answer")


# --- payments that Stripe does not have -------------------------------------------------------------------------------


def judge_missing(round_: Round, payment: Payment) -> Verdict:
    """A payment of ours that no list showed, or Stripe did not know. Asked for by its intent's id: clocks differ."""
    assert payment.intent_id is not None
    round_.pace.step()
    try:
        intent = gateway().retrieve_intent(payment.intent_id, _looking(), [])
    except Missing:
        return Verdict((payment.intent_id,), missing_at_gateway(payment))
    return Verdict(_about(intent), judge_intent(round_, intent) if ours_among([intent]) else None)


# --- words ------------------------------------------------------------------------------------------------------------


def _about(intent: Intent) -> tuple[str, ...]:
    return (intent.id, intent.charge_id) if intent.charge_id else (intent.id,)


def _equal(payment: Payment, intent: Intent) -> bool:
    return (payment.captured_minor, payment.currency) == (intent.received_minor, intent.currency)


def _equal_amounts(payment: Payment, intent: Intent) -> bool:
    return (payment.amount_minor, payment.currency) == (intent.received_minor, intent.currency)


def _equal_charge(payment: Payment, charge: SeenCharge) -> bool:
    return (payment.captured_minor, payment.currency) == (charge.captured_minor, charge.currency)


def _good_payment(order_id: str) -> Payment | None:
    return Payment.objects.filter(order=order_id, phase=Payment.Phase.SUCCEEDED).first()


def _same_refund(row: Refund, seen: SeenRefund) -> bool:
    outcome = "pending" if seen.status == "requires_action" else seen.status
    return (row.amount_minor, row.currency, row.outcome) == (seen.amount_minor, seen.currency, outcome)


def _difference(
    kind: Break.Kind,
    intent: Intent,
    order: Order | None,
    payment: Payment | None,
    proposal: str,
    *,
    charge_is_subject: bool = False,
) -> Difference:
    evidence: dict[str, object] = {
        "intent": intent.id,
        "charge": intent.charge_id,
        "stripe": [intent.status, intent.received_minor, intent.currency],
    }
    if intent.charge is not None and intent.charge.last4:
        evidence["last4"] = intent.charge.last4  # a shopper's statement shows it
    if payment is not None:
        evidence["ours"] = [payment.phase, payment.captured_minor, payment.currency]
    return Difference(
        kind=kind,
        subject=intent.charge_id if charge_is_subject and intent.charge_id else intent.id,
        order=order,
        payment=payment,
        amount_minor=intent.received_minor or intent.amount_minor,
        currency=intent.currency,
        proposal=proposal,
        evidence=evidence,
    )


def _charge_difference(
    kind: Break.Kind, charge: SeenCharge, order: Order | None, payment: Payment | None, proposal: str
) -> Difference:
    return Difference(
        kind=kind,
        subject=charge.id,
        order=order,
        payment=payment,
        amount_minor=charge.captured_minor,
        currency=charge.currency,
        proposal=proposal,
        evidence={"intent": charge.intent_id, "charge": charge.id},
    )


def _refund_difference(kind: Break.Kind, seen: SeenRefund, payment: Payment | None, proposal: str) -> Difference:
    return Difference(
        kind=kind,
        subject=seen.id,
        order=payment.order if payment else None,
        payment=payment,
        amount_minor=seen.amount_minor,
        currency=seen.currency,
        proposal=proposal,
        evidence={"intent": seen.intent_id, "charge": seen.charge_id, "status": seen.status},
    )
