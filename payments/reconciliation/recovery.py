"""Complete: finish what a dead process or a lost answer left. Also "ask Stripe now", for whoever asks.

Take the lease first, then look, then settle: what was fetched before the lease is worth nothing. Celery's beat runs
it every 30 s and so does `manage.py reconcile_payments`; both at once are harmless, a lease has one holder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import F, Q, QuerySet

from orders.models import Order
from payments.cancellation import end_payment, finish_closing, left_closing, wishes_due
from payments.errors import KeyInUse, StaleLease
from payments.gateways.base import Call, Intent
from payments.gateways.transport import Deadline
from payments.intents import Finding, cancel_intent, look_at_intent
from payments.leases import Lease, end_lease, take_lease
from payments.models import Asker, Attempt, Outcome, Payment, Refund
from payments.outcome import settle
from payments.pay import commit_payment_closing, find_out
from payments.refund import complete_refund, due_refunds, follow_other_amount
from payments.row_lock import give_back_connections
from shop.acts import Act
from shop.database_clock import DatabaseClock

log = structlog.get_logger(__name__)


def complete_attempt(attempt_id: str, asked_by: Asker, actor: str = "", act: Act | None = None) -> Attempt | None:
    """Take the attempt over if its lease has ended, and bring it as far as Stripe allows; None if it is not ours."""
    lease = take_lease(Attempt(pk=attempt_id), asked_by=asked_by, actor=actor)
    if lease is None:
        return None
    # Read after the lease: a wish to close the order that came before it must be heard, for nobody confirms any more.
    attempt = Attempt.objects.with_age().select_related("payment", "order").get(pk=attempt_id)
    if attempt.phase == Attempt.Phase.STARTED:
        # Nothing was sent, and nobody but the shopper's own key may go on from here.
        return _settle(attempt, lease, Finding(outcome=Outcome.RELEASED), asked_by, actor, act)
    give_back_connections()
    calls: list[Call] = []
    deadline = Deadline(settings.PRESS_BUDGET.total_seconds())
    try:
        finding = find_out(attempt, deadline, calls)
    except KeyInUse:
        finding = Finding(outcome=Outcome.UNKNOWN, calls=tuple(calls))
    return _settle(attempt, lease, finding, asked_by, actor, act)


def cancel_at_stripe(order_id: str, asked_by: Asker, actor: str = "", act: Act | None = None) -> Attempt | None:
    """End what stays unknown, now: cancel the intent and take Stripe's answer, canceled or what was faster (R88).

    Returns:
        The attempt as it is afterwards; None if the order has none that is undecided, or somebody is at work on it.

    Raises:
        DoneAlready, StaleForm: of the act.
    """
    attempt = Attempt.objects.filter(order=order_id).undecided().first()
    lease = take_lease(attempt, asked_by=asked_by, actor=actor) if attempt is not None else None
    if attempt is None or lease is None:
        return None
    attempt = Attempt.objects.with_age().select_related("payment", "order").get(pk=attempt.pk)
    try:
        if attempt.phase == Attempt.Phase.STARTED:
            return _settle(attempt, lease, Finding(outcome=Outcome.RELEASED), asked_by, actor, act)
        commit_payment_closing(attempt.payment, act)
    except Exception:  # nothing was sent: whoever comes next need not wait for the lease to end
        end_lease(lease)
        raise
    give_back_connections()
    calls: list[Call] = []
    finding = cancel_intent(attempt.payment, Deadline(settings.PRESS_BUDGET.total_seconds()), calls)
    return _settle(attempt, lease, finding, asked_by, actor)


def _settle(
    attempt: Attempt, lease: Lease, finding: Finding, asked_by: Asker, actor: str, act: Act | None = None
) -> Attempt | None:
    follow_other_amount(attempt.payment, finding, asked_by)
    try:
        return settle(attempt.payment, lease, finding, asked_by, actor, act)
    except StaleLease as error:
        log.warning("stale_lease", attempt=attempt.pk, error=str(error))
        return None


def ask_stripe(order: Order, asked_by: Asker, actor: str = "", event_key: str = "") -> tuple[bool, Intent | None]:
    """Look at the order's intent now and settle what it shows; never confirms. Whether it could, and what it saw.

    A press under way keeps its lease, and settles for itself; only what never goes stale (succeeded, canceled) is
    settled beside it.
    """
    # The one that is not over: not always the newest, for one that was lost may have been rebuilt since.
    payment = Payment.objects.filter(order=order, intent_id__isnull=False).exclude(phase__in=Payment.OVER).first()
    if payment is None or payment.phase == Payment.Phase.SUCCEEDED:
        return True, None
    attempt = Attempt.objects.filter(payment=payment).undecided().first()
    if attempt is not None and attempt.phase == Attempt.Phase.STARTED:
        return False, None
    lease = take_lease(attempt or payment, asked_by=asked_by, actor=actor)
    give_back_connections()
    finding = look_at_intent(payment, Deadline(settings.LOOK_TIMEOUT.total_seconds()), [])
    finding = replace(finding, event_key=event_key)
    intent = finding.intent
    never_stale = intent is not None and intent.status in ("succeeded", "canceled")
    if lease is None and not never_stale:
        return False, intent
    follow_other_amount(payment, finding, asked_by)
    try:
        settle(payment, lease, finding, asked_by, actor)
    except StaleLease as error:
        log.warning("stale_lease", payment=payment.pk, error=str(error))
        return False, intent
    return intent is not None, intent


def heal(order: Order, asked_by: Asker) -> Intent | None:
    """What a page that waits asks for: the next step of its order, also while no worker runs. The intent, if seen.

    A press whose process died before it sent anything is released, a wish to close is carried out, and what has stayed
    unknown for too long is ended; all else is looked at.
    """
    if order.is_closing:
        finish_closing(order.pk, asked_by)
        return None
    attempt = Attempt.objects.filter(order=order).undecided().with_age().first()
    if attempt is None:
        return None
    overdue = {Outcome.UNKNOWN: settings.CONFIRM_AGAIN, Outcome.REQUIRES_ACTION: settings.ACTION_LIFE}
    too_old = attempt.outcome in overdue and attempt.age > overdue[Outcome(attempt.outcome)]
    if attempt.phase == Attempt.Phase.STARTED or attempt.stored_5xx or too_old:
        complete_attempt(attempt.pk, asked_by)
        return None
    return ask_stripe(order, asked_by)[1]


def due_attempts(limit: int = 100) -> list[str]:
    """Ids of attempts that nobody holds and whose next look is due: the queue, read from the rows themselves."""
    now = DatabaseClock()
    due = Attempt.objects.exclude(phase=Attempt.Phase.FINISHED).filter(
        Q(locked_until__isnull=True) | Q(locked_until__lt=now),
        Q(next_look_at__isnull=True) | Q(next_look_at__lte=now),
    )
    return list(due.order_by(F("next_look_at").asc(nulls_first=True)).values_list("pk", flat=True)[:limit])


@dataclass(frozen=True)
class Work:
    """Rows with something to finish, by id: undecided attempts, orders with a wish to close, payments left closing,
    refunds that have not ended."""

    attempts: list[str]
    closings: list[str]
    payments: list[str]
    refunds: list[str]

    def __len__(self) -> int:
        return len(self.attempts) + len(self.closings) + len(self.payments) + len(self.refunds)


def due_work(limit: int = 100) -> Work:
    """What is due now, at most so many of each."""
    left = left_closing().exclude(next_look_at__gt=DatabaseClock())
    return Work(
        attempts=due_attempts(limit),
        closings=list(wishes_due().values_list("pk", flat=True)[:limit]),
        payments=list(left.order_by("created_at").values_list("pk", flat=True)[:limit]),
        refunds=due_refunds(limit),
    )


def complete_due(asked_by: Asker = Asker.COMPLETER, limit: int = 100) -> tuple[int, int]:
    """One round of the completer: (looked at, changed). Attempts first: what they come to may make others due."""
    attempts = Work(due_attempts(limit), [], [], [])
    changed = finish(attempts, asked_by, still_due=True)
    rest = replace(due_work(limit), attempts=[])
    return len(attempts) + len(rest), changed + finish(rest, asked_by, still_due=True)


def finish(work: Work, asked_by: Asker, *, still_due: bool = False) -> int:
    """Bring each row as far as Stripe allows now; how many changed. What somebody else holds is left to him.

    Args:
        still_due: leave alone what another completer has looked at since the work was listed (docs/adr/0012).
    """
    changed = 0
    for one in _each(work.attempts, _due(Attempt.objects.all()) if still_due else None):
        with _alone(attempt=one):
            before = Attempt.objects.filter(pk=one).values_list("phase", "outcome").first()
            attempt = complete_attempt(one, asked_by)
            changed += attempt is not None and (attempt.phase, attempt.outcome) != before
    for one in _each(work.closings, wishes_due() if still_due else None):
        with _alone(order=one):
            finish_closing(one, asked_by)
            changed += not Order.objects.filter(pk=one, closing_since__isnull=False).exists()
    for one in _each(work.payments, _due(Payment.objects.all()) if still_due else None):
        with _alone(payment=one):
            changed += end_payment(Payment.objects.get(pk=one), asked_by)
    for one in _each(work.refunds, _due(Refund.objects.all()) if still_due else None):
        with _alone(refund=one):
            refund = complete_refund(one, asked_by)
            changed += refund is not None and refund.phase == Refund.Phase.FINISHED
    return changed


def _due(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.exclude(next_look_at__gt=DatabaseClock())


def _each(ids: list[str], due: QuerySet[Any] | None) -> Iterator[str]:
    """Those that are still due when their turn comes; all of them without `due`."""
    for one in ids:
        if due is None or due.filter(pk=one).exists():
            yield one


@contextmanager
def _alone(**row: str) -> Iterator[None]:
    """A row that cannot be finished now must not keep all those behind it waiting. A database that is gone may."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if type(error).__name__ == "SoftTimeLimitExceeded":  # the worker's time is up: the beat goes on from the rows
            raise
        log.exception("not_completed", **row)
