"""What the dashboard shows: every panel is a few indexed reads of the rows, and lists no more than LISTED of them."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Min, Q, QuerySet

from orders.models import MAIL_DOUBT_LASTS, Mail, Order
from payments.gateways.circuit_breaker import is_open
from payments.models import NOT_GIVEN, Attempt, Break, Dispute, Heartbeat, Refund, RefundProposal, WebhookEvent
from payments.monitoring.alarms import (
    DISPUTE_DUE_WITHIN,
    MAIL_LATE_AT_MOST,
    REFUND_UNDECIDED_AT_MOST,
    Alarm,
    Vitals,
    age_text,
    break_page,
    by_urgency,
    read_vitals,
    stopped_alarm,
)
from payments.monitoring.heartbeats import LATE_AFTER
from payments.retention import past_retention

LISTED = 20
COUNTED = 1000  # a count says "1,000 or more" above it: nothing on the page grows with an outage
CLOSING_AT_MOST = datetime.timedelta(minutes=2)
NOT_GIVEN_FOR = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Listed:
    """The first rows of a list, and how many there are in all, up to COUNTED."""

    rows: Sequence[Any]
    count: int

    @property
    def count_text(self) -> str:
        return f"{COUNTED:,} or more" if self.count >= COUNTED else f"{self.count:,}"

    @property
    def left_out(self) -> bool:
        return self.count > len(self.rows)

    def __bool__(self) -> bool:
        return self.count > 0


def listed(queryset: QuerySet[Any]) -> Listed:
    """One query where all fits, else two."""
    rows = list(queryset[: LISTED + 1])
    if len(rows) <= LISTED:
        return Listed(rows, len(rows))
    return Listed(rows[:LISTED], queryset.order_by()[:COUNTED].count())


@dataclass(frozen=True)
class Pulse:
    """One piece of repair: when it last completed, and whether that is too long ago."""

    name: str
    title: str
    at: datetime.datetime | None  # None: never yet
    is_late: bool
    began_at: datetime.datetime | None
    page: str


@dataclass(frozen=True)
class Board:
    """All of it, as of one moment."""

    now: datetime.datetime
    vitals: Vitals
    undecided: Listed
    closing: Listed
    kept_too_long: Listed
    breaks: Listed
    pulses: list[Pulse]
    events: Listed
    refunds: Listed
    oldest_doubtful_refund: datetime.datetime | None  # without those that the bank has said are on their way
    refunds_not_given: Listed
    proposals: Listed
    disputes: Listed
    to_answer: int  # disputes
    first_answer_due: datetime.datetime | None
    answers_without_a_day: int
    mails_stuck: Listed
    mails_in_doubt: Listed
    mails_late: Listed
    breaker_is_open: bool

    @property
    def alarms(self) -> list[Alarm]:
        return by_urgency(iter([*self.vitals.alarms(), *self._more_alarms()]))

    def _more_alarms(self) -> Iterator[Alarm]:
        """Those that /healthz/payments does not turn red for."""
        if self.breaker_is_open:
            yield Alarm("breaker-open", "presses are told at once that nothing can be charged")
        if self.oldest_doubtful_refund and self.now - self.oldest_doubtful_refund > REFUND_UNDECIDED_AT_MOST:
            yield Alarm("refund-undecided", f"the oldest for {age_text(self.now - self.oldest_doubtful_refund)}")
        if self.answers_without_a_day or (
            self.first_answer_due and self.first_answer_due < self.now + DISPUTE_DUE_WITHIN
        ):
            by = (
                f"by {self.first_answer_due:%Y-%m-%d %H:%M} UTC"
                if self.first_answer_due
                else "by a day that Stripe says"
            )
            yield Alarm("dispute", f"{self.to_answer} to answer, the first {by}")
        if self.mails_stuck:
            yield Alarm("mail-stuck", f"{self.mails_stuck.count_text} to decide")
        if self.mails_late:
            yield Alarm("mail-late", f"the oldest for {age_text(self.now - self.mails_late.rows[0].due_at)}")
        if self.kept_too_long:
            yield Alarm("kept-too-long", f"{self.kept_too_long.count_text} older than {settings.KEY_RETENTION.days} d")

    def pulse(self, name: str) -> Pulse:
        return next(one for one in self.pulses if one.name == name)

    @property
    def completer(self) -> Pulse:
        return self.pulse(Heartbeat.Name.COMPLETER)

    @property
    def reader(self) -> Pulse:
        return self.pulse(Heartbeat.Name.EVENTS)

    @property
    def sweep(self) -> Pulse:
        return self.pulse(Heartbeat.Name.SWEEP)

    @property
    def long_sweep(self) -> Pulse:
        return self.pulse(Heartbeat.Name.LONG_SWEEP)


def read_board() -> Board:
    vitals = read_vitals()
    now = vitals.now
    # Younger ones are presses under way.
    undecided = Attempt.objects.exclude(phase=Attempt.Phase.FINISHED).filter(claimed_at__lt=now - settings.LEASE)
    undecided = undecided.select_related("order").order_by("claimed_at")
    open_refunds = Refund.objects.exclude(phase=Refund.Phase.FINISHED)
    doubtful = open_refunds.exclude(outcome=Refund.Outcome.PENDING)
    not_given = Refund.objects.filter(outcome__in=NOT_GIVEN, finished_at__gte=now - NOT_GIVEN_FOR)
    mails = Mail.objects.select_related("order")
    waiting = WebhookEvent.objects.filter(state=WebhookEvent.State.STORED)
    answers = Dispute.objects.to_answer().aggregate(
        count=Count("pk"), first=Min("due_at"), without=Count("pk", filter=Q(due_at=None))
    )
    return Board(
        now=now,
        vitals=vitals,
        undecided=listed(undecided),
        closing=listed(Order.objects.filter(closing_since__lt=now - CLOSING_AT_MOST).order_by("closing_since")),
        kept_too_long=listed(past_retention().select_related("order").order_by("claimed_at")),
        breaks=_breaks(),
        pulses=list(_pulses(vitals)),
        events=listed(waiting.order_by("received_at")),
        refunds=listed(_with_order(open_refunds).order_by("created_at")),
        oldest_doubtful_refund=doubtful.aggregate(oldest=Min("created_at"))["oldest"],
        refunds_not_given=listed(_with_order(not_given).order_by("-finished_at")),
        proposals=listed(
            _with_order(RefundProposal.objects.filter(decision="").select_related("proposed_by")).order_by(
                "proposed_at"
            )
        ),
        to_answer=answers["count"],
        first_answer_due=answers["first"],
        answers_without_a_day=answers["without"],
        disputes=listed(_with_order(Dispute.objects.undecided()).order_by("opened_at")),
        mails_stuck=listed(mails.filter(state=Mail.State.STUCK).order_by("due_at")),
        mails_in_doubt=listed(Mail.objects.in_doubt().select_related("order").order_by("sending_at")),
        mails_late=listed(mails.filter(_is_late(now)).order_by("due_at")),
        breaker_is_open=is_open(),
    )


def _is_late(now: datetime.datetime) -> Q:
    """Due, or to be sent once more because it was in doubt, and nobody does it."""
    late = now - MAIL_LATE_AT_MOST
    due = Q(state=Mail.State.DUE, due_at__lt=late)
    return due | Q(state=Mail.State.SENDING, sending_at__lt=late - MAIL_DOUBT_LASTS)


def _with_order(queryset: Any) -> Any:
    return queryset.annotate(order_number=F("payment__order__number"))


def _breaks() -> Listed:
    found = listed(Break.objects.filter(resolved_at=None).select_related("order", "owner").order_by("found_at"))
    for one in found.rows:
        one.page = break_page(one.kind, one.found_by)
    return found


_TITLES = {
    Heartbeat.Name.COMPLETER: "Completer: finishes what is undecided",
    Heartbeat.Name.EVENTS: "Reader of Stripe's events",
    Heartbeat.Name.SWEEP: "Sweep of the last two hours",
    Heartbeat.Name.LONG_SWEEP: "Full check of the last thirty days",
}


def _pulses(vitals: Vitals) -> Iterator[Pulse]:
    for name in LATE_AFTER:
        one = vitals.beats.get(name)
        yield Pulse(
            name=name,
            title=_TITLES[name],
            at=one.at if one and one.has_beaten else None,
            is_late=name in vitals.stopped or one is None,
            began_at=one.began_at if one else None,
            page=stopped_alarm(name),
        )
