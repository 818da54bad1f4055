"""Sweep: walk Stripe's book and our rows side by side; a difference is a break that staff see (RULES R87-R92).

Stripe lists newest first, page by page. A slice is a stretch of time that ends where the last one began and holds at
most PAGES_OF_A_SLICE pages of intents: so memory stays flat however much there is, what has been compared needs not be
compared again after a kill, and a round of thirty days can be cut into pieces that a worker does between other work.

No database connection is held at any request, and requests keep to the Pace.
"""

import datetime
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.utils import timezone

from payments.breaks import BY_SWEEP, PLAIN, Difference, open_break
from payments.disputes import due_at, write_dispute
from payments.errors import GatewayError, RowBusy
from payments.gateways.base import SeenDispute, Window, gateway
from payments.gateways.transport import Deadline
from payments.models import Asker, Break, Dispute, Heartbeat, Payment
from payments.monitoring.heartbeats import beat
from payments.reconciliation import compare
from payments.reconciliation.compare import Round, Verdict
from payments.reconciliation.double_charges import give_back
from payments.seek import seek_lost
from shop.problems import Problem

log = structlog.get_logger(__name__)

PAGES_OF_A_SLICE = 10
_REREAD_AT_MOST = 200  # open breaks and disputes that no list of the window shows
_FOUND_AT_MOST = 1000  # differences kept for a dry run's answer


@dataclass
class Swept(Round):
    """A round, and what it found."""

    found: list[Difference] = field(default_factory=list)
    open: dict[tuple[str, str], Break] = field(default_factory=dict)
    reread: set[str] = field(default_factory=set)  # subjects of open breaks that were judged


def sweep(
    since: datetime.datetime,
    until: datetime.datetime | None = None,
    *,
    dry_run: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Swept:
    """Compare what was created since, and look again at every open break.

    Raises:
        GatewayError: Stripe does not answer. What was found and repaired so far stays.
    """
    round_ = begin_round(dry_run=dry_run)
    start, end = int(since.timestamp()), int(until.timestamp()) if until else None
    while end is None or end > start:
        end = sweep_slice(round_, start, end)
        back_to = datetime.datetime.fromtimestamp(end, datetime.UTC)
        tell(f"back to {back_to:%Y-%m-%d %H:%M:%S}: {round_.checked} checked, {round_.changed} changed")
    end_round(round_)
    return round_


def begin_round(*, dry_run: bool = False) -> Swept:
    round_ = Swept(dry_run=dry_run)
    for one in Break.objects.filter(resolved_at=None).order_by("found_at")[:10_000]:
        round_.open[one.kind, one.subject] = one
    return round_


def sweep_slice(round_: Swept, since: int, end: int | None) -> int:
    """One slice, from its end back: the end of the next one, or `since` when all is done."""
    seen: set[str] = set()
    start = _sweep_intents(round_, since, end, seen)
    window = Window(start, end)
    for charges in round_.pace.pages(gateway().list_charges(window)):
        _write_all(round_, compare.judge_charges(round_, charges))
    for refunds in round_.pace.pages(gateway().list_refunds_made(window)):
        _write_all(round_, compare.judge_refunds(round_, refunds))
    for disputes in round_.pace.pages(gateway().list_disputes(window)):
        _sweep_disputes(round_, disputes)
    for payment in _not_seen(window, seen):
        _write(round_, compare.judge_missing(round_, payment))
    # The second in which it was cut may hold more than was listed: it is listed again.
    return since if start == since else start + 1


def _sweep_intents(round_: Swept, since: int, end: int | None, seen: set[str]) -> int:
    """Where the slice begins: after so many pages, unless that would be no step forward; else at `since`."""
    for number, page in enumerate(round_.pace.pages(gateway().list_intents(Window(since, end))), start=1):
        _write_all(round_, compare.judge_intents(round_, page))
        seen.update(intent.id for intent in page)
        oldest = page[-1].created if page else since
        if number >= PAGES_OF_A_SLICE and since < oldest and (end is None or oldest + 1 < end):
            return oldest
    return since


def _sweep_disputes(round_: Swept, page: list[SeenDispute]) -> None:
    charges = [seen.charge_id for seen in page]
    payments = {row.charge_id: row for row in Payment.objects.filter(charge_id__in=charges)}
    known = {
        row.dispute_id: (row.status, row.amount_minor, row.due_at)
        for row in Dispute.objects.filter(dispute_id__in=[seen.id for seen in page])
    }
    for seen in page:
        payment = payments.get(seen.charge_id)
        if payment is None:
            continue
        round_.checked += 1
        if known.get(seen.id) != (seen.status, seen.amount_minor, due_at(seen)) and not round_.dry_run:
            round_.changed += write_dispute(payment, seen, Asker.SWEEP)


def _not_seen(window: Window, seen: set[str]) -> list[Payment]:
    """Payments of the slice that succeeded here, and whose intents no page showed: few, or something is very wrong."""
    old = timezone.now() - settings.SWEEP_MIN_AGE
    since = datetime.datetime.fromtimestamp(window.since, datetime.UTC)
    until = old if window.until is None else min(old, datetime.datetime.fromtimestamp(window.until, datetime.UTC))
    ours = Payment.objects.filter(phase=Payment.Phase.SUCCEEDED, first_sent_at__gte=since, first_sent_at__lt=until)
    rows = ours.exclude(intent_id=None).values_list("pk", "intent_id").iterator(chunk_size=2000)
    missing = [pk for pk, intent_id in rows if intent_id not in seen]
    return list(Payment.objects.filter(pk__in=missing).select_related("order")) if missing else []


# --- what was judged, written ----------------------------------------------------------------------------------------


def _write_all(round_: Swept, verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        _write(round_, verdict)


def _write(round_: Swept, verdict: Verdict) -> None:
    """Open the break that it is, and resolve those about the same objects that it is not."""
    difference = verdict.difference
    if difference is not None:
        _open(round_, difference)
    if not round_.open:
        return
    is_now = (difference.kind, difference.subject) if difference else None
    for subject in verdict.about:
        for kind in Break.Kind:
            found = round_.open.get((kind, subject))
            if found is None:
                continue
            round_.reread.add(subject)
            if (kind, subject) != is_now and (kind in PLAIN or found.found_by == BY_SWEEP):
                _resolve(round_, found)


def _open(round_: Swept, difference: Difference) -> None:
    if len(round_.found) < _FOUND_AT_MOST:
        round_.found.append(difference)
    if round_.dry_run:
        return
    found = open_break(difference)
    # One that a person has accepted as it is comes back resolved: it is no news.
    is_new = found.resolved_at is None and (difference.kind, difference.subject) not in round_.open
    round_.open[difference.kind, difference.subject] = found
    if is_new:
        round_.changed += 1
        order = difference.order.pk if difference.order else None
        log.error(difference.kind.value, subject=difference.subject, order=order, proposal=difference.proposal)
    if difference.kind == Break.Kind.DOUBLE_CHARGE and settings.REFUND_DUPLICATES:
        _refund_duplicate(round_, found)


def _refund_duplicate(round_: Swept, found: Break) -> None:
    """The shop's policy, not ours: off unless it is set."""
    if found.charge_id is None:
        return
    round_.pace.step()
    try:
        round_.changed += give_back(found, Asker.SWEEP) is not None
    except (GatewayError, Problem, RowBusy) as error:
        log.warning("duplicate_not_refunded", charge=found.subject, error=repr(error))
        round_.put_off += 1


def _resolve(round_: Swept, found: Break) -> None:
    if round_.dry_run:
        return
    still_open = Break.objects.filter(pk=found.pk, resolved_at=None)
    gone = still_open.update(resolved_at=timezone.now(), resolved_by=BY_SWEEP, note="a later sweep found it gone")
    round_.changed += gone
    round_.open.pop((found.kind, found.subject), None)
    log.info("break_gone", kind=found.kind, subject=found.subject)


# --- what no list of the window showed --------------------------------------------------------------------------------


def end_round(round_: Swept) -> None:
    """Look again at breaks and disputes that are older than the window: they may be gone, or decided."""
    left = [one for one in round_.open.values() if one.subject not in round_.reread and one.pk is not None]
    for found in left[:_REREAD_AT_MOST]:
        _reread(round_, found)
    for dispute in Dispute.objects.undecided().select_related("payment")[:_REREAD_AT_MOST]:
        _reread_dispute(round_, dispute)
    if not round_.dry_run:
        round_.changed += seek_lost()


def _reread(round_: Swept, found: Break) -> None:
    """By the kind of object that it is about, fetched and judged like a page of one."""
    bank, deadline = gateway(), Deadline(settings.LOOK_TIMEOUT.total_seconds())
    round_.pace.step()
    try:
        if found.kind == Break.Kind.MISSING_GATEWAY and found.payment is not None:
            _write(round_, compare.judge_missing(round_, found.payment))
        elif found.subject.startswith("pi_"):
            intent = bank.retrieve_intent(found.subject, deadline, [])
            _write_all(round_, compare.judge_intents(round_, [intent]))
        elif found.subject.startswith(("ch_", "py_")):
            charge = bank.retrieve_charge(found.subject, deadline, [])
            _write_all(round_, compare.judge_charges(round_, [charge]))
        elif found.subject.startswith(("re_", "pyr_")):
            refund = bank.retrieve_refund(found.subject, deadline, [])
            _write_all(round_, compare.judge_refunds(round_, [refund]))
    except GatewayError as error:
        log.info("not_reread", subject=found.subject, error=repr(error))


def _reread_dispute(round_: Swept, dispute: Dispute) -> None:
    if round_.dry_run:
        return
    round_.pace.step()
    try:
        seen = gateway().retrieve_dispute(dispute.dispute_id, Deadline(settings.LOOK_TIMEOUT.total_seconds()), [])
    except GatewayError as error:
        log.info("not_reread", subject=dispute.dispute_id, error=repr(error))
        return
    round_.changed += write_dispute(dispute.payment, seen, Asker.SWEEP)


# --- by the beat ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A sweep that comes round: how far back it goes, and how long after the end of one the next begins."""

    name: Heartbeat.Name
    length: datetime.timedelta
    every: datetime.timedelta


PLANS = (
    Plan(Heartbeat.Name.SWEEP, datetime.timedelta(hours=2), datetime.timedelta(minutes=10)),
    Plan(Heartbeat.Name.LONG_SWEEP, datetime.timedelta(days=30), datetime.timedelta(days=1)),
)


def sweep_due(seconds: float = 20.0) -> int:
    """Go on with the plans that are due, for so long at most; how many rounds were completed. Beaten every minute.

    How far a round has come is kept after each slice, so that a worker's time limit, or its death, costs one slice.
    """
    stop_at = time.monotonic() + seconds
    return sum(_go_on(plan, stop_at) for plan in PLANS)


def _go_on(plan: Plan, stop_at: float) -> bool:
    """Whether its round is complete now."""
    row, _ = Heartbeat.objects.get_or_create(name=plan.name, defaults={"beat_at": timezone.now() - plan.every})
    now = timezone.now()
    if row.began_at is None and now - row.beat_at < plan.every:
        return False
    if row.began_at is None or now - row.began_at > plan.length:
        row.began_at, row.cursor = now, None
        row.save(update_fields=["began_at", "cursor"])
    since = int((row.began_at - plan.length).timestamp())
    end = int(row.cursor.timestamp()) if row.cursor else None
    round_ = begin_round()
    while end is None or end > since:
        end = sweep_slice(round_, since, end)
        row.cursor = datetime.datetime.fromtimestamp(end, datetime.UTC)
        row.save(update_fields=["cursor"])
        if end > since and time.monotonic() > stop_at:
            return False
    end_round(round_)
    Heartbeat.objects.filter(name=plan.name).update(began_at=None, cursor=None)
    beat(plan.name)
    log.info("swept", plan=plan.name.value, checked=round_.checked, changed=round_.changed)
    return True
