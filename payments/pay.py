"""One press of Pay: claim -> open -> confirm -> settle. Read it from top to bottom; the view holds the two locks.

Every step commits before the next begins, and what it commits is enough for somebody else to go on from there:
reconciliation/recovery.py does, when this process dies.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q, QuerySet

from orders.models import Order
from payments.accounts import account_to_open_with, is_of_another, refuse_other_account
from payments.breaks import money_elsewhere
from payments.errors import (
    GatewayError,
    KeyInUse,
    KeyReused,
    NothingSent,
    OtherAmount,
    RowBusy,
    StaleLease,
    Undecided,
)
from payments.gateways.base import Call, Intent, gateway
from payments.gateways.circuit_breaker import note_answer, refuse_while_broken
from payments.gateways.transport import Deadline
from payments.history import tell_calls
from payments.intents import Finding, cancel_intent, look_at_intent, send_confirm
from payments.leases import Lease, end_lease, take_lease, taken_over
from payments.models import (
    Asker,
    Attempt,
    Outcome,
    Payment,
    PaymentEvent,
    attempt_id,
    cancel_key,
    confirm_key,
    create_key,
    payment_id,
)
from payments.monitoring.blocked_requests import count_replay
from payments.outcome import judge, settle
from payments.row_lock import give_back_connections, locked_order
from payments.seek import find_intent, look_for, take_intent
from shop.acts import Act, witnessed
from shop.counters import count_duplicate
from shop.database_clock import DatabaseClock, database_now
from shop.idempotency import refuse_other_body
from shop.problems import Problem

log = structlog.get_logger(__name__)

CONFIRMABLE = ("requires_payment_method", "requires_confirmation")


@dataclass(frozen=True)
class Press:
    """What the shopper sent: validated, and digested."""

    key: str
    fingerprint: str
    payment_token: str
    amount_minor: int
    currency: str


@dataclass
class Claimed:
    """The right to carry out one attempt, and what has been said about it so far."""

    attempt: Attempt
    lease: Lease
    press: bool  # False: this key was pressed before and has not ended; find out what became of it
    story: PaymentEvent | None = None  # the row of the story that only this claim's transaction wrote
    deadline: Deadline = field(default_factory=lambda: Deadline(settings.PRESS_BUDGET.total_seconds()))
    calls: list[Call] = field(default_factory=list)


# --- claim: in the transaction that holds the order's row -----------------------------------------------------------


def claim(order: Order, press: Press) -> Claimed:
    """Take the order's one live attempt, or say why not. Inserts at most; the unique indexes are the judge.

    Raises:
        Problem: order-already-paid, order-closed, order-changed, request-in-progress, payment-in-progress,
            idempotency-key-reused, unavailable.
        OtherAmount: the order's payment asks for another amount than its total.
    """
    attempts = list(
        Attempt.objects.filter(order=order)
        .filter(Q(idempotency_key=press.key) | ~Q(outcome__in=("declined", "failed", "canceled", "released")))
        .with_lease_state()
    )
    mine = next((a for a in attempts if a.idempotency_key == press.key), None)
    other = next((a for a in attempts if a.is_live and a is not mine), None)
    if mine is not None:
        refuse_other_body(mine, press.fingerprint)
        if mine.is_live and mine.lease_runs:
            count_duplicate(3, order.pk, press.key)
            raise in_progress(order, mine, same_key=True)
        if mine.is_live and mine.phase != Attempt.Phase.STARTED:
            return _continue(order, mine)
    _refuse_unpayable(order, press)
    if other is not None:
        count_duplicate(3, order.pk, press.key)
        raise in_progress(order, other)
    if order.is_closing:
        raise in_progress(order, None)
    _refuse_other_total(order, press)
    refuse_while_broken(order.pk)
    payment = _payment_of(order)
    refuse_other_account(payment)
    _refuse_other_amount(order, payment)
    return _renew(mine, payment) if mine is not None else _begin(order, payment, press)


def claim_stands(claimed: Claimed) -> bool:
    """Whether the claim was committed, for who lost the answer to its COMMIT; asked on a new connection (RULES R75).

    The lease alone would not prove that it is ours: where our COMMIT came to nothing, a twin with the same key claims
    the same attempt by the same token. Its row of the story is another one.
    """
    story, attempt = claimed.story, claimed.attempt
    if story is None:
        return False
    ours = Attempt.objects.filter(pk=attempt.pk, lease_token=claimed.lease.token, phase=Attempt.Phase.STARTED)
    return ours.filter(events__pk=story.pk, events__at=story.at).exists()


def _continue(order: Order, mine: Attempt) -> Claimed:
    """The same key again while its press has not ended: find out about it if nobody else is (RULES R30)."""
    lease = take_lease(mine, asked_by=Asker.SHOPPER)
    if lease is None:
        count_duplicate(3, order.pk, mine.idempotency_key)
        raise in_progress(order, mine, same_key=True)
    mine.payment = Payment.objects.get(pk=mine.payment_id)
    mine.order = order
    return Claimed(mine, lease, press=False)


def _refuse_unpayable(order: Order, press: Press) -> None:
    if order.is_paid:
        count_duplicate(3, order.pk, press.key)
        raise Problem(
            "order-already-paid",
            "This order is paid. You were charged once.",
            extra={"order": order.pk, "payment_status": "succeeded", "receipt_url": order.get_absolute_url()},
        )
    if order.is_closed:
        raise Problem(
            "order-closed",
            "This order is closed and can no longer be paid. Put the items back in your cart to order again.",
            extra={"order": order.pk},
        )


def _refuse_other_total(order: Order, press: Press) -> None:
    """The shopper saw another total. Asked only where nothing of this order is under way: nobody was charged."""
    if (press.amount_minor, press.currency) != (order.total_minor, order.currency):
        raise Problem(
            "order-changed",
            f"The total of this order is {order.total_text}. You were not charged.",
            extra={"order": order.pk, "total": order.total_minor, "currency": order.currency},
        )


def _refuse_other_amount(order: Order, payment: Payment) -> None:
    if not payment.asks_for_total_of(order):
        log.error("total_differs", order=order.pk, payment=payment.pk)
        raise OtherAmount(f"the payment asks for {payment.amount_text}, and the order's total is {order.total_text}")


def in_progress(order: Order, live: Attempt | None, same_key: bool = False) -> Problem:
    """The 409 for a press that meets another one, or the giving up of this order."""
    status = live.payment_status if live else None
    extra = {"order": order.pk, "payment_status": status, "status_url": f"/api/orders/{order.pk}/payment-status/"}
    if same_key:
        return Problem("request-in-progress", "This payment is being made right now. Ask again shortly.", 2, extra)
    return Problem(
        "payment-in-progress",
        "Another payment of this order is under way. You will not be charged twice.",
        2,
        extra,
    )


def _payment_of(order: Order) -> Payment:
    """The order's payment, or its next one: the partial unique index allows one that is not canceled or abandoned."""
    newest = Payment.objects.filter(order=order).order_by("-n").first()
    if newest is not None and not newest.is_over:
        if newest.phase == Payment.Phase.CLOSING:
            raise in_progress(order, None)
        return newest
    if money_elsewhere(order).exists():
        raise in_progress(order, None)
    return new_payment(order, newest.n + 1 if newest else 1)


def new_payment(order: Order, n: int) -> Payment:
    """Payment n of the order, with the exact create call it will make. Inside the transaction that holds the order."""
    pk = payment_id(order.pk, n)
    return Payment.objects.create(
        id=pk,
        order=order,
        n=n,
        idempotency_key=create_key(order.pk, n),
        cancel_key=cancel_key(settings.PAYMENT_ENV, pk, 0),
        amount_minor=order.total_minor,
        currency=order.currency,
        create_params={
            "amount": order.total_minor,
            "currency": order.currency.lower(),
            "automatic_payment_methods": {"enabled": True},
            "description": f"Order {order.number}",
            "metadata": {"order": order.pk, "payment": pk, "env": settings.PAYMENT_ENV},
        },
    )


def _begin(order: Order, payment: Payment, press: Press) -> Claimed:
    newest = Attempt.objects.filter(order=order).order_by("-number").values_list("number", flat=True).first()
    number = (newest or 0) + 1
    pk = attempt_id(order.pk, number)
    attempt = Attempt.objects.create(
        id=pk,
        order=order,
        payment=payment,
        number=number,
        idempotency_key=press.key,
        fingerprint=press.fingerprint,
        confirm_params=_confirm_params(order, press.payment_token),
        confirm_key=confirm_key(payment.env, pk),
        lease_token=1,
        locked_until=_lease_end(),
        held_by=Asker.SHOPPER,
        claimed_at=DatabaseClock(),
    )
    story = PaymentEvent.objects.create(
        order=order, payment=payment, attempt=attempt, kind="claimed", to_state="started", asked_by=Asker.SHOPPER
    )
    return Claimed(attempt, Lease(Attempt, attempt.pk, 1), press=True, story=story)


def _renew(mine: Attempt, payment: Payment) -> Claimed:
    """Claimed again by its own key and body, because nothing was ever sent under it: it was released, or its holder
    died before it committed `confirming`."""
    token, was = mine.lease_token + 1, mine.payment_status
    ran_out = [taken_over(mine, Asker.SHOPPER)] if mine.locked_until is not None else []
    nothing_sent = Q(outcome=Outcome.RELEASED) | Q(phase=Attempt.Phase.STARTED)
    won = Attempt.objects.filter(nothing_sent, pk=mine.pk, lease_token=mine.lease_token).update(
        phase=Attempt.Phase.STARTED,
        outcome="",
        payment=payment,
        lease_token=token,
        locked_until=_lease_end(),
        held_by=Asker.SHOPPER,
        claimed_at=DatabaseClock(),
    )
    if not won:
        raise in_progress(payment.order, mine, same_key=True)
    mine.refresh_from_db()
    mine.payment = payment
    PaymentEvent.objects.bulk_create(ran_out)
    story = PaymentEvent.objects.create(
        order_id=mine.order_id,
        payment=payment,
        attempt=mine,
        kind="claimed",
        from_state=was,
        to_state="started",
        asked_by=Asker.SHOPPER,
    )
    return Claimed(mine, Lease(Attempt, mine.pk, token), press=True, story=story)


def _lease_end() -> Any:
    return DatabaseClock() + settings.LEASE


def _confirm_params(order: Order, token: str) -> dict[str, Any]:
    """The exact confirm call, committed before it is made. A ConfirmationToken comes from our page, where Stripe.js
    can show the bank's challenge in a frame; anything else is sent to the bank by redirect."""
    return_url = f"{settings.BASE_URL}/orders/{order.pk}/return/"
    if token.startswith("ctoken_"):
        return {"confirmation_token": token, "return_url": return_url, "use_stripe_sdk": True}
    return {"payment_method": token, "return_url": return_url}


# --- open: the intent, created ahead of the click where possible ----------------------------------------------------


def open_payment(payment: Payment, deadline: Deadline, calls: list[Call], asked_by: Asker = Asker.SHOPPER) -> Payment:
    """Make sure that the payment has its intent. A create cannot charge: nobody can confirm an intent whose id and
    secret we never had. So nothing about it is unknown; a lost answer is replayed under its key.

    Raises:
        NothingSent: it could not be opened now; nothing was charged, and the press may come again.
    """
    waited = Deadline(settings.OPEN_WAIT.total_seconds())
    while payment.phase == Payment.Phase.OPENING:
        lease = take_lease(payment, settings.OPEN_LEASE, asked_by=asked_by)
        if lease is not None:
            return _create_intent(payment, lease, deadline, calls, asked_by)
        if waited.seconds_left <= 0:
            raise NothingSent("the payment is being opened by somebody else")
        give_back_connections()
        time.sleep(0.1)
        payment.refresh_from_db()
    if payment.phase != Payment.Phase.OPEN:
        raise NothingSent(f"the payment is {payment.phase}")
    return payment


def _create_intent(
    payment: Payment, lease: Lease, deadline: Deadline, calls: list[Call], asked_by: Asker = Asker.SHOPPER
) -> Payment:
    payment.refresh_from_db()
    if payment.intent_id is not None:
        end_lease(lease)
        return payment
    if payment.key_spent_at is not None:
        return _find_again(payment, lease, deadline, asked_by)
    ours = Payment.objects.filter(pk=payment.pk, lease_token=lease.token, phase=Payment.Phase.OPENING)
    if not _mark_sending(payment, lease, ours, account_to_open_with(deadline)):
        return _find_or_abandon(payment, lease, deadline, asked_by)
    give_back_connections()
    try:
        intent = gateway().create_intent(payment.create_params, payment.idempotency_key, deadline, calls)
    except (NothingSent, Undecided, KeyInUse) as error:
        if isinstance(error, Undecided) and error.stored_5xx:
            # Stripe keeps the 5xx under this key: a replay will never be an intent, and this one can never charge.
            _abandon(payment, lease)
        else:
            end_lease(lease)
        raise NothingSent(f"create: {error}") from error
    except KeyReused:
        # Somebody has been here, and our rows do not know: it may have been paid. Never a reason for another payment.
        ours.update(key_spent_at=DatabaseClock())
        return _find_again(payment, lease, deadline, asked_by)
    except GatewayError as error:
        log.error("create_refused", payment=payment.pk, order=payment.order_id, error=repr(error))
        _abandon(payment, lease)
        raise NothingSent(f"create: {error!r}") from error
    count_replay(payment.order_id, calls)
    ours.update(intent_id=intent.id, phase=Payment.Phase.OPEN, locked_until=None)
    payment.refresh_from_db()
    if payment.phase != Payment.Phase.OPEN:
        raise NothingSent(f"the payment is {payment.phase}")
    return payment


def _mark_sending(payment: Payment, lease: Lease, ours: QuerySet[Payment], account: str) -> bool:
    """Commit that the create is sent, when first (database clock), and to whose account. Whether it may be: not once
    Stripe may have forgotten its key.

    Raises:
        NothingSent: the payment was given up, or it is another account's.
    """
    if payment.first_sent_at is None:
        if not ours.update(first_sent_at=DatabaseClock(), account=account):
            raise NothingSent("the payment was given up before it was opened")
        return True
    if is_of_another(payment, account):
        end_lease(lease)
        raise NothingSent(f"the payment was sent to {payment.account}, and our key is of {account}", heard=True)
    return database_now() - payment.first_sent_at <= settings.GATEWAY_KEY_SAFE_AGE


def _find_again(payment: Payment, lease: Lease, deadline: Deadline, asked_by: Asker) -> Payment:
    """The payment with the intent that was created in its name before its rows were lost (seek.py)."""
    try:
        payment = find_intent(payment, deadline, asked_by)
    finally:
        end_lease(lease)
    if payment.phase != Payment.Phase.OPEN:
        raise NothingSent(f"the payment is {payment.phase}", heard=True)
    return payment


def _find_or_abandon(payment: Payment, lease: Lease, deadline: Deadline, asked_by: Asker) -> Payment:
    """A create that is too old to be sent again may have been done all the same, and more with it, if a backup was
    restored since. Only where Stripe's lists show nothing of it, to their end, the next payment takes its place.

    Raises:
        NothingSent: nothing was found, or nothing could be looked for.
    """
    try:
        intent = look_for(payment, deadline)
    except NothingSent:
        end_lease(lease)
        raise
    give_back_connections()
    if intent is None:
        _abandon(payment, lease)
        raise NothingSent("the create key is too old to be sent again")
    take_intent(payment, intent, asked_by)
    payment.refresh_from_db()
    if payment.phase != Payment.Phase.OPEN:
        raise NothingSent(f"the payment is {payment.phase}", heard=True)
    return payment


def _abandon(payment: Payment, lease: Lease) -> None:
    """This create will never give an intent of ours: the next payment takes its place."""
    ours = Payment.objects.filter(pk=payment.pk, lease_token=lease.token, intent_id=None, key_spent_at=None)
    ours.update(phase=Payment.Phase.ABANDONED, locked_until=None)


def open_ahead(order_id: str) -> None:
    """Open the order's payment before the shopper presses Pay, so that the usual press costs one call to Stripe."""
    with locked_order(order_id) as order:
        if order.status != Order.Status.PENDING or order.is_closing:
            return
        payment = Payment.objects.filter(order=order).order_by("-n").first() or new_payment(order, 1)
        if payment.phase != Payment.Phase.OPENING:
            return
    calls: list[Call] = []
    try:
        open_payment(payment, Deadline(settings.CREATE_TIMEOUT.total_seconds()), calls)
    except NothingSent as error:
        log.info("not_opened_ahead", order=order_id, error=str(error))
    finally:
        tell_calls(payment, calls, Asker.SHOPPER)


# --- confirm: the only call that can charge -------------------------------------------------------------------------


def confirm(claimed: Claimed) -> Finding:
    """Open the payment if it is not, commit `confirming`, and confirm: what came of it, as a finding to settle.

    Raises:
        StaleLease: the attempt was taken over before anything was sent.
        KeyInUse: another of our requests is inside Stripe with this very key; nothing is to be written.
    """
    try:
        return _confirm(claimed)
    except NothingSent as error:
        log.warning("payment_not_opened", order=claimed.attempt.order_id, error=str(error))
        return Finding(outcome=Outcome.RELEASED, heard=error.heard, calls=tuple(claimed.calls))


def _confirm(claimed: Claimed) -> Finding:
    payment = open_payment(claimed.attempt.payment, claimed.deadline, claimed.calls)
    if payment.key_spent_at is not None:
        return _confirm_found(claimed, payment)
    _commit_confirming(claimed, payment)
    give_back_connections()
    return send_confirm(claimed.attempt, payment, claimed.deadline, claimed.calls)


def _confirm_found(claimed: Claimed, payment: Payment) -> Finding:
    """An intent that our rows had lost: who confirmed it then, and what came of that, only it can tell. So it is never
    confirmed unseen."""
    give_back_connections()
    finding = look_at_intent(payment, claimed.deadline, claimed.calls)
    if finding.intent is None:
        return replace(finding, outcome=Outcome.RELEASED)
    _commit_confirming(claimed, payment, finding.intent)
    if finding.intent.status not in CONFIRMABLE:
        return finding
    give_back_connections()
    return send_confirm(claimed.attempt, payment, claimed.deadline, claimed.calls)


def _commit_confirming(claimed: Claimed, payment: Payment, seen: Intent | None = None) -> None:
    """started -> confirming, fenced, and only while the order may still be paid (RULES R60). Renews the lease.

    Args:
        seen: the intent of lost rows, whose charge up to now is none of this press.
    """
    attempt = claimed.attempt
    with locked_order(attempt.order_id) as order:
        if order.status != Order.Status.PENDING or order.is_closing:
            raise StaleLease("the order is paid or closing")
        _refuse_other_amount(order, payment)
        charges = Attempt.objects.filter(payment=payment, charge_id__isnull=False).order_by("-number")
        before = (seen and seen.charge_id) or charges.values_list("charge_id", flat=True).first() or ""
        won = Attempt.objects.filter(
            pk=attempt.pk, lease_token=claimed.lease.token, phase=Attempt.Phase.STARTED, payment__phase="open"
        ).update(phase=Attempt.Phase.CONFIRMING, latest_charge_before=before, locked_until=_lease_end())
        if not won:
            raise StaleLease(f"attempt {attempt.pk}")
    attempt.phase, attempt.latest_charge_before, attempt.payment = Attempt.Phase.CONFIRMING, before, payment


def find_out(attempt: Attempt, deadline: Deadline, calls: list[Call]) -> Finding:
    """What became of a confirm that may have been sent. The caller holds the attempt's lease.

    Look at the intent; if it shows nothing of this attempt, send the very same confirm again, but only soon after the
    click; later, cancel the intent and take that answer. So every unknown ends in something definite (RULES R53, R88).
    """
    payment = attempt.payment
    finding = look_at_intent(payment, deadline, calls)
    intent = finding.intent
    if intent is None or intent.status in ("succeeded", "canceled"):
        return finding
    verdict = judge(attempt, payment, finding)
    give_back_connections()  # judging may have asked our rows
    if verdict == Outcome.UNKNOWN and _may_confirm_again(attempt):
        again = send_confirm(attempt, payment, deadline, calls)
        # It may have run before, so a refusal to run it now proves nothing.
        refused = again.outcome in (Outcome.RELEASED, Outcome.FAILED)
        again = replace(again, outcome=Outcome.UNKNOWN) if refused else again
        # Without an answer the look still counts: else a bank that hangs would be asked before all others, for ever.
        silent = again.intent is None and again.outcome == Outcome.UNKNOWN
        return replace(finding, stored_5xx=again.stored_5xx, calls=tuple(calls)) if silent else again
    if must_end(attempt, verdict):
        commit_payment_closing(payment)
        give_back_connections()
        return cancel_intent(payment, deadline, calls)
    return finding


def _may_confirm_again(attempt: Attempt) -> bool:
    return (
        not attempt.was_pending
        and not attempt.stored_5xx
        and not attempt.order.is_closing
        and attempt.payment.phase == Payment.Phase.OPEN
        and attempt.age < settings.CONFIRM_AGAIN
        and attempt.payment.asks_for_total_of(attempt.order)
    )


def must_end(attempt: Attempt, verdict: Outcome) -> bool:
    """Whether it is time for the definite act: cancel the intent."""
    giving_up = attempt.order.is_closing or attempt.payment.phase == Payment.Phase.CLOSING
    if verdict == Outcome.REQUIRES_ACTION:
        return giving_up or attempt.age > settings.ACTION_LIFE
    return verdict == Outcome.UNKNOWN


def ends_if_not_charged(attempt: Attempt) -> bool:
    """Whether completing it now, if Stripe shows no charge, cancels its intent: for staff, before they ask."""
    if attempt.outcome == Outcome.PROCESSING:
        return False  # the bank has the last word
    if attempt.outcome == Outcome.REQUIRES_ACTION:
        return must_end(attempt, Outcome.REQUIRES_ACTION)
    return not _may_confirm_again(attempt)


def commit_payment_closing(payment: Payment, act: Act | None = None) -> None:
    with locked_order(payment.order_id), witnessed(act):
        Payment.objects.filter(pk=payment.pk, phase=Payment.Phase.OPEN).update(phase=Payment.Phase.CLOSING)


def carry_out(claimed: Claimed) -> tuple[Attempt, Intent | None]:
    """Confirm and settle; the attempt as its row is afterwards, whoever wrote it, and the intent as just seen."""
    attempt = claimed.attempt
    try:
        finding = confirm(claimed) if claimed.press else find_out(attempt, claimed.deadline, claimed.calls)  # layer 5
        note_answer(answered=finding.was_answered)
        try:
            settled = settle(attempt.payment, claimed.lease, finding, Asker.SHOPPER)
        except (OperationalError, InterfaceError, RowBusy):
            # The answer is here and cannot be written: not known to our rows yet, so not known (RULES R76, C19).
            log.exception("not_settled", attempt=attempt.pk)
            attempt.outcome = Outcome.UNKNOWN
            return attempt, None
        return settled or attempt, finding.intent
    except StaleLease as error:
        log.warning("stale_lease", attempt=attempt.pk, error=str(error))
    except KeyInUse:
        log.warning("confirm_key_in_use", attempt=attempt.pk)
    except RowBusy:
        log.warning("row_busy", attempt=attempt.pk)
    return Attempt.objects.select_related("payment", "order").get(pk=attempt.pk), None
