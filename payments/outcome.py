"""Settle: write what Stripe said. The one place where an outcome is written, and the only way money state changes.

Attempt, payment, order, stock, mail and story change in one transaction, under the order's lock, fenced by the lease of
whoever looked. The request, webhook, completer, sweep and staff all come through here (RULES R36, DESIGN section 5).
"""

import structlog

from orders import ends
from orders.attempts import OTHER_AMOUNT, took_other_amount
from orders.models import Mail, Order
from payments import responses
from payments.backoff import next_look, rung
from payments.breaks import (
    LATE_MONEY,
    missing_at_gateway,
    open_break,
    raise_break,
    raise_to_give_back,
    resolve_breaks,
    resolve_given_up,
)
from payments.charges import charge_of_intent, credited_charge, new_refund, note_charge
from payments.errors import StaleLease
from payments.gateways.base import Call, Intent
from payments.history import called
from payments.intents import Finding
from payments.leases import Lease
from payments.models import (
    DEAD,
    LATE_REFUND,
    Asker,
    Attempt,
    AttemptQuerySet,
    Break,
    Outcome,
    Payment,
    PaymentEvent,
    Refund,
    attempt_id,
)
from payments.row_lock import again_on_conflict, locked_payment
from shop.acts import Act, witnessed
from shop.database_clock import DatabaseClock

log = structlog.get_logger(__name__)

# An attempt in one of these leaves its shopper without an answer, and with our word to write.
WITHOUT_ANSWER = (
    *(Attempt.Phase.STARTED, Attempt.Phase.CONFIRMING),
    *(Outcome.UNKNOWN, Outcome.PROCESSING, Outcome.REQUIRES_ACTION),
)


@again_on_conflict
def settle(
    payment: Payment,
    lease: Lease | None,
    finding: Finding,
    asked_by: Asker,
    actor: str = "",
    act: Act | None = None,
) -> Attempt | None:
    """Write the finding. Returns the attempt that it was about, as the row is now; None if it was about none.

    Args:
        lease: the attempt's or the payment's, taken *before* the finding was fetched. None only for what never goes
            stale: an intent that succeeded or was canceled.
        act: of staff, whose audit row is written in the same transaction.

    Raises:
        StaleLease: somebody took the row over meanwhile; nothing was written, the row has the truth.
    """
    with locked_payment(payment.pk, payment.order_id) as (order, payment_now), witnessed(act):
        attempt = _attempt_of_lease(order, payment_now, lease)
        if finding.intent is None or finding.intent.status not in ("succeeded", "canceled"):
            _refuse_stale(lease, attempt, payment_now)
        elif attempt is None or not attempt.is_live:
            attempt = _live_attempt(order, payment_now) or attempt
        verdict = judge(attempt, payment_now, finding)
        before = attempt.payment_status if attempt else payment_now.phase
        order_was = order.status
        if verdict == Outcome.UNKNOWN and finding.intent is not None and finding.intent.status == "succeeded":
            attempt = _mismatch(order, payment_now, attempt, finding.intent)
        match verdict:
            case Outcome.SUCCEEDED:
                attempt = _paid(order, payment_now, attempt, finding)
            case Outcome.CANCELED:
                _canceled(order, payment_now, attempt, phase=_over_as(finding))
            case Outcome.DECLINED | Outcome.FAILED if attempt:
                _declined(order, attempt, verdict, finding)
            case Outcome.RELEASED if attempt:
                _released(order, attempt)
            case _ if attempt and attempt.phase != Attempt.Phase.FINISHED:
                _still_open(attempt, verdict, finding, asked_by)
        after = attempt.payment_status if attempt else payment_now.phase
        _still_closing(order, payment_now, finding, asked_by, moved=before != after)
        _follow_missing(payment_now, finding, asked_by, actor)
        _owe_finish_paying(order, before, after, asked_by)
        _tell(order, order_was, payment_now, attempt, finding.calls, before, after, asked_by, actor)
        if lease and lease.model is Payment:
            Payment.objects.filter(pk=lease.pk, lease_token=lease.token).update(locked_until=None)
    return attempt


def judge(attempt: Attempt | None, payment: Payment, finding: Finding) -> Outcome:
    """What the finding means for this attempt. Never reads "not charged" out of silence (RULES R25, R88)."""
    intent = finding.intent
    if intent is not None and intent.status == "succeeded":
        equal = (intent.amount_minor, intent.received_minor, intent.currency) == (
            payment.amount_minor,
            payment.amount_minor,
            payment.currency,
        )
        return Outcome.SUCCEEDED if equal else Outcome.UNKNOWN
    if intent is not None and intent.status == "canceled":
        return Outcome.CANCELED
    if finding.missing and _ends_missing(attempt, payment, finding):
        return Outcome.CANCELED
    if finding.outcome == Outcome.DECLINED:
        return Outcome.DECLINED
    if finding.outcome in (Outcome.RELEASED, Outcome.FAILED):
        # A press is judged by its most doubtful try: once in doubt, a later refusal proves nothing.
        in_doubt = attempt is not None and attempt.outcome != ""
        return Outcome.UNKNOWN if in_doubt else Outcome(finding.outcome)
    if intent is None or attempt is None:
        return Outcome.UNKNOWN
    if intent.status in ("requires_action", "processing"):
        return Outcome(intent.status)
    return Outcome.DECLINED if _proves_decline(attempt, finding, intent) else Outcome.UNKNOWN


def _ends_missing(attempt: Attempt | None, payment: Payment, finding: Finding) -> bool:
    """Whether a payment whose intent the gateway does not know is over: nobody can have been charged by a press of it,
    and it was to end anyway; or staff say so, of the press that is in doubt."""
    live = Attempt.objects.filter(payment=payment).live()
    if finding.given_up:
        return not live.exclude(pk=attempt.pk if attempt else "").exists()
    return payment.phase == Payment.Phase.CLOSING and not live.exists()


def _proves_decline(attempt: Attempt, finding: Finding, intent: Intent) -> bool:
    """DESIGN section 5, what proves a decline: (b), (c) and (d); (a) is `finding.outcome`."""
    if intent.status not in ("requires_payment_method", "requires_confirmation"):
        return False
    if finding.event_key and finding.event_key == attempt.confirm_key:
        return True
    if attempt.was_pending:
        return True
    charge = intent.charge
    return (
        charge is not None
        and charge.status == "failed"
        and charge.id != attempt.latest_charge_before
        and not Attempt.objects.filter(charge_id=charge.id).exclude(pk=attempt.pk).exists()
    )


def _attempt_of_lease(order: Order, payment: Payment, lease: Lease | None) -> Attempt | None:
    """The attempt whose lease it is, locked. A payment's lease is about no attempt: one may have begun since."""
    if lease is None or lease.model is not Attempt:
        return None
    return _joined(_locked_attempts(payment).get(pk=lease.pk), order, payment)


def _live_attempt(order: Order, payment: Payment) -> Attempt | None:
    """What never goes stale belongs to the payment: it is credited to the live attempt, whoever brings it."""
    attempt = _locked_attempts(payment).live().first()
    return _joined(attempt, order, payment) if attempt else None


def _locked_attempts(payment: Payment) -> AttemptQuerySet:
    return Attempt.objects.select_for_update(no_key=True, of=("self",)).filter(payment=payment)


def _joined(attempt: Attempt, order: Order, payment: Payment) -> Attempt:
    """The attempt, pointing at the locked order and payment instead of copies of them."""
    attempt.payment, attempt.order = payment, order
    return attempt


def _refuse_stale(lease: Lease | None, attempt: Attempt | None, payment: Payment) -> None:
    if lease is None:
        raise StaleLease("no lease")
    row = attempt if lease.model is Attempt else payment
    if row is None or row.lease_token != lease.token:
        raise StaleLease(f"{lease.model.__name__} {lease.pk}")
    if isinstance(row, Attempt) and row.phase == Attempt.Phase.FINISHED:
        raise StaleLease(f"attempt {lease.pk} is finished")


def _paid(order: Order, payment: Payment, attempt: Attempt | None, finding: Finding) -> Attempt:
    """Money belongs to the payment: equal amount and currency always pay the order."""
    intent = finding.intent
    assert intent is not None
    charge = intent.charge
    if attempt is None or not attempt.is_live:
        attempt = _owner_of(order, payment, intent)
    if payment.is_over:
        raise AssertionError(f"Bug! {payment} was charged after Stripe had said that it never would be.")
    moved = payment.phase != Payment.Phase.SUCCEEDED
    if moved:
        note_charge(order, intent)
        payment.phase = Payment.Phase.SUCCEEDED
        payment.captured_minor = intent.received_minor
        payment.charge_id = intent.charge_id or None
        payment.card_brand, payment.card_last4 = (charge.brand, charge.last4) if charge else ("", "")
        payment.succeeded_at = order.read_at
        payment.lease_token += 1
        payment.locked_until = None
        payment.save(
            update_fields=[
                "phase",
                "captured_minor",
                "charge_id",
                "card_brand",
                "card_last4",
                "succeeded_at",
                "lease_token",
                "locked_until",
            ]
        )
    if (order.total_minor, order.currency) != (payment.captured_minor, payment.currency):
        raise AssertionError(f"Bug! Order {order.pk} would be paid with another amount than its total.")
    if not order.is_closed:
        ends.mark_paid(order, order.read_at)
    elif moved:  # decided once: whoever finds the same later finds it decided
        _late_money(order, payment, intent)
    if attempt.outcome != Outcome.SUCCEEDED:
        _finish(attempt, order, Outcome.SUCCEEDED, charge_id=intent.charge_id)
    return attempt


def _owner_of(order: Order, payment: Payment, intent: Intent) -> Attempt:
    """Money without a live attempt: whoever owns the charge, else a new row that says it came from the gateway."""
    owner = Attempt.objects.filter(payment=payment, outcome=Outcome.SUCCEEDED).first()
    if owner is None:
        number = _next_number(order)
        owner = Attempt.objects.create(
            id=attempt_id(order.pk, number),
            order=order,
            payment=payment,
            number=number,
            origin=Attempt.Origin.GATEWAY,
            idempotency_key=f"gateway:{intent.charge_id or intent.id}",
            fingerprint="",
            phase=Attempt.Phase.CONFIRMING,
            outcome=Outcome.UNKNOWN,
            claimed_at=DatabaseClock(),
        )
    owner.payment, owner.order = payment, order
    return owner


def _next_number(order: Order) -> int:
    newest = Attempt.objects.filter(order=order).order_by("-number").values_list("number", flat=True).first()
    return (newest or 0) + 1


def _late_money(order: Order, payment: Payment, intent: Intent) -> None:
    """The order was given up, and the money came all the same: the goods go out if they are still here, else the money
    goes back, once. The refund is only written here; the completer carries it out, as any other that is due."""
    was = order.status
    key = f"{LATE_REFUND}{intent.charge_id}"
    goes_back = Refund.objects.filter(payment=payment, idempotency_key=key).exists()
    if not goes_back and ends.revive(order, order.read_at):
        log.warning("order_revived", order=order.pk, payment=payment.pk)
        return
    log.error("late_money", order=order.pk, payment=payment.pk, intent=intent.id)
    charge = credited_charge(payment)
    if charge is not None and not goes_back and charge.left_minor:
        new_refund(payment, charge, key, charge.left_minor, Refund.Reason.REQUESTED_BY_CUSTOMER)
    ends.owe_mail(order, Mail.Kind.LATE_MONEY, order.read_at)
    evidence: dict[str, object] = {
        "found_by": LATE_MONEY,
        "order_status": was,
        "proposal": "refunded by itself; tell the shopper if asked",
    }
    raise_break(Break.Kind.STATUS, intent.id, order, payment, payment.captured_minor, evidence)


def _over_as(finding: Finding) -> Payment.Phase:
    """Only the gateway cancels; what it does not know is abandoned."""
    return Payment.Phase.ABANDONED if finding.missing else Payment.Phase.CANCELED


def _canceled(
    order: Order,
    payment: Payment,
    attempt: Attempt | None,
    reason: str = "started-over",
    charge_id: str = "",
    phase: Payment.Phase = Payment.Phase.CANCELED,
) -> None:
    """Stripe will never charge this intent (again): the slot is free, and what the shopper wished for can be done."""
    if payment.is_over or payment.phase == Payment.Phase.SUCCEEDED:
        return
    payment.phase = phase
    payment.lease_token += 1
    payment.locked_until = None
    for column, value in payment.next_cancel().items():
        setattr(payment, column, value)
    payment.save(update_fields=["phase", "cancels", "cancel_key", "lease_token", "locked_until"])
    ends.rotate_pay_key(order)
    if attempt is not None and attempt.is_live:
        _finish(attempt, order, Outcome.CANCELED, reason=reason, charge_id=charge_id)
    carry_out_closing(order)


def carry_out_closing(order: Order) -> None:
    """No payment can charge this order any more: do what closing was wished for, once.

    Called with the order locked and its payment canceled, abandoned or never sent.
    """
    now = order.read_at
    match order.closing_reason:
        case "cancel":
            _end_unpaid(order, Order.Status.CANCELED)
        case "expire":
            _end_unpaid(order, Order.Status.EXPIRED)
        case "start-over":
            order.closing_since, order.closing_by, order.closing_reason = None, "", ""
            order.save(update_fields=["closing_since", "closing_by", "closing_reason"])
            ends.hold_again(order, now)
        case "":
            ends.hold_again(order, now)


def _end_unpaid(order: Order, status: Order.Status) -> None:
    """And the story says whose wish it was: the order itself forgets it, and that it ended too if it is revived."""
    was, by = order.status, order.closing_by
    if ends.end_unpaid(order, status, order.read_at):
        asked_by = {"shopper": Asker.SHOPPER, "expiry": Asker.COMPLETER}.get(by, Asker.STAFF)
        PaymentEvent.objects.create(
            order=order, kind=PaymentEvent.ORDER_ENDED, from_state=was, to_state=status, asked_by=asked_by, actor=by
        )


def _declined(order: Order, attempt: Attempt, outcome: Outcome, finding: Finding) -> None:
    """A definite no: the same order and intent wait for the next press, under a new key."""
    intent = finding.intent
    code = intent.last_error_code if intent else ""
    decline_code = finding.decline_code or (intent.last_decline_code if intent else "")
    reason = finding.reason or responses.reason_for(code, decline_code)
    charge_id = finding.charge_id or (intent.charge_id if intent else "")
    ends.rotate_pay_key(order)
    ends.hold_again(order, order.read_at)
    _finish(attempt, order, outcome, reason=reason, decline_code=decline_code or code, charge_id=charge_id)


def _released(order: Order, attempt: Attempt) -> None:
    """Nothing was sent: the same key may come again, and the order's next press gets a new one."""
    ends.rotate_pay_key(order)
    attempt.phase, attempt.outcome = Attempt.Phase.FINISHED, Outcome.RELEASED
    attempt.lease_token += 1
    attempt.locked_until = attempt.next_look_at = None
    attempt.save(update_fields=["phase", "outcome", "lease_token", "locked_until", "next_look_at"])


def _finish(
    attempt: Attempt, order: Order, outcome: Outcome, reason: str = "", decline_code: str = "", charge_id: str = ""
) -> None:
    """A final outcome, and the answer that is replayed for it, in one UPDATE."""
    attempt.phase, attempt.outcome = Attempt.Phase.FINISHED, outcome
    attempt.reason, attempt.decline_code = reason, decline_code
    if charge_id and not Attempt.objects.filter(charge_id=charge_id).exclude(pk=attempt.pk).exists():
        attempt.charge_id = charge_id
    attempt.finished_at = order.read_at
    attempt.lease_token += 1
    attempt.locked_until = attempt.next_look_at = None
    attempt.answer_status, attempt.answer_body = responses.final_answer_of(attempt, order)
    attempt.save(
        update_fields=[
            "phase",
            "outcome",
            "reason",
            "decline_code",
            "charge_id",
            "finished_at",
            "lease_token",
            "locked_until",
            "next_look_at",
            "answer_status",
            "answer_body",
        ]
    )


def _still_open(attempt: Attempt, verdict: Outcome, finding: Finding, asked_by: Asker) -> None:
    """Not decided: say what is known, let the row go, and note when to look again."""
    attempt.outcome = verdict
    attempt.was_pending = attempt.was_pending or verdict in (Outcome.REQUIRES_ACTION, Outcome.PROCESSING)
    attempt.stored_5xx = attempt.stored_5xx or finding.stored_5xx
    if finding.has_spoken:
        attempt.looked_at = attempt.order.read_at
        # Only the completer's own looks that reached Stripe climb its ladder: a page that polls must not use it up.
        attempt.looks += asked_by == Asker.COMPLETER
    attempt.lease_token += 1
    attempt.locked_until = None
    attempt.next_look_at = next_look(attempt, attempt.order.read_at)
    attempt.save(
        update_fields=[
            "outcome",
            "was_pending",
            "stored_5xx",
            "looks",
            "looked_at",
            "lease_token",
            "locked_until",
            "next_look_at",
        ]
    )


def _still_closing(order: Order, payment: Payment, finding: Finding, asked_by: Asker, *, moved: bool) -> None:
    """A payment that was to end, and that Stripe has not ended yet: note when to ask again.

    Only the completer keeps to its ladder; whoever waits for the answer may ask at any time, and does not move the next
    rung away. What moved meanwhile, such as the bank's word on a press, is a reason to ask at once.
    """
    if payment.phase != Payment.Phase.CLOSING:
        return
    if moved:
        payment.next_look_at = None
    elif asked_by == Asker.COMPLETER:
        payment.looks += finding.has_spoken  # a look that could not reach Stripe does not climb
        payment.next_look_at = order.read_at + rung(payment.looks)
    payment.save(update_fields=["looks", "next_look_at"])


def _owe_finish_paying(order: Order, before: str, after: str, asked_by: Asker) -> None:
    """The shopper was left without an answer, and others have found out that nothing was charged: they hear of it."""
    if asked_by != Asker.SHOPPER and before in WITHOUT_ANSWER and after in DEAD and not took_other_amount(order):
        ends.owe_finish_paying(order, order.read_at)


def _follow_missing(payment: Payment, finding: Finding, asked_by: Asker, actor: str) -> None:
    """The break about an intent that the gateway does not know: opened by whoever meets that, gone when it is known
    again. A shopper's press leaves that to the sweep."""
    if finding.given_up:
        resolve_given_up(payment, actor, finding.given_up)
    elif finding.missing:
        log.error("missing_gateway", order=payment.order_id, payment=payment.pk, intent=payment.intent_id)
        open_break(missing_at_gateway(payment))
    elif finding.intent is not None and asked_by != Asker.SHOPPER:
        resolve_breaks([finding.intent.id], [Break.Kind.MISSING_GATEWAY], by=asked_by, note="Stripe knows it again")


def _mismatch(order: Order, payment: Payment, attempt: Attempt | None, intent: Intent) -> Attempt | None:
    """Stripe took another amount or currency than ours: the order stays unpaid and unknown until all of it has gone
    back. Then the press has ended, and this intent, whose one charge was made, can never charge again. The attempt."""
    if payment.is_over:
        return attempt
    if all_went_back(intent):
        attempt = attempt if attempt is not None and attempt.is_live else _owner_of(order, payment, intent)
        _canceled(order, payment, attempt, reason=OTHER_AMOUNT, charge_id=intent.charge_id)
        resolve_breaks([intent.id], [Break.Kind.AMOUNT], by="refund", note="all of it has gone back")
        return attempt
    log.error("amount_mismatch", order=order.pk, payment=payment.pk, intent=intent.id)
    charge = charge_of_intent(order, intent)
    if charge is not None:
        raise_to_give_back(order, payment, charge)
    else:
        evidence: dict[str, object] = {"received": intent.received_minor, "currency": intent.currency}
        raise_break(Break.Kind.AMOUNT, intent.id, order, payment, intent.received_minor, evidence)
    return attempt


def all_went_back(intent: Intent) -> bool:
    """Whether our rows have refunds that gave back all that this intent took, each of them known to have succeeded."""
    given = Refund.objects.filter(
        charge=intent.charge_id, outcome=Refund.Outcome.SUCCEEDED, currency=intent.currency
    ).total_minor()
    return 0 < intent.received_minor <= given


def _tell(
    order: Order,
    order_was: str,
    payment: Payment,
    attempt: Attempt | None,
    calls: tuple[Call, ...],
    before: str,
    after: str,
    asked_by: Asker,
    actor: str,
) -> None:
    """The story: every call to Stripe, and what moved. In the transaction of the outcome."""

    def moved(kind: str, from_state: str, to_state: str) -> PaymentEvent:
        return PaymentEvent(
            order=order,
            payment=payment,
            attempt=attempt,
            kind=kind,
            from_state=from_state,
            to_state=to_state,
            asked_by=asked_by,
            actor=actor,
        )

    events = [called(call, order, payment, attempt, asked_by, actor) for call in calls]
    if before != after:
        events.append(moved("settled", before, after))
        if order_was in Order.CLOSED and after == Outcome.SUCCEEDED:
            # Whether or not it revived the order, whose own row says nothing of an end that was taken back.
            events.append(moved(PaymentEvent.LATE_MONEY, order_was, order.status))
        log.info("settled", order=order.pk, attempt=attempt.pk if attempt else None, to=after, asked_by=asked_by)
    PaymentEvent.objects.bulk_create(events)
