"""Refund: money going back, once. The same care as a press: claim, call, settle; unknown is not failed (RULES R93-R95).

Stripe would happily run a second partial refund, so the sum is kept under the payment's row lock, and every refund has
one row, committed before the call, and one reproducible gateway key. What Stripe's dashboard refunded is adopted.
"""

from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q
from django.utils import timezone

from orders import ends
from orders.attempts import OTHER_AMOUNT
from orders.models import Mail, Order
from payments.breaks import REFUND_FAILED, resolve_repaid
from payments.errors import GatewayError, Invalid, RowBusy, StaleLease
from payments.gateways.base import Call, SeenRefund, gateway
from payments.gateways.transport import Deadline
from payments.leases import Lease, take_lease
from payments.models import NOT_GIVEN, Asker, Break, DatabaseClock, Dispute, Payment, PaymentEvent, Refund
from payments.models import Outcome as Known
from payments.proposals import agree, takes_two
from payments.row_lock import again_on_conflict, give_back_connections, locked_payment
from payments.schedule import rung
from payments.settle import Finding, called, judge, raise_break, tell_calls
from payments.stopped import count_replay
from shop.acts import Act, witnessed
from shop.idempotency import refuse_other_body
from shop.ids import new_id
from shop.money import money_text
from shop.problems import Problem

log = structlog.get_logger(__name__)

Outcome = Refund.Outcome
_TAKES_TWO = (
    "So much of one payment is given back by two people: propose it on the staff desk, and a second one agrees."
)


@dataclass(frozen=True)
class Ask:
    """What a member of staff, or a rule of ours, asks for. Amount in minor units."""

    key: str
    fingerprint: str
    amount_minor: int
    reason: str
    actor_id: int | None
    asked_by: Asker = Asker.STAFF
    act: Act | None = None
    proposal_id: int | None = None  # of the proposal that a second person agrees to with this very ask


def refund_once(payment: Payment, ask: Ask) -> Refund:
    """Carry the refund of this key out, or find what became of it; the refund as its row is afterwards.

    Raises:
        Problem: idempotency-key-reused, refund-too-large (`left`), request-in-progress; forbidden: it takes two.
        DoneAlready, StaleForm: of the act of staff that it is.
    """
    try:
        refund, lease = claim_refund(payment, ask)
    except RowBusy:
        raise Problem("request-in-progress", "This payment is being worked on right now. Please ask again.") from None
    if lease is not None:
        return carry_out_refund(refund, lease, ask.asked_by)
    if refund.phase != Refund.Phase.FINISHED:
        return complete_refund(refund.pk, ask.asked_by) or refund
    return refund


# --- claim ------------------------------------------------------------------------------------------------------------


def claim_refund(payment: Payment, ask: Ask) -> tuple[Refund, Lease | None]:
    """The refund of this key, and its lease if it is ours to carry out. Committed before any call.

    Raises:
        Problem: idempotency-key-reused, refund-too-large (`left`); forbidden: it takes two.
    """
    with locked_payment(payment.pk, payment.order_id) as (order, locked), witnessed(ask.act):
        if ask.proposal_id is not None:
            agree(locked, ask.proposal_id, ask.actor_id)
        same = Refund.objects.filter(payment=locked, idempotency_key=ask.key).first()
        if same is not None:
            refuse_other_body(same, ask.fingerprint)
            return same, None
        left = left_to_refund(locked)
        if ask.amount_minor > left:
            raise Problem("refund-too-large", left_in_words(locked), extra={"order": order.pk, "left": left})
        if ask.asked_by == Asker.STAFF and ask.proposal_id is None and takes_two(locked, ask.amount_minor):
            raise Problem("forbidden", _TAKES_TWO, extra={"order": order.pk})
        refund = Refund.objects.create(
            id=new_id(),
            payment=locked,
            idempotency_key=ask.key,
            fingerprint=ask.fingerprint,
            amount_minor=ask.amount_minor,
            currency=locked.currency,
            reason=ask.reason,
            actor_id=ask.actor_id,
            phase=Refund.Phase.CONFIRMING,
            lease_token=1,
            locked_until=DatabaseClock() + settings.LEASE,
            held_by=ask.asked_by,
        )
        _tell(order, refund, (), "", "confirming", ask.asked_by)
    return refund, Lease(Refund, refund.pk, 1)


def left_to_refund(payment: Payment) -> int:
    return max(0, balance_minor(payment))


def balance_minor(payment: Payment) -> int:
    """Captured, less every refund that did not fail (one that is unknown may have gone back), less what the bank has
    taken back or may keep after a dispute (FAILURES 109). Below zero if both happened at once."""
    given = payment.refunds.perhaps_given().total_minor()
    return payment.captured_minor - given - withheld_minor(payment)


def withheld_minor(payment: Payment) -> int:
    """What disputes that are open or lost hold back. One in another currency may be about all of it."""
    disputes = Dispute.objects.filter(payment=payment).withholding().values_list("amount_minor", "currency")
    amounts = [amount if currency == payment.currency else payment.captured_minor for amount, currency in disputes]
    return min(sum(amounts), payment.captured_minor)


def left_in_words(payment: Payment) -> str:
    left = money_text(left_to_refund(payment), payment.currency)
    words = f"{left} is left to refund of this payment."
    disputed = Dispute.objects.filter(payment=payment).withholding().first()
    if disputed is None:
        return words
    held = money_text(withheld_minor(payment), payment.currency)
    if disputed.status in ("lost", "prevented"):
        return f"{words} The shopper's bank has taken {held} back after a dispute: a refund would pay it twice."
    return f"{words} {held} is disputed and may be lost to the shopper's bank: wait until the dispute is decided."


# --- call -------------------------------------------------------------------------------------------------------------


def carry_out_refund(refund: Refund, lease: Lease, asked_by: Asker, actor: str = "", act: Act | None = None) -> Refund:
    """Ask Stripe for it, and settle what it said; the refund as its row is afterwards.

    Args:
        actor: who of staff asks now; who asked for the refund unless given. `act`: a question of his to Stripe.
    """
    calls: list[Call] = []
    give_back_connections()
    seen, failed = _send(refund, Deadline(settings.CONFIRM_TIMEOUT.total_seconds()), calls)
    try:
        return settle_refund(refund, lease, seen, tuple(calls), asked_by, failed=failed, actor=actor, act=act)
    except StaleLease as error:
        log.warning("stale_lease", refund=refund.pk, error=str(error))
        return Refund.objects.select_related("payment").get(pk=refund.pk)
    except (RowBusy, OperationalError, InterfaceError):
        # Stripe has answered, and it cannot be written: not known to our rows yet, so not known.
        log.exception("refund_not_settled", refund=refund.pk)
        refund.outcome = Outcome.UNKNOWN
        return refund


def _send(refund: Refund, deadline: Deadline, calls: list[Call]) -> tuple[SeenRefund | None, bool]:
    """What Stripe has of this refund, and whether it is definite that there is none.

    A key that Stripe may have forgotten is never sent again; then its own list is the answer.
    """
    young = timezone.now() - refund.created_at < settings.GATEWAY_KEY_SAFE_AGE
    try:
        if young and refund.outcome != Outcome.PENDING:
            seen = gateway().create_refund(_params(refund), refund.gateway_key, deadline, calls)
            count_replay(refund.payment.order_id, calls)
            return seen, False
        return _found_at_stripe(refund, deadline, calls)
    except Invalid as error:
        # For example charge_already_refunded: never "failed" unread (RULES R95).
        log.warning("refund_refused", refund=refund.pk, code=error.code)
        try:
            return _found_at_stripe(refund, deadline, calls)
        except GatewayError:
            return None, False
    except GatewayError:
        return None, False


def _found_at_stripe(refund: Refund, deadline: Deadline, calls: list[Call]) -> tuple[SeenRefund | None, bool]:
    """This refund in Stripe's list of the intent's refunds, by Stripe's id or by ours in its metadata.

    The list is read-after-write; still, only a refund that Stripe never showed can be concluded from its absence.
    """
    assert refund.payment.intent_id is not None
    listed = gateway().list_refunds(refund.payment.intent_id, deadline, calls)
    ours = next((one for one in listed if one.id == refund.refund_id or one.metadata.get("refund") == refund.pk), None)
    return ours, ours is None and refund.refund_id is None


def _params(refund: Refund) -> dict[str, object]:
    """The exact call, from the row alone. Of the charge that the payment names, so that a duplicate's refund could
    never touch it."""
    payment = refund.payment
    return {
        "charge": payment.charge_id,
        "amount": refund.amount_minor,
        "reason": refund.reason,
        "metadata": {
            "order": payment.order_id,
            "payment": payment.pk,
            "refund": refund.pk,
            "env": settings.PAYMENT_ENV,
        },
    }


# --- settle -----------------------------------------------------------------------------------------------------------

# A refund only moves up: what was fetched earlier and written later can never take it back. Stripe: a refund may still
# fail after it has succeeded, for example when the card's account is closed.
_RANK = {"": 0, "unknown": 1, "pending": 2, "succeeded": 3, "failed": 4, "canceled": 4}


@again_on_conflict
def settle_refund(
    refund: Refund,
    lease: Lease,
    seen: SeenRefund | None,
    calls: tuple[Call, ...],
    asked_by: Asker,
    *,
    failed: bool = False,
    actor: str = "",
    act: Act | None = None,
) -> Refund:
    """Write what Stripe has of the refund: the row, the payment's sum, the order at the full sum, in one transaction.

    Raises:
        StaleLease: somebody took the refund over; nothing was written.
    """
    with locked_payment(refund.payment_id, refund.payment.order_id) as (order, payment), witnessed(act):
        row = Refund.objects.select_for_update(no_key=True).get(pk=refund.pk)
        if row.lease_token != lease.token:
            raise StaleLease(f"refund {refund.pk}")
        row.payment = payment
        outcome = _outcome_of(seen) if seen else ("failed" if failed else "unknown")
        _move(order, row, outcome, seen.id if seen else None, calls, asked_by, actor)
        _follow(order, payment)
    return row


def follow_refunds(payment: Payment, asked_by: Asker, actor: str = "", act: Act | None = None) -> bool:
    """Bring our refunds in line with Stripe's list of the intent's: later outcomes, and what was refunded in the
    dashboard, which gets a row of its own. Whether Stripe answered."""
    if payment.intent_id is None:
        return True
    calls: list[Call] = []
    give_back_connections()
    try:
        listed = gateway().list_refunds(payment.intent_id, Deadline(settings.LOOK_TIMEOUT.total_seconds()), calls)
    except GatewayError as error:
        log.info("refunds_not_seen", payment=payment.pk, error=str(error))
        return False
    finally:
        tell_calls(payment, calls, asked_by, actor)
    _write_list(payment, listed, asked_by, actor, act)
    return True


def follow_other_amount(payment: Payment, finding: Finding, asked_by: Asker) -> None:
    """Stripe took another amount than ours: write what has gone back of it first, for settling goes by our rows."""
    taken = finding.intent is not None and finding.intent.status == "succeeded"
    if taken and judge(None, payment, finding) == Known.UNKNOWN:
        follow_refunds(payment, asked_by)


@again_on_conflict
def _write_list(
    payment: Payment, listed: list[SeenRefund], asked_by: Asker, actor: str = "", act: Act | None = None
) -> None:
    with locked_payment(payment.pk, payment.order_id) as (order, locked), witnessed(act):
        rows = {row.pk: row for row in locked.refunds.select_for_update(no_key=True)}
        by_gateway_id = {row.refund_id: row for row in rows.values() if row.refund_id}
        for seen in listed:
            row = by_gateway_id.get(seen.id) or rows.get(seen.metadata.get("refund", "")) or _adopt(locked, seen)
            row.payment = locked
            _move(order, row, _outcome_of(seen), seen.id, (), asked_by, actor)
        _follow(order, locked)


def _adopt(payment: Payment, seen: SeenRefund) -> Refund:
    """A refund that no row of ours asked for."""
    return Refund.objects.create(
        payment=payment,
        idempotency_key=f"gateway:{seen.id}",
        fingerprint="",
        amount_minor=seen.amount_minor,
        currency=seen.currency,
        reason=Refund.Reason.REQUESTED_BY_CUSTOMER,
        phase=Refund.Phase.CONFIRMING,
    )


def _outcome_of(seen: SeenRefund) -> str:
    return "pending" if seen.status == "requires_action" else seen.status


def _move(
    order: Order,
    row: Refund,
    outcome: str,
    refund_id: str | None,
    calls: tuple[Call, ...],
    asked_by: Asker,
    actor: str = "",
) -> None:
    """Up, never down; and whoever holds the row's lease finds its token outdated."""
    before = row.outcome or row.phase
    # "Failed" that was concluded from Stripe's list gives way to the refund itself.
    concluded = row.outcome == Outcome.FAILED and row.refund_id is None and refund_id is not None
    if concluded or _RANK[outcome] > _RANK[row.outcome]:
        row.outcome = outcome
    row.refund_id = row.refund_id or refund_id
    final = row.outcome in (Outcome.SUCCEEDED, *NOT_GIVEN)
    row.phase = Refund.Phase.FINISHED if final else Refund.Phase.CONFIRMING
    if final and row.finished_at is None:
        row.finished_at = timezone.now()
    row.looks += outcome != Outcome.UNKNOWN  # a look that could not reach Stripe does not climb the ladder
    row.next_look_at = None if final else timezone.now() + rung(row.looks)
    row.lease_token += 1
    row.locked_until = None
    row.save(
        update_fields=[
            "outcome",
            "refund_id",
            "phase",
            "finished_at",
            "looks",
            "next_look_at",
            "lease_token",
            "locked_until",
        ]
    )
    if row.outcome == Outcome.SUCCEEDED and before != row.outcome:
        ends.owe_mail(order, Mail.Kind.REFUND, timezone.now(), subject=row.pk)
    if row.outcome in NOT_GIVEN and before != row.outcome:
        log.error("refund_failed", refund=row.pk, payment=row.payment_id)
        evidence: dict[str, object] = {
            "found_by": REFUND_FAILED,
            "refund": row.pk,
            "outcome": row.outcome,
            "before": before,
        }
        subject = row.refund_id or row.pk
        raise_break(Break.Kind.STATUS, subject, order, row.payment, row.amount_minor, evidence)
    _tell(order, row, calls, before, row.outcome, asked_by, actor)


def _follow(order: Order, payment: Payment) -> None:
    """The payment's refunded sum is derived from its refunds, never counted up; the order follows at the full sum."""
    done = payment.refunds.filter(outcome=Outcome.SUCCEEDED).total_minor()
    if done > payment.captured_minor:
        # Of a payment whose amount was never ours: staff have its break, and may have refunded it in the dashboard.
        if not payment.attempts.filter(reason=OTHER_AMOUNT).exists():  # else all of it has gone back already
            evidence: dict[str, object] = {"refunded": done, "captured": payment.captured_minor}
            raise_break(Break.Kind.AMOUNT, payment.intent_id or payment.pk, order, payment, done, evidence)
        done = payment.captured_minor
    if done != payment.refunded_minor:
        payment.refunded_minor = done
        payment.save(update_fields=["refunded_minor"])
    if payment.captured_minor and done == payment.captured_minor:
        ends.refund_whole(order, timezone.now())
        resolve_repaid(payment)
    else:
        ends.refund_undone(order)


def _tell(
    order: Order,
    refund: Refund,
    calls: tuple[Call, ...],
    before: str,
    after: str,
    asked_by: Asker,
    actor: str = "",
) -> None:
    """The story, in the transaction of the outcome."""
    actor = actor or str(refund.actor or "")[:80]
    events = [called(call, order, refund.payment, None, asked_by, actor) for call in calls]
    if before != after:
        note = f"{refund.amount_text}, {refund.why_text}"
        events.append(
            PaymentEvent(
                order=order,
                payment=refund.payment,
                kind="refund",
                from_state=before,
                to_state=after,
                asked_by=asked_by,
                actor=actor,
                note=note,
            )
        )
    PaymentEvent.objects.bulk_create(events)


# --- complete ---------------------------------------------------------------------------------------------------------


def complete_refund(refund_id: str, asked_by: Asker, actor: str = "", act: Act | None = None) -> Refund | None:
    """Bring an open refund as far as Stripe allows; None if somebody holds it."""
    lease = take_lease(Refund(pk=refund_id), asked_by=asked_by, actor=actor)
    if lease is None:
        return None
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    return carry_out_refund(refund, lease, asked_by, actor, act)


def due_refunds(limit: int = 100) -> list[str]:
    """Ids of refunds that have not ended, that nobody holds and whose next look is due, oldest first."""
    now = DatabaseClock()
    due = Refund.objects.exclude(phase=Refund.Phase.FINISHED).filter(
        Q(locked_until__isnull=True) | Q(locked_until__lt=now),
        Q(next_look_at__isnull=True) | Q(next_look_at__lte=now),
    )
    return list(due.order_by("created_at").values_list("pk", flat=True)[:limit])
