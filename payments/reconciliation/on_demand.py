"""Reconcile: everything that is not known yet of one order, or of a stretch of time, is asked of Stripe now.

The same steps as the completer's, whatever the ladders say. Staff reconcile one order, and then what Stripe's book says
of its refunds and disputes is followed as well; `manage.py reconcile_payments` finishes the rows that it was told.
"""

import datetime
from dataclasses import dataclass

import structlog
from django.db.models import Q, QuerySet

from orders.models import Order
from payments.cancellation import end_payment, finish_closing, left_closing
from payments.disputes import follow_disputes
from payments.errors import GatewayError, RowBusy
from payments.models import Asker, Attempt, Payment, Refund, WebhookEvent
from payments.reconciliation.inbox import work_now
from payments.reconciliation.recovery import Work, complete_attempt, finish
from payments.refund import complete_refund, follow_refunds
from payments.snapshot import money_snapshot
from shop.acts import Act, Snapshot

log = structlog.get_logger(__name__)


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
        act: of staff, repeatable; its row is written with the first thing that moves, or else by itself.
    """
    before = money_snapshot(order_id)
    answered = True
    try:
        wished = Order.objects.filter(pk=order_id, closing_since__isnull=False)
        if wished.exists():
            finish_closing(order_id, asked_by, actor, act)
            answered = not wished.exists()
        for attempt_id in Attempt.objects.filter(order=order_id).undecided().values_list("pk", flat=True):
            answered &= complete_attempt(attempt_id, asked_by, actor, act) is not None
        for payment in left_closing().filter(order=order_id):
            answered &= end_payment(payment, asked_by, actor, act)
        open_refunds = Refund.objects.filter(payment__order=order_id).exclude(phase=Refund.Phase.FINISHED)
        for refund_id in list(open_refunds.values_list("pk", flat=True)):
            answered &= complete_refund(refund_id, asked_by, actor, act) is not None
        for payment in Payment.objects.filter(order=order_id, phase=Payment.Phase.SUCCEEDED).select_related("order"):
            answered &= follow_refunds(payment, asked_by, actor, act) and follow_disputes(payment, asked_by, actor, act)
    except (GatewayError, RowBusy) as error:
        log.info("not_reconciled", order=order_id, error=repr(error))
        answered = False
    if act is not None:
        act.record()
    return Reconciled(before, money_snapshot(order_id), answered)


@dataclass(frozen=True)
class Chosen:
    """Of one order, of a stretch of time (each row by the moment at which it began), or of both."""

    order_id: str = ""
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None

    def began(self, moment: str) -> Q:
        rows = Q()
        if self.since is not None:
            rows &= Q(**{f"{moment}__gte": self.since})
        if self.until is not None:
            rows &= Q(**{f"{moment}__lt": self.until})
        return rows

    def of_order(self, path: str) -> Q:
        return Q(**{path: self.order_id}) if self.order_id else Q()


@dataclass(frozen=True)
class OpenRows:
    """What has not ended of the chosen rows, due or not."""

    attempts: QuerySet[Attempt]
    closings: QuerySet[Order]
    payments: QuerySet[Payment]
    refunds: QuerySet[Refund]


def open_rows(chosen: Chosen) -> OpenRows:
    return OpenRows(
        attempts=Attempt.objects.exclude(phase=Attempt.Phase.FINISHED).filter(
            chosen.of_order("order"), chosen.began("claimed_at")
        ),
        closings=Order.objects.filter(
            chosen.of_order("pk"), chosen.began("closing_since"), closing_since__isnull=False
        ),
        payments=left_closing().filter(chosen.of_order("order"), chosen.began("created_at")),
        refunds=Refund.objects.exclude(phase=Refund.Phase.FINISHED).filter(
            chosen.of_order("payment__order"), chosen.began("created_at")
        ),
    )


def open_work(chosen: Chosen) -> Work:
    """The ids of the open rows, oldest first."""
    rows = open_rows(chosen)
    return Work(
        attempts=list(rows.attempts.order_by("claimed_at").values_list("pk", flat=True)),
        closings=list(rows.closings.order_by("closing_since").values_list("pk", flat=True)),
        payments=list(rows.payments.order_by("created_at").values_list("pk", flat=True)),
        refunds=list(rows.refunds.order_by("created_at").values_list("pk", flat=True)),
    )


def open_orders(chosen: Chosen) -> list[str]:
    """Ids of the orders whose rows those are, each once, in the order of their ids."""
    rows = open_rows(chosen)
    orders = Order.objects.filter(
        Q(pk__in=rows.attempts.values("order"))
        | Q(pk__in=rows.closings.values("pk"))
        | Q(pk__in=rows.payments.values("order"))
        | Q(pk__in=rows.refunds.values("payment__order"))
    )
    return list(orders.order_by("pk").values_list("pk", flat=True))


def open_events(chosen: Chosen) -> list[str]:
    """Events that are stored and not done: of the order's intents, or with its name on them."""
    stored = WebhookEvent.objects.filter(chosen.began("received_at"), state=WebhookEvent.State.STORED)
    if chosen.order_id:
        intents = Payment.objects.filter(order=chosen.order_id, intent_id__isnull=False).values_list("intent_id")
        stored = stored.filter(Q(intent_id__in=intents) | Q(metadata__order=chosen.order_id))
    return list(stored.order_by("received_at").values_list("event_id", flat=True))


def finish_chosen(chosen: Chosen, asked_by: Asker) -> tuple[Work, list[str], int]:
    """Finish what is open of the chosen rows: the rows, the events, and how many changed."""
    events = open_events(chosen)
    changed = work_now(events)
    work = open_work(chosen)
    changed += finish(work, asked_by)
    again = open_work(chosen)  # what those came to, late money's refund for one, may be open now
    rest = Work(
        attempts=[],
        closings=[one for one in again.closings if one not in work.closings],
        payments=[one for one in again.payments if one not in work.payments],
        refunds=[one for one in again.refunds if one not in work.refunds],
    )
    return work, events, changed + finish(rest, asked_by)
