"""Alarms: what is wrong enough that somebody should look. /healthz/payments and the staff desk say the same ones.

An alarm's name is also the name of its page in docs/runbook/, which says what to do.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db.models import Count, Min, Sum
from django.db.models.fields.json import KT
from django.utils import timezone

from payments.accounts import OtherAccounts, read_other_accounts
from payments.breaks import GOODS, LATE_MONEY, REFUND_FAILED
from payments.models import Attempt, Break, WebhookEvent
from payments.monitoring.heartbeats import Beat, ages, beats, late

UNDECIDED_AT_MOST = datetime.timedelta(minutes=15)
WEBHOOK_LAG_AT_MOST = datetime.timedelta(minutes=15)
REFUND_UNDECIDED_AT_MOST = datetime.timedelta(minutes=15)
DISPUTE_DUE_WITHIN = datetime.timedelta(days=3)
MAIL_LATE_AT_MOST = datetime.timedelta(minutes=15)

# Every alarm that there is, the most urgent first, and its headline.
ALARMS = {
    "open-break-double-charge": str(Break.Kind.DOUBLE_CHARGE.label),
    "open-break-missing-local": str(Break.Kind.MISSING_LOCAL.label),
    "open-break-amount": str(Break.Kind.AMOUNT.label),
    "open-break-missing-gateway": str(Break.Kind.MISSING_GATEWAY.label),
    "open-break-status": str(Break.Kind.STATUS.label),
    "open-break-orphan-refund": str(Break.Kind.ORPHAN_REFUND.label),
    "open-break-stock": str(Break.Kind.STOCK.label),
    "other-account": "Open payments belong to another account of Stripe's than our key",
    "refund-failed": "A refund did not reach the shopper",
    "oldest-undecided": "A payment has been undecided for too long",
    "completer-stopped": "Nobody finishes undecided payments",
    "sweep-stopped": "Nobody compares our book with Stripe's",
    "long-sweep-stopped": "The last full check is too old",
    "events-stopped": "Nobody reads Stripe's events",
    "webhook-lag": "Events from Stripe wait for too long",
    "breaker-open": "Stripe does not answer",
    "refund-undecided": "A refund has been undecided for too long",
    "dispute": "A dispute must be answered",
    "mail-stuck": "A mail is stuck",
    "mail-late": "Mails are not being sent",
    "kept-too-long": "A press of Pay is past its time and still not decided",
}


@dataclass(frozen=True)
class Alarm:
    """One that rings now. `detail` says how much, or how long."""

    name: str
    detail: str

    @property
    def title(self) -> str:
        return ALARMS[self.name]


@dataclass(frozen=True)
class BreakCount:
    """Open breaks of one kind and currency, found by one rule."""

    kind: str
    found_by: str
    currency: str
    count: int
    amount_minor: int | None
    oldest: datetime.datetime

    @property
    def title(self) -> str:
        return str(Break.Kind(self.kind).label)

    @property
    def alarm(self) -> str:
        return break_alarm(self.kind, self.found_by)


def break_alarm(kind: str, found_by: str) -> str:
    return "refund-failed" if found_by in (REFUND_FAILED, GOODS) else f"open-break-{kind.replace('_', '-')}"


def break_page(kind: str, found_by: str) -> str:
    """The page of the runbook that says most about it."""
    return "late-payment" if found_by == LATE_MONEY else break_alarm(kind, found_by)


@dataclass
class Vitals:
    """What /healthz/payments judges by."""

    now: datetime.datetime
    oldest_undecided: datetime.datetime | None
    oldest_event: datetime.datetime | None
    breaks: list[BreakCount]
    beats: dict[str, Beat]
    stopped: list[str] = field(default_factory=list)
    other_accounts: OtherAccounts | None = None

    @property
    def undecided_for(self) -> datetime.timedelta:
        return self.now - self.oldest_undecided if self.oldest_undecided else datetime.timedelta(0)

    @property
    def webhook_lag(self) -> datetime.timedelta:
        return self.now - self.oldest_event if self.oldest_event else datetime.timedelta(0)

    @property
    def open_breaks(self) -> int:
        return sum(found.count for found in self.breaks)

    def alarms(self) -> list[Alarm]:
        return by_urgency(self._alarms())

    def _alarms(self) -> Iterator[Alarm]:
        if self.undecided_for > UNDECIDED_AT_MOST:
            yield Alarm("oldest-undecided", f"for {age_text(self.undecided_for)}")
        if self.other_accounts is not None:
            open_now = ", ".join(f"{count} of {account}" for account, count in self.other_accounts.open)
            yield Alarm("other-account", f"open: {open_now}; our key is of {self.other_accounts.account}")
        if self.webhook_lag > WEBHOOK_LAG_AT_MOST:
            yield Alarm("webhook-lag", f"the oldest for {age_text(self.webhook_lag)}")
        for name in dict.fromkeys(found.alarm for found in self.breaks):
            count = sum(found.count for found in self.breaks if found.alarm == name)
            oldest = min(found.oldest for found in self.breaks if found.alarm == name)
            yield Alarm(name, f"{count} open, the oldest for {age_text(self.now - oldest)}")
        for name in self.stopped:
            yield Alarm(stopped_alarm(name), f"last completed {age_text(self.now - self.beats[name].at)} ago")


def stopped_alarm(heartbeat: str) -> str:
    return f"{heartbeat.replace('_', '-')}-stopped"


def by_urgency(alarms: Iterator[Alarm]) -> list[Alarm]:
    order = list(ALARMS)
    return sorted(alarms, key=lambda alarm: order.index(alarm.name))


def read_vitals() -> Vitals:
    """Five indexed queries. A challenge that a shopper left counts only from when it should be given up."""
    undecided = Attempt.objects.filter(outcome__in=["", "unknown", "processing"]).exclude(phase="finished")
    waiting = WebhookEvent.objects.filter(state=WebhookEvent.State.STORED)
    now = timezone.now()
    seen = beats()
    return Vitals(
        now=now,
        oldest_undecided=undecided.aggregate(oldest=Min("claimed_at"))["oldest"],
        oldest_event=waiting.aggregate(oldest=Min("received_at"))["oldest"],
        breaks=list(_count_breaks()),
        beats=seen,
        stopped=late(ages(seen, now)),
        other_accounts=read_other_accounts(),
    )


def _count_breaks() -> Iterator[BreakCount]:
    groups = (
        Break.objects.filter(resolved_at=None)
        .order_by("kind", "currency")
        .values("kind", "currency", found_by=KT("evidence__found_by"))
        .annotate(count=Count("pk"), total=Sum("amount_minor"), oldest=Min("found_at"))
    )
    for row in groups:
        yield BreakCount(row["kind"], row["found_by"] or "", row["currency"], row["count"], row["total"], row["oldest"])


def age_text(age: datetime.timedelta) -> str:
    """`45 s`, `3 min`, `2 h 5 min`, `4 d 3 h`: two units at most."""
    seconds = max(0, int(age.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"
