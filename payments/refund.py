"""Refund: money going back from one charge, once. Claim, look, call, settle; unknown is not failed (RULES R93-R95).

Stripe would happily run a second partial refund. What stands against it, each by itself:

1. a refund's id, and with it its gateway key and its name in Stripe's metadata, follow from payment and client key;
2. before a refund is sent, Stripe's list of refunds is read to its end, and one under that name is adopted;
3. the sum of a charge's refunds is kept under the order's lock, by a trigger of the database, and by Stripe.

There is one engine: refunds of the charge that pays the order, of late money, of a second charge and of another amount
than the order's are rows of one kind. Only refunds of the charge that is credited to the order move the order.
"""

from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Q

from orders import ends, goods
from orders.models import Mail, Order
from payments.backoff import rung
from payments.breaks import (
    GOODS,
    REFUND_FAILED,
    raise_break,
    raise_to_give_back,
    resolve_breaks,
    resolve_given_back,
    resolve_repaid,
)
from payments.charges import charge_as_seen, credited_charge, new_refund, standing_charge
from payments.errors import GatewayError, Invalid, KeyReused, RowBusy, StaleLease, Undecided
from payments.gateways.base import Call, SeenCharge, SeenRefund, gateway
from payments.gateways.transport import Deadline
from payments.history import called, tell_calls
from payments.intents import Finding
from payments.leases import Lease, take_lease
from payments.models import (
    NOT_GIVEN,
    Asker,
    Break,
    Charge,
    Dispute,
    Payment,
    PaymentEvent,
    Refund,
    refund_id,
    refund_key,
)
from payments.models import Outcome as Known
from payments.monitoring.blocked_requests import count_replay
from payments.outcome import judge
from payments.refund_approvals import agree, takes_two
from payments.row_lock import again_on_conflict, give_back_connections, locked_payment
from shop.acts import Act, witnessed
from shop.database_clock import DatabaseClock
from shop.idempotency import refuse_other_body
from shop.money import money_text
from shop.problems import Problem

log = structlog.get_logger(__name__)

Outcome = Refund.Outcome
_TAKES_TWO = (
    "So much of one payment is given back by two people: propose it on the staff desk, and a second one agrees."
)


@dataclass(frozen=True)
class Ask:
    """What a member of staff, or a rule of ours, asks for. Amount in minor units.

    Attributes:
        key: the client's; the refund's id and gateway key follow from it.
        charge: whose money it is; the charge that is credited to the order unless given.
    """

    key: str
    fingerprint: str
    amount_minor: int
    reason: str
    actor_id: int | None
    asked_by: Asker = Asker.STAFF
    act: Act | None = None
    proposal_id: int | None = None  # of the proposal that a second person agrees to with this very ask
    charge: Charge | None = None


def refund_once(payment: Payment, ask: Ask, *, looked: bool = False) -> Refund:
    """Carry the refund of this key out, or find what became of it; the refund as its row is afterwards.

    Args:
        looked: whether Stripe's refunds have just been followed.

    Raises:
        Problem: idempotency-key-reused, refund-too-large (`left`), request-in-progress; forbidden: it takes two.
        DoneAlready, StaleForm: of the act of staff that it is.
    """
    try:
        if not looked and not Refund.objects.filter(payment=payment, idempotency_key=ask.key).exists():
            # What Stripe has and we do not (a database that was restored, the dashboard) counts against what is left.
            follow_refunds(payment, ask.asked_by)
        refund, lease = claim_refund(payment, ask)
    except RowBusy:
        raise Problem("request-in-progress", "This payment is being worked on right now. Please ask again.") from None
    if lease is not None:
        done = carry_out_refund(refund, lease, ask.asked_by)
        if done.amount_minor != ask.amount_minor:  # Stripe had it already: from a row that was lost
            refuse_other_body(done, "")
        return done
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
        same = _same(locked, ask)
        if same is not None:
            return same, None
        charge = ask.charge or credited_charge(locked)
        left = left_to_refund(locked) if ask.charge is None else ask.charge.left_minor
        if ask.charge is not None and ask.charge.pk == locked.charge_id:
            left = 0  # it pays the order by now: it is no money to give back any more
        if charge is None or ask.amount_minor > left:
            raise Problem("refund-too-large", left_in_words(locked), extra={"order": order.pk, "left": left})
        alone = ask.asked_by == Asker.STAFF and ask.charge is None and ask.proposal_id is None
        if alone and takes_two(locked, ask.amount_minor):
            raise Problem("forbidden", _TAKES_TWO, extra={"order": order.pk})
        refund = new_refund(
            locked,
            charge,
            ask.key,
            ask.amount_minor,
            ask.reason,
            fingerprint=ask.fingerprint,
            actor_id=ask.actor_id,
            lease_token=1,
            locked_until=DatabaseClock() + settings.LEASE,
            held_by=ask.asked_by,
        )
        _tell(order, refund, (), "", "confirming", ask.asked_by)
    return refund, Lease(Refund, refund.pk, 1)


def _same(payment: Payment, ask: Ask) -> Refund | None:
    """The refund of this key: by the key, or by the id that follows from it, where Stripe's list gave a lost row back.

    Raises:
        Problem: idempotency-key-reused.
    """
    row = Refund.objects.filter(payment=payment, idempotency_key=ask.key).first()
    if row is not None:
        refuse_other_body(row, ask.fingerprint)
        return row
    row = Refund.objects.filter(pk=refund_id(payment.pk, ask.key)).first()
    if row is None:
        return None
    if row.amount_minor != ask.amount_minor:
        refuse_other_body(row, ask.fingerprint)
    row.idempotency_key, row.fingerprint = ask.key, ask.fingerprint
    row.save(update_fields=["idempotency_key", "fingerprint"])
    return row


def left_to_refund(payment: Payment) -> int:
    return max(0, balance_minor(payment))


def balance_minor(payment: Payment) -> int:
    """Captured, less every refund of the credited charge that did not fail (one that is unknown may have gone back),
    less what the bank has taken back or may keep after a dispute (FAILURES 109). Below zero if both happened at once.
    """
    given = Refund.objects.filter(charge=payment.charge_id).perhaps_given().total_minor()
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


# --- look, and call ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What Stripe said of one refund.

    Attributes:
        seen: the refund as it is there now.
        failed: it is definite that Stripe has none, and never will have one under this key.
        stored_error: Stripe keeps an error under this key, and its list shows no refund: the next key may be sent.
    """

    seen: SeenRefund | None = None
    failed: bool = False
    stored_error: bool = False


UNKNOWN = Said()


def carry_out_refund(refund: Refund, lease: Lease, asked_by: Asker, actor: str = "", act: Act | None = None) -> Refund:
    """Ask Stripe for it, and settle what it said; the refund as its row is afterwards.

    Args:
        actor: who of staff asks now; who asked for the refund unless given. `act`: a question of theirs to Stripe.
    """
    calls: list[Call] = []
    give_back_connections()
    try:
        said = _find_or_send(refund, lease, Deadline(settings.PRESS_BUDGET.total_seconds()), calls)
        return settle_refund(refund, lease, said, tuple(calls), asked_by, actor=actor, act=act)
    except StaleLease as error:
        log.warning("stale_lease", refund=refund.pk, error=str(error))
        return Refund.objects.select_related("payment").get(pk=refund.pk)
    except (RowBusy, OperationalError, InterfaceError):
        # Stripe may have answered, and it cannot be written: not known to our rows yet, so not known.
        log.exception("refund_not_settled", refund=refund.pk)
        refund.outcome = Outcome.UNKNOWN
        return refund


def _find_or_send(refund: Refund, lease: Lease, deadline: Deadline, calls: list[Call]) -> Said:
    """Stripe's list first; only a refund that it does not show is sent, and only while Stripe remembers the key.

    Raises:
        StaleLease: somebody took the refund over before it was sent.
    """
    try:
        listed = list_refunds(refund.charge, deadline, calls)
    except GatewayError:
        return UNKNOWN
    ours = _named(refund, listed)
    if ours is not None:
        return Said(ours)
    if refund.refund_id is not None:
        return UNKNOWN  # Stripe has shown it before: its absence proves nothing
    give_back_connections()
    send = _commit_sending(refund, lease, listed)
    give_back_connections()
    return _send(refund, deadline, calls) if send else Said(failed=True)


def list_refunds(charge: Charge, deadline: Deadline, calls: list[Call]) -> list[SeenRefund]:
    """Every refund of the charge that Stripe has. The list is read-after-write, and is read to its end, for only so
    does absence mean anything.

    Raises:
        GatewayError: it could not be read to its end.
    """
    return gateway().list_refunds(deadline, calls, charge_id=charge.pk)


def _named(refund: Refund, listed: list[SeenRefund]) -> SeenRefund | None:
    """This refund, by Stripe's id or by ours in its metadata."""
    return next((one for one in listed if one.id == refund.refund_id or one.metadata.get("refund") == refund.pk), None)


@again_on_conflict
def _commit_sending(refund: Refund, lease: Lease, listed: list[SeenRefund]) -> bool:
    """Write down that it is sent now, under which key; whether it may be.

    Not once the key is so old that Stripe may have forgotten it (by the database's clock, as it was first sent by the
    database's clock). Not if what Stripe has besides leaves too little: of late money, which goes back by itself, the
    rest is sent.

    Raises:
        StaleLease: somebody took the refund over.
    """
    with locked_payment(refund.payment_id, refund.payment.order_id) as (order, payment):
        row = Refund.objects.select_for_update(no_key=True, of=("self",)).select_related("charge").get(pk=refund.pk)
        if row.lease_token != lease.token:
            raise StaleLease(f"refund {refund.pk}")
        for seen in listed:
            _take_in(order, payment, row.charge, seen, Asker.COMPLETER)
        others = row.charge.refunds.exclude(pk=row.pk).perhaps_given().total_minor()
        left = row.charge.captured_minor - others
        if row.sent_at is None and row.by_itself and 0 < left < row.amount_minor:
            row.amount_minor, row.params = left, {**row.params, "amount": left}
        if row.sent_at is None and row.amount_minor > left:
            return False
        if row.sent_at is None:
            row.sent_at = order.read_at
        elif order.read_at - row.sent_at > settings.GATEWAY_KEY_SAFE_AGE:
            return False
        row.save(update_fields=["amount_minor", "params", "sent_at"])
        Refund.objects.filter(pk=row.pk).update(locked_until=DatabaseClock() + settings.LEASE)
    refund.amount_minor, refund.params, refund.sent_at = row.amount_minor, row.params, row.sent_at
    return True


def _send(refund: Refund, deadline: Deadline, calls: list[Call]) -> Said:
    """The call, and every answer it can get. Every refusal of it is read beside Stripe's list: this key follows from
    the refund, so "no" may mean that we have been here before."""
    try:
        seen, replayed = gateway().create_refund(refund.params, refund.gateway_key, deadline, calls)
        count_replay(refund.payment.order_id, calls)
        # A replay tells how it was when it was made: it may have failed at the bank since.
        return Said(gateway().retrieve_refund(seen.id, deadline, calls) if replayed else seen)
    except (Invalid, KeyReused) as error:
        log.warning("refund_refused", refund=refund.pk, error=repr(error))
        return _after_a_refusal(refund, deadline, calls, stored_error=isinstance(error, KeyReused))
    except Undecided as error:
        return _after_a_refusal(refund, deadline, calls, stored_error=True) if error.stored_5xx else UNKNOWN
    except GatewayError:
        return UNKNOWN


def _after_a_refusal(refund: Refund, deadline: Deadline, calls: list[Call], *, stored_error: bool) -> Said:
    """For example charge_already_refunded: never "failed" unread (RULES R95)."""
    try:
        ours = _named(refund, list_refunds(refund.charge, deadline, calls))
    except GatewayError:
        return UNKNOWN
    if ours is not None:
        return Said(ours)
    return Said(stored_error=True) if stored_error else Said(failed=True)


# --- settle -----------------------------------------------------------------------------------------------------------

# A refund only moves up: what was fetched earlier and written later can never take it back. Stripe: a refund may still
# fail after it has succeeded, for example when the card's account is closed.
_RANK = {"": 0, "unknown": 1, "pending": 2, "succeeded": 3, "failed": 4, "canceled": 4}


@again_on_conflict
def settle_refund(
    refund: Refund,
    lease: Lease,
    said: Said,
    calls: tuple[Call, ...],
    asked_by: Asker,
    *,
    actor: str = "",
    act: Act | None = None,
) -> Refund:
    """Write what Stripe has of the refund: the row, the payment's sum, the order at the full sum, in one transaction.

    Raises:
        StaleLease: somebody took the refund over; nothing was written.
    """
    with locked_payment(refund.payment_id, refund.payment.order_id) as (order, payment), witnessed(act):
        row = Refund.objects.select_for_update(no_key=True, of=("self",)).select_related("charge").get(pk=refund.pk)
        if row.lease_token != lease.token:
            raise StaleLease(f"refund {refund.pk}")
        row.payment = payment
        if said.stored_error:
            row.stored_errors += 1
            row.gateway_key, row.sent_at = refund_key(payment.env, row.pk, row.stored_errors), None
        outcome = _outcome_of(said.seen) if said.seen else ("failed" if said.failed else "unknown")
        reached = any(call.http_status is not None for call in calls)
        _move(order, row, outcome, said.seen, calls, asked_by, actor, reached=reached)
        _follow(order, payment)
        _follow_other(order, payment, row.charge)
    return row


def follow_refunds(payment: Payment, asked_by: Asker, actor: str = "", act: Act | None = None) -> bool:
    """Bring our refunds in line with Stripe's lists of this payment's and of its order's other charges: later outcomes,
    and what was refunded in the dashboard, which gets a row of its own. Whether Stripe answered."""
    if payment.intent_id is None:
        return True
    of_other_intents = Charge.objects.filter(order=payment.order_id).exclude(intent_id=payment.intent_id)
    others = list(of_other_intents.values_list("pk", flat=True))  # the credited one may be among them
    calls: list[Call] = []
    deadline = Deadline(settings.LIST_TIMEOUT.total_seconds())
    give_back_connections()
    try:
        listed = gateway().list_refunds(deadline, calls, intent_id=payment.intent_id)
        for charge_id in others if payment.phase == Payment.Phase.SUCCEEDED else []:
            listed += gateway().list_refunds(deadline, calls, charge_id=charge_id)
        charges = _unknown_charges(listed, deadline, calls)
    except GatewayError as error:
        log.info("refunds_not_seen", payment=payment.pk, error=str(error))
        return False
    finally:
        tell_calls(payment, calls, asked_by, actor)
    _write_list(payment, listed, charges, asked_by, actor, act)
    return True


def _unknown_charges(listed: list[SeenRefund], deadline: Deadline, calls: list[Call]) -> list[SeenCharge]:
    """The charges of these refunds that have no row yet, as Stripe has them."""
    named = {seen.charge_id for seen in listed if seen.charge_id}
    unknown = named - set(Charge.objects.filter(pk__in=named).values_list("pk", flat=True))
    give_back_connections()
    return [gateway().retrieve_charge(one, deadline, calls) for one in sorted(unknown)]


def follow_other_amount(payment: Payment, finding: Finding, asked_by: Asker) -> None:
    """Stripe took another amount than ours: write what has gone back of it first, for settling goes by our rows."""
    taken = finding.intent is not None and finding.intent.status == "succeeded"
    if taken and judge(None, payment, finding) == Known.UNKNOWN:
        follow_refunds(payment, asked_by)


@again_on_conflict
def _write_list(
    payment: Payment,
    listed: list[SeenRefund],
    charges: list[SeenCharge],
    asked_by: Asker,
    actor: str = "",
    act: Act | None = None,
) -> None:
    with locked_payment(payment.pk, payment.order_id) as (order, locked), witnessed(act):
        for one in charges:
            charge_as_seen(order, one)
        known = {one.pk: one for one in Charge.objects.filter(pk__in={seen.charge_id for seen in listed})}
        for seen in listed:
            if seen.charge_id in known:
                _take_in(order, locked, known[seen.charge_id], seen, asked_by, actor)
        _follow(order, locked)
        for charge in known.values():
            _follow_other(order, locked, charge)


def _take_in(
    order: Order, payment: Payment, charge: Charge, seen: SeenRefund, asked_by: Asker, actor: str = ""
) -> None:
    """What Stripe has of one refund, into the row that is its own; a new one if no row of ours asked for it."""
    rows = Refund.objects.select_for_update(no_key=True, of=("self",)).select_related("charge")
    name = seen.metadata.get("refund", "")
    row = rows.filter(refund_id=seen.id).first() or (rows.filter(pk=name, charge=charge).first() if name else None)
    row = row or _adopt(payment, charge, seen)
    if row.payment_id == payment.pk:
        row.payment = payment
    _move(order, row, _outcome_of(seen), seen, (), asked_by, actor)


def _adopt(payment: Payment, charge: Charge, seen: SeenRefund) -> Refund:
    """A refund that no row of ours asked for: made in the dashboard, or asked for by a row that was lost with its
    database. That one gets the id which its metadata names, so that its own key finds it again."""
    name = seen.metadata.get("refund", "")
    is_free = 0 < len(name) <= 32 and not Refund.objects.filter(pk=name).exists()  # another charge's may have it
    return Refund.objects.create(
        id=name if is_free else refund_id(payment.pk, f"gateway:{seen.id}"),
        payment=payment,
        charge=charge,
        idempotency_key=f"gateway:{seen.id}",
        fingerprint="",
        amount_minor=seen.amount_minor,
        currency=seen.currency,
        reason=Refund.Reason.REQUESTED_BY_CUSTOMER,
        phase=Refund.Phase.CONFIRMING,
        refund_id=seen.id,
    )


def _outcome_of(seen: SeenRefund) -> str:
    return "pending" if seen.status == "requires_action" else seen.status


def _move(
    order: Order,
    row: Refund,
    outcome: str,
    seen: SeenRefund | None,
    calls: tuple[Call, ...],
    asked_by: Asker,
    actor: str = "",
    *,
    reached: bool = True,
) -> None:
    """Up, never down; and whoever holds the row's lease finds its token outdated.

    Args:
        reached: whether Stripe answered; a look that could not reach it does not climb the ladder.
    """
    before = row.outcome or row.phase
    # "Failed" that was concluded from Stripe's list gives way to the refund itself.
    concluded = row.outcome == Outcome.FAILED and row.refund_id is None and seen is not None
    if concluded or _RANK[outcome] > _RANK[row.outcome]:
        row.outcome = outcome
    row.refund_id = row.refund_id or (seen.id if seen else None)
    if seen is not None and row.finished_at is None:
        row.amount_minor = seen.amount_minor  # Stripe's book is right, should a lost row be asked for anew otherwise
    final = row.outcome in (Outcome.SUCCEEDED, *NOT_GIVEN)
    row.phase = Refund.Phase.FINISHED if final else Refund.Phase.CONFIRMING
    if final and row.finished_at is None:
        row.finished_at = order.read_at
    row.looks += reached
    row.next_look_at = None if final else order.read_at + rung(row.looks)
    row.lease_token += 1
    row.locked_until = None
    row.save(
        update_fields=[
            "amount_minor",
            "outcome",
            "refund_id",
            "gateway_key",
            "stored_errors",
            "sent_at",
            "phase",
            "finished_at",
            "looks",
            "next_look_at",
            "lease_token",
            "locked_until",
        ]
    )
    if row.outcome == Outcome.SUCCEEDED and before != row.outcome:
        ends.owe_mail(order, Mail.Kind.REFUND, order.read_at, subject=row.pk)
    if row.outcome in NOT_GIVEN and before != row.outcome:
        log.error("refund_failed", refund=row.pk, payment=row.payment_id)
        if row.is_of_credited_charge:
            _raise_failed(order, row, before)
    _tell(order, row, calls, before, row.outcome, asked_by, actor)


def _raise_failed(order: Order, row: Refund, before: str) -> None:
    evidence: dict[str, object] = {
        "found_by": REFUND_FAILED,
        "refund": row.pk,
        "outcome": row.outcome,
        "before": before,
    }
    raise_break(Break.Kind.STATUS, row.refund_id or row.pk, order, row.payment, row.amount_minor, evidence)


# --- what it comes to -------------------------------------------------------------------------------------------------


def _follow(order: Order, payment: Payment) -> None:
    """The payment's refunded sum is derived from the refunds of its credited charge, never counted up; the order
    follows at the full sum, unless another charge of it stands: then that one pays the order from now on."""
    if payment.phase != Payment.Phase.SUCCEEDED or not payment.captured_minor:
        return  # nothing of it pays the order, so nothing that goes back of it moves the order
    credited = Refund.objects.filter(charge=payment.charge_id)
    done = credited.filter(outcome=Outcome.SUCCEEDED).total_minor()
    if done > payment.captured_minor:
        evidence: dict[str, object] = {"refunded": done, "captured": payment.captured_minor}
        raise_break(Break.Kind.AMOUNT, payment.intent_id or payment.pk, order, payment, done, evidence)
        done = payment.captured_minor
    whole = done == payment.captured_minor
    still_sold = order.status in (Order.Status.PAID, Order.Status.FULFILLED)
    if whole and still_sold and (other := standing_charge(order, payment)) is not None:
        _credit(order, payment, other)
        return
    if done != payment.refunded_minor:
        payment.refunded_minor = done
        payment.save(update_fields=["refunded_minor"])
    if whole:
        ends.refund_whole(order, order.read_at)
        resolve_repaid(payment)
    elif ends.refund_undone(order) and goods.are_missing(order):
        _show_missing_goods(order, payment)


def _show_missing_goods(order: Order, payment: Payment) -> None:
    """The money is ours again, and the goods that went back on sale with it were sold meanwhile."""
    log.error("goods_missing", order=order.pk, payment=payment.pk)
    short = goods.short_in_words(order)
    proposal = (
        f"The money of order {order.number} is ours again, and its goods were sold meanwhile ({short})."
        " Refund the shopper again; or restock the goods, and fulfil the order: it takes them then."
    )
    evidence: dict[str, object] = {"found_by": GOODS, "short": short, "proposal": proposal}
    raise_break(Break.Kind.STATUS, f"goods:{order.pk}", order, payment, payment.captured_minor, evidence)


def _credit(order: Order, payment: Payment, other: Charge) -> None:
    """The charge that paid the order has gone back whole, and a second one stands: the shopper has paid once, by that
    one. It is credited to the order, which stays as it is; nothing is left to give back."""
    was = payment.charge_id
    payment.charge_id, payment.refunded_minor = other.pk, other.given_minor
    payment.card_brand, payment.card_last4 = other.card_brand, other.card_last4
    payment.save(update_fields=["charge_id", "refunded_minor", "card_brand", "card_last4"])
    resolve_breaks([other.pk], [Break.Kind.DOUBLE_CHARGE], by="refund", note=f"it pays the order, for {was} went back")
    resolve_repaid(payment)
    PaymentEvent.objects.create(
        order=order,
        payment=payment,
        kind=PaymentEvent.CREDITED,
        asked_by=Asker.SWEEP,
        note=f"{other.pk} pays the order, for {was} has gone back",
    )
    log.warning("credit_moved", order=order.pk, charge=other.pk, was=was)


def _follow_other(order: Order, payment: Payment, charge: Charge) -> None:
    """Refunds of a charge that pays no order only open and close its break: open while any of it has to go back."""
    if charge.pk == payment.charge_id:
        return
    if charge.given_minor >= charge.captured_minor:
        resolve_given_back(charge)
    elif charge.left_minor and charge.refunds.filter(outcome__in=NOT_GIVEN).exists():
        raise_to_give_back(order, payment, charge)


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


def complete_refund(pk: str, asked_by: Asker, actor: str = "", act: Act | None = None) -> Refund | None:
    """Bring an open refund as far as Stripe allows; None if somebody holds it."""
    lease = take_lease(Refund(pk=pk), asked_by=asked_by, actor=actor)
    if lease is None:
        return None
    refund = Refund.objects.select_related("payment", "charge").get(pk=pk)
    return carry_out_refund(refund, lease, asked_by, actor, act)


def due_refunds(limit: int = 100) -> list[str]:
    """Ids of refunds that have not ended, that nobody holds and whose next look is due, oldest first."""
    now = DatabaseClock()
    due = Refund.objects.exclude(phase=Refund.Phase.FINISHED).filter(
        Q(locked_until__isnull=True) | Q(locked_until__lt=now),
        Q(next_look_at__isnull=True) | Q(next_look_at__lte=now),
    )
    return list(due.order_by("created_at").values_list("pk", flat=True)[:limit])
