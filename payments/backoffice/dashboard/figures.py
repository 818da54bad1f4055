"""The figures behind the charts of the dashboard: the last fourteen days, counted by PostgreSQL from indexed rows.

A figure is drawn (charts.py), shown as a table and given as CSV, all from the same numbers.
"""

import datetime
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Aggregate, Count, DurationField, ExpressionWrapper, F, Q, Sum
from django.db.models.expressions import Combinable
from django.db.models.functions import TruncDate
from django.utils import timezone

from payments.models import Attempt, AttemptQuerySet, DuplicatesStopped, Outcome, PaymentEvent

DAYS = 14
_REASONS_SHOWN = 5
_BECAME_UNKNOWN = datetime.timedelta(days=30)  # before it was settled, at most


@dataclass(frozen=True)
class Series:
    """One colour of a figure. `tone` names the colour in desk.css; a value is None where there is nothing to say."""

    label: str
    tone: str
    values: list[float | None]


@dataclass(frozen=True)
class Figure:
    """Numbers with a name. `is_seconds`: they are lengths of time and drawn as points; else counts, drawn as bars."""

    name: str
    title: str
    about: str
    across: str  # what the labels are
    labels: list[str]
    series: list[Series]
    is_seconds: bool = False
    empty: str = "Nothing in these 14 days."

    @property
    def is_empty(self) -> bool:
        return not any(value for one in self.series for value in one.values)

    @property
    def header(self) -> list[str]:
        return [self.across, *(f"{one.label} (seconds)" if self.is_seconds else one.label for one in self.series)]

    @property
    def rows(self) -> list[list[str | float]]:
        """The data table; an empty cell where there is nothing to say."""
        columns = zip(*(one.values for one in self.series), strict=True)
        return [
            [label, *("" if value is None else value for value in values)]
            for label, values in zip(self.labels, columns, strict=True)
        ]


@dataclass(frozen=True)
class Figures:
    """All of them, and what the panels say of the same numbers in words."""

    all: list[Figure]
    declines: list[tuple[str, int]]
    duplicates: list[tuple[str, int]]
    median: datetime.timedelta | None
    slowest: datetime.timedelta | None  # 95 of 100 are faster
    settled: int  # how many were unknown once

    def named(self, name: str) -> Figure:
        return next(figure for figure in self.all if figure.name == name)


FIGURES = ("attempts", "undecided", "duplicates", "declines", "time-to-truth")

_OUTCOMES = {
    Outcome.SUCCEEDED: ("succeeded", "good"),
    Outcome.DECLINED: ("declined", "doubt"),
    Outcome.FAILED: ("failed", "bad"),
    Outcome.CANCELED: ("canceled", "quiet"),
    Outcome.RELEASED: ("released", "pale"),
    Outcome.REQUIRES_ACTION: ("requires action", "third"),
    Outcome.PROCESSING: ("processing", "second"),
    Outcome.UNKNOWN: ("unknown", "first"),
    "": ("under way", "fourth"),
}
LAYERS = {2: "2 idempotency key", 3: "3 database", 4: "4 Redis lock", 5: "5 gateway"}
_NO_REASON = "no reason given"
_TONES = ("first", "second", "third", "fourth", "doubt", "quiet", "pale")


def read_figures() -> Figures:
    """Six queries."""
    days = [(timezone.now() - datetime.timedelta(days=back)).date() for back in range(DAYS - 1, -1, -1)]
    since = datetime.datetime.combine(days[0], datetime.time(), datetime.UTC)
    pressed = _pressed(since)
    stopped = _stopped(days[0])
    was_unknown = _was_unknown(since)
    overall = was_unknown.aggregate(median=Percentile(_TRUTH, 0.5), slowest=Percentile(_TRUTH, 0.95), n=Count("pk"))
    declines = Counter[str]()
    for (_, outcome, reason), count in pressed.items():
        if outcome == Outcome.DECLINED:
            declines[reason or _NO_REASON] += count
    return Figures(
        all=[
            _attempts(days, pressed),
            _undecided(),
            _duplicates(days, stopped),
            _declines(days, pressed, declines),
            _time_to_truth(days, was_unknown),
        ],
        declines=declines.most_common(),
        duplicates=[(text, sum(stopped[day, layer] for day in days)) for layer, text in LAYERS.items()],
        median=overall["median"],
        slowest=overall["slowest"],
        settled=overall["n"],
    )


def _pressed(since: datetime.datetime) -> Counter[tuple[datetime.date, str, str]]:
    """Presses by day, outcome and reason: one read of the index by time."""
    groups = (
        Attempt.objects.filter(pressed_at__gte=since)
        .order_by()
        .annotate(day=TruncDate("pressed_at", tzinfo=datetime.UTC))
        .values("day", "outcome", "reason")
        .annotate(count=Count("pk"))
    )
    return Counter({(row["day"], row["outcome"], row["reason"]): row["count"] for row in groups})


def _attempts(days: list[datetime.date], pressed: Counter[tuple[datetime.date, str, str]]) -> Figure:
    counts = Counter[tuple[datetime.date, str]]()
    for (day, outcome, _), count in pressed.items():
        counts[day, outcome] += count
    series = [
        Series(label, tone, [counts[day, outcome] for day in days]) for outcome, (label, tone) in _OUTCOMES.items()
    ]
    about = "How the presses of Pay of each day stand now. What is unknown is still being found out."
    return Figure("attempts", "Presses of Pay by outcome", about, "Day", _labels(days), _used(series))


def _declines(
    days: list[datetime.date], pressed: Counter[tuple[datetime.date, str, str]], declines: Counter[str]
) -> Figure:
    shown = [reason for reason, _ in declines.most_common(_REASONS_SHOWN)]
    counts = Counter[tuple[datetime.date, str]]()
    for (day, outcome, reason), count in pressed.items():
        if outcome == Outcome.DECLINED:
            counts[day, reason or _NO_REASON] += count
    series = [
        Series(reason, tone, [counts[day, reason] for day in days]) for reason, tone in zip(shown, _TONES, strict=False)
    ]
    if others := [reason for reason in declines if reason not in shown]:
        series.append(Series("others", "pale", [sum(counts[day, reason] for reason in others) for day in days]))
    about = "What banks said no to, by the reason that the shopper was told and the day of the press."
    series = series or [Series("declined", "first", [0 for _ in days])]
    return Figure("declines", "Declines by reason", about, "Day", _labels(days), series)


def _stopped(since: datetime.date) -> Counter[tuple[datetime.date, int]]:
    groups = DuplicatesStopped.objects.filter(day__gte=since).order_by().values("day", "layer")
    return Counter({(row["day"], row["layer"]): row["total"] for row in groups.annotate(total=Sum("count"))})


def _duplicates(days: list[datetime.date], stopped: Counter[tuple[datetime.date, int]]) -> Figure:
    series = [
        Series(text, tone, [stopped[day, layer] for day in days])
        for (layer, text), tone in zip(LAYERS.items(), _TONES, strict=False)
    ]
    about = (
        "Requests that would have done something twice, by the layer that stopped them. Layer 1, the disabled button, "
        "stops clicks before they reach us, so nobody can count those."
    )
    return Figure("duplicates", "Duplicates stopped by layer", about, "Day", _labels(days), series)


_AGES = (
    ("< 1 min", None, 1),
    ("1-10 min", 1, 10),
    ("10-60 min", 10, 60),
    ("1-24 h", 60, 24 * 60),
    ("> 1 d", 24 * 60, None),
)


def _undecided() -> Figure:
    now = timezone.now()
    ages = {}
    for number, (_, least, most) in enumerate(_AGES):
        older = Q() if least is None else Q(claimed_at__lte=now - datetime.timedelta(minutes=least))
        younger = Q() if most is None else Q(claimed_at__gt=now - datetime.timedelta(minutes=most))
        ages[f"age{number}"] = Count("pk", filter=older & younger)
    counts = Attempt.objects.exclude(phase=Attempt.Phase.FINISHED).order_by().aggregate(**ages)
    values: list[float | None] = [counts[f"age{number}"] for number in range(len(_AGES))]
    about = "Presses of Pay that are not decided now, by how long ago Pay was pressed."
    labels = [label for label, _, _ in _AGES]
    series = [Series("undecided", "first", values)]
    return Figure("undecided", "Undecided now, by age", about, "Age", labels, series, empty="Nothing is undecided.")


class Percentile(Aggregate):
    """`percentile_cont`: the value that this share of the values is below."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DurationField()

    def __init__(self, expression: Combinable, share: float) -> None:
        super().__init__(expression, share=share)


_TRUTH = ExpressionWrapper(F("finished_at") - F("claimed_at"), output_field=DurationField())


def _was_unknown(since: datetime.datetime) -> AttemptQuerySet:
    """Presses that were unknown once, and that were decided since."""
    unknown = PaymentEvent.objects.filter(kind="settled", to_state="unknown", at__gte=since - _BECAME_UNKNOWN)
    return Attempt.objects.filter(pk__in=unknown.order_by().values("attempt_id"), finished_at__gte=since).order_by()


def _time_to_truth(days: list[datetime.date], was_unknown: AttemptQuerySet) -> Figure:
    groups = was_unknown.annotate(day=TruncDate("finished_at", tzinfo=datetime.UTC)).values("day")
    rows = groups.annotate(median=Percentile(_TRUTH, 0.5), slowest=Percentile(_TRUTH, 0.95))
    median = {row["day"]: round(row["median"].total_seconds(), 1) for row in rows}
    slowest = {row["day"]: round(row["slowest"].total_seconds(), 1) for row in rows}

    series = [
        Series("half are faster", "first", [median.get(day) for day in days]),
        Series("95 % are faster", "doubt", [slowest.get(day) for day in days]),
    ]
    about = "From the click to the settled outcome, of presses that were unknown once, by the day that settled them."
    empty = "No press was unknown in these 14 days."
    return Figure("time-to-truth", "Time to truth", about, "Day", _labels(days), series, is_seconds=True, empty=empty)


def _used(series: Iterable[Series]) -> list[Series]:
    """Those that have something to show, and always what succeeded."""
    return [one for one in series if one.label == "succeeded" or any(one.values)]


def _labels(days: list[datetime.date]) -> list[str]:
    return [day.isoformat() for day in days]
