"""Statement: the lines of an order's money that its shopper may see at the bank, from our rows and from what the sweep
has found. Nothing here asks Stripe: each order says when Stripe was last asked about it."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from orders.models import Order
from payments.backoffice.payment.past import Past, past_of
from payments.backoffice.payment.times import when_text
from payments.breaks import LATE_MONEY, REFUND_FAILED
from payments.models import NOT_GIVEN, Attempt, Break, Charge, Dispute, Outcome, Payment, PaymentEvent, Refund
from shop.money import money_text


class Kind(StrEnum):
    CHARGE = "charge"
    SECOND = "second charge"
    HOLD = "hold"
    OPEN = "not known yet"
    UNEXPLAINED = "not explained yet"
    BACK = "refund"
    DISPUTE = "dispute"


class State(StrEnum):
    """How far money has come that goes, or should go, back."""

    PREPARED = "prepared"
    SENT = "on its way"
    DONE = "gone back"
    STUCK = "did not arrive"
    KEPT = "resolved by a person"


@dataclass(frozen=True)
class Line:
    """One line that may be on the shopper's statement, or may come to be on it."""

    kind: Kind
    at: datetime.datetime
    amount_minor: int
    currency: str
    what: str  # in words, for staff
    last_four: str = ""
    charge_id: str = ""
    state: State | None = None
    order: Order | None = None
    payment: Payment | None = None
    at_is_found: bool = False  # the sweep's finding has that time; the charge itself is older

    @property
    def amount_text(self) -> str:
        return money_text(self.amount_minor, self.currency) if self.currency else "-"


@dataclass
class Money:
    """All that our rows have of one order's money."""

    order: Order
    payments: list[Payment] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)  # newest first, one of a finding
    past: Past = field(default_factory=Past)
    asked_at: datetime.datetime | None = None  # when Stripe was last asked about it

    @property
    def payment(self) -> Payment | None:
        """The one that was paid, else the newest."""
        paid = [one for one in self.payments if one.captured_minor]
        return next(iter(paid or self.payments), None)

    @cached_property  # of rows that are all read by then
    def lines(self) -> list[Line]:
        found = [*_charges(self), *_seconds(self), *_presses(self), *_unexplained(self), *_backs(self)]
        return sorted(found, key=lambda line: line.at)

    @property
    def differences(self) -> list[Break]:
        """Open breaks that say that Stripe's book and our rows differ about money that was taken."""
        return [one for one in self.breaks if one.resolved_at is None and _is_about_a_charge(one)]


def money_of(orders: list[Order]) -> list[Money]:
    """Of each of these orders; the same few queries however many they are."""
    found = {order.pk: Money(order) for order in orders}
    for payment in Payment.objects.filter(order_id__in=found).order_by("-n"):
        found[payment.order_id].payments.append(payment)
    for attempt in Attempt.objects.filter(order_id__in=found).select_related("payment").order_by("number"):
        found[attempt.order_id].attempts.append(attempt)
    for refund in Refund.objects.filter(payment__order_id__in=found).select_related("payment").order_by("created_at"):
        found[refund.payment.order_id].refunds.append(refund)
    for charge in Charge.objects.filter(order_id__in=found):
        found[charge.order_id].charges.append(charge)
    for dispute in Dispute.objects.filter(payment__order_id__in=found).select_related("payment"):
        found[dispute.payment.order_id].disputes.append(dispute)
    seen: set[tuple[str, str]] = set()
    for one in Break.objects.filter(order_id__in=found).order_by("-found_at").select_related("payment"):
        if one.order_id and (one.kind, one.subject) not in seen:
            seen.add((one.kind, one.subject))
            found[one.order_id].breaks.append(one)
    calls = PaymentEvent.objects.filter(order_id__in=found, kind__startswith="call:", http_status__isnull=False)
    for order_id, past in past_of(found).items():
        found[order_id].past = past
    for order_id, at in calls.values_list("order_id").annotate(Max("at")):
        found[order_id].asked_at = at
    return list(found.values())


# --- what was taken ---------------------------------------------------------------------------------------------------


def _charges(money: Money) -> Iterator[Line]:
    for payment in money.payments:
        if payment.captured_minor:
            back = f", of which {money_text(payment.refunded_minor, payment.currency)} has gone back"
            yield Line(
                Kind.CHARGE,
                payment.succeeded_at or payment.created_at,
                payment.captured_minor,
                payment.currency,
                "The charge of this order" + (back if payment.refunded_minor else ""),
                last_four=payment.card_last4,
                charge_id=payment.charge_id or "",
                order=money.order,
                payment=payment,
            )


def _seconds(money: Money) -> Iterator[Line]:
    """A charge that no press of ours explains, of an order that was paid already; and what came of it."""
    breaks = {one.subject: one for one in money.breaks if one.kind == Break.Kind.DOUBLE_CHARGE}
    paid_by = {one.charge_id for one in money.payments if one.captured_minor}
    for charge in money.charges if paid_by else []:
        if charge.pk not in paid_by:
            yield _second(money, charge, breaks.pop(charge.pk, None))
    for found in breaks.values():
        if found.subject not in paid_by:
            state = State.DONE if found.resolved_at and not found.accepted else State.KEPT
            yield _of_break(Kind.SECOND, found, _words_of_second(state, found), state)


def _second(money: Money, charge: Charge, found: Break | None) -> Line:
    """Of a charge that does not pay the order; its break is not there where it paid the order itself before."""
    state = state_of_second(charge, [one for one in money.refunds if one.charge_id == charge.pk], found)
    return Line(
        Kind.SECOND,
        found.found_at if found else charge.noticed_at,
        charge.captured_minor,
        charge.currency,
        _words_of_second(state, found),
        last_four=charge.card_last4,
        charge_id=charge.pk,
        state=state,
        order=money.order,
        payment=money.payment,
        at_is_found=True,
    )


def _words_of_second(state: State, found: Break | None) -> str:
    by, note = (found.resolved_by, found.note) if found else ("", "")
    return _WORDS_OF_SECOND[state].format(by=by, note=note)


_WORDS_OF_SECOND = {
    State.PREPARED: "A second charge of the same order. Its refund is prepared, and waits for staff",
    State.SENT: "A second charge of the same order. Its refund was sent to the bank",
    State.DONE: "A second charge of the same order. It has gone back",
    State.STUCK: "A second charge of the same order. Its refund did not arrive at the card: staff give it back anew",
    State.KEPT: "A second charge of the same order. Resolved by {by}: {note}",
}


def state_of_second(charge: Charge, refunds: list[Refund], found: Break | None) -> State:
    """How far the giving back of a second charge has come."""
    given = sum(one.amount_minor for one in refunds if one.outcome == Refund.Outcome.SUCCEEDED)
    if given >= charge.captured_minor:
        return State.DONE
    if any(one.phase != Refund.Phase.FINISHED for one in refunds):
        return State.SENT
    if any(one.outcome in NOT_GIVEN for one in refunds):
        return State.STUCK
    if found is not None and found.resolved_at is not None:
        return State.KEPT if found.accepted else State.DONE  # the sweep has found nothing of it left
    return State.PREPARED


def _unexplained(money: Money) -> Iterator[Line]:
    """Money of Stripe's book that belongs to this order, and that no paid payment of ours stands for."""
    ours = {name for one in money.payments if one.captured_minor for name in (one.intent_id, one.charge_id)}
    for found in money.breaks:
        if not _is_about_a_charge(found) or found.kind == Break.Kind.MISSING_GATEWAY:
            continue
        if {found.subject, found.evidence.get("intent"), found.evidence.get("charge")} & (ours - {None, ""}):
            continue
        if found.resolved_at is None:
            yield _of_break(Kind.UNEXPLAINED, found, found.proposal or "Staff look into it")
        elif found.accepted:
            words = f"Resolved by {found.resolved_by}: {found.note}"
            yield _of_break(Kind.UNEXPLAINED, found, words, State.KEPT)


def _is_about_a_charge(found: Break) -> bool:
    if found.kind in (Break.Kind.DOUBLE_CHARGE, Break.Kind.ORPHAN_REFUND):
        return False
    if found.found_by in (LATE_MONEY, REFUND_FAILED):
        return False
    return found.subject.startswith(("pi_", "ch_", "py_"))


def stray_line(found: Break) -> Line:
    """Money that belongs to no order of ours."""
    words = found.proposal or "Staff look into it"
    if found.resolved_at is None:
        return _of_break(Kind.UNEXPLAINED, found, words)
    return _of_break(Kind.UNEXPLAINED, found, f"Resolved by {found.resolved_by}: {found.note}", State.KEPT)


def _of_break(kind: Kind, found: Break, what: str, state: State | None = None) -> Line:
    charge = found.subject if found.subject.startswith(("ch_", "py_")) else str(found.evidence.get("charge") or "")
    return Line(
        kind,
        found.found_at,
        found.amount_minor or 0,
        found.currency,
        what,
        last_four=str(found.evidence.get("last4", "")),
        charge_id=charge,
        state=state,
        order=found.order,
        payment=found.payment,
        at_is_found=True,
    )


# --- presses that took nothing, or of which nothing is known yet ------------------------------------------------------


def _presses(money: Money) -> Iterator[Line]:
    for attempt in money.attempts:
        if attempt.outcome in (Outcome.DECLINED, Outcome.CANCELED):
            yield _of_press(Kind.HOLD, attempt, _WORDS_OF_HOLD[attempt.outcome])
        elif attempt.is_live and attempt.outcome != Outcome.SUCCEEDED:
            yield _of_press(Kind.OPEN, attempt, what_comes_next(attempt))


_WORDS_OF_HOLD: dict[str, str] = {
    Outcome.DECLINED: "The bank said no, and took nothing. Some banks show the amount as pending for some days",
    Outcome.CANCELED: "Given up at Stripe, which took nothing. Some banks show the amount as pending for some days",
}


def _of_press(kind: Kind, attempt: Attempt, what: str) -> Line:
    return Line(
        kind,
        attempt.pressed_at,
        attempt.payment.amount_minor,
        attempt.payment.currency,
        f"Press {attempt.number}. {what}",
        charge_id=attempt.charge_id or "",
        order=attempt.order,
        payment=attempt.payment,
    )


def what_comes_next(attempt: Attempt) -> str:
    """What will happen to an attempt whose outcome is not known, and when."""
    match attempt.outcome:
        case Outcome.PROCESSING:
            words = "The bank still works on it, and has the last word"
        case Outcome.REQUIRES_ACTION:
            words = f"The bank asks the shopper. {_end(attempt, settings.ACTION_LIFE, 'Without an answer')}"
        case Outcome.UNKNOWN:
            words = f"Stripe's answer was lost. {_end(attempt, settings.CONFIRM_AGAIN, 'If it is still not known')}"
        case _:
            words = "Somebody works on it right now"
    return f"{words}. {next_look_text(attempt)}".strip()


def _end(attempt: Attempt, wait: datetime.timedelta, unless: str) -> str:
    """The definite act, and when. It is the completer's: if its time is over, the completer has not come to it."""
    at = attempt.claimed_at + wait
    if at >= timezone.now():
        return f"{unless} at {when_text(at)}, we cancel it at Stripe, and know for certain"
    return f"It is overdue, for we were to cancel it at Stripe at {when_text(at)}: on-call presses Ask Stripe now"


def next_look_text(attempt: Attempt) -> str:
    due = attempt.next_look_at or attempt.locked_until
    if due is None:
        return ""
    return f"Next look: {when_text(due)}" + ("" if due >= timezone.now() else ", which is due now")


# --- what goes back ---------------------------------------------------------------------------------------------------


def _backs(money: Money) -> Iterator[Line]:
    for refund in money.refunds:
        if refund.outcome == Refund.Outcome.FAILED and not refund.refund_id:
            continue  # Stripe never had it: no statement shows it
        state = _STATE_OF_REFUND.get(refund.outcome, State.SENT)
        name = f"Refund {refund.refund_id}" if refund.refund_id else "Refund"
        name += "" if refund.is_of_credited_charge or not refund.payment.captured_minor else " of the second charge"
        yield _back(Kind.BACK, refund, refund.finished_at or refund.created_at, f"{name}: {state}", state, money)
    for dispute in money.disputes:
        words = f"{_words_of_dispute(dispute)}. {dispute.reason_text.capitalize()} ({dispute.dispute_id})"
        if dispute.act_text:
            words = f"{dispute.act_text}. {words}"
        # Stripe names whole seconds only: without this it may stand before the charge that it is about.
        at = max(dispute.opened_at, dispute.payment.succeeded_at or dispute.opened_at)
        yield _back(Kind.DISPUTE, dispute, at, words, None, money)


_STATE_OF_REFUND: dict[str, State] = {
    Refund.Outcome.SUCCEEDED: State.DONE,
    Refund.Outcome.FAILED: State.STUCK,
    Refund.Outcome.CANCELED: State.STUCK,
}


def _words_of_dispute(dispute: Dispute) -> str:
    if dispute.status == "won":
        return "The bank has given the money to us again"
    if dispute.status in ("lost", "prevented"):
        return "The bank has given the money to the shopper"
    if dispute.status.startswith("warning"):
        return "The bank only asks, and has taken nothing back"
    return "The bank has taken the money back until it decides"


def _back(kind: Kind, row: Any, at: datetime.datetime, what: str, state: State | None, money: Money) -> Line:
    return Line(
        kind,
        at,
        row.amount_minor,
        row.currency,
        what,
        last_four=row.payment.card_last4,
        charge_id=(row.charge_id if isinstance(row, Refund) else row.payment.charge_id) or "",
        state=state,
        order=money.order,
        payment=row.payment,
    )
