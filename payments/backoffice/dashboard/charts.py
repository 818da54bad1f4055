"""Charts drawn by the server as SVG: shapes with presentation attributes and classes, no script and no inline style.

The colours are desk.css's, so that light, dark and forced colours follow. A chart never stands alone: its figure is
shown as a table too, and every shape has a title.
"""

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass

from payments.backoffice.dashboard.figures import Figure, Series
from payments.monitoring.alarms import age_text

WIDTH, HEIGHT = 480, 200
LEFT, RIGHT, TOP, BOTTOM = 78, 6, 12, 26
_INNER_WIDTH, _INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_LABEL_WIDTH = 70


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    tone: str
    title: str


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    tone: str
    title: str


@dataclass(frozen=True)
class Line:
    points: str
    tone: str


@dataclass(frozen=True)
class Tick:
    """A line across with its value, or a label below."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    figure: Figure
    ticks: list[Tick]
    labels: list[Tick]
    bars: list[Bar]
    lines: list[Line]
    dots: list[Dot]

    width, height, left, right, base = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    middle, label_y = LEFT + _INNER_WIDTH / 2, HEIGHT - 8


def draw(figure: Figure) -> Chart:
    if figure.is_empty:
        return Chart(figure, [], list(_labels(figure)), [], [], [])
    top, step = _scale(_highest(figure), is_seconds=figure.is_seconds)
    ticks = [Tick(_y(step * n, top), _value_text(figure, step * n)) for n in range(round(top / step) + 1)]
    if figure.is_seconds:
        dots = [dot for one in figure.series for dot in _dots(figure, one, top)]
        lines = [line for one in figure.series for line in _lines(one, top, len(figure.labels))]
        return Chart(figure, ticks, list(_labels(figure)), [], lines, dots)
    return Chart(figure, ticks, list(_labels(figure)), list(_bars(figure, top)), [], [])


def _highest(figure: Figure) -> float:
    if figure.is_seconds:
        return max(value for one in figure.series for value in one.values if value is not None)
    return max(
        sum(value or 0 for value in values) for values in zip(*(one.values for one in figure.series), strict=True)
    )


_ROUND_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 4 * 3600, 12 * 3600, 86400)


def _scale(highest: float, *, is_seconds: bool) -> tuple[float, float]:
    """The axis's end and its steps: at most five round ones, of whole things."""
    rough = highest / 4
    if is_seconds:
        fitting = [step for step in _ROUND_SECONDS if step >= rough]
        step = float(fitting[0] if fitting else math.ceil(rough / 86400) * 86400)
    else:
        magnitude = 10 ** math.floor(math.log10(max(rough, 1)))
        step = float(next(magnitude * n for n in (1, 2, 5, 10) if magnitude * n >= rough))
    return max(step, math.ceil(highest / step) * step), step


def _y(value: float, top: float) -> float:
    return round(TOP + _INNER_HEIGHT * (1 - value / top), 1)


def _middle(number: int, count: int) -> float:
    return round(LEFT + _INNER_WIDTH * (number + 0.5) / count, 1)


def _value_text(figure: Figure, value: float) -> str:
    return _lasting(value) if figure.is_seconds else f"{value:,.0f}"


def _lasting(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600 and round(seconds) % 60:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    return age_text(datetime.timedelta(seconds=round(seconds)))


def _labels(figure: Figure) -> Iterator[Tick]:
    """As many as there is room for; the last one always."""
    count = len(figure.labels)
    every = math.ceil(count * _LABEL_WIDTH / _INNER_WIDTH)
    for number, label in enumerate(figure.labels):
        if (count - 1 - number) % every == 0:
            yield Tick(_middle(number, count), label[5:] if figure.across == "Day" else label)


def _bars(figure: Figure, top: float) -> Iterator[Bar]:
    """Stacked, the first series lowest."""
    count = len(figure.labels)
    width = round(_INNER_WIDTH / count * 0.68, 1)
    for number, label in enumerate(figure.labels):
        below = 0.0
        for one in figure.series:
            value = one.values[number] or 0
            if not value:
                continue
            y = _y(below + value, top)
            height = round(_y(below, top) - y, 1)
            title = f"{label}, {one.label}: {_value_text(figure, value)}"
            yield Bar(round(_middle(number, count) - width / 2, 1), y, width, max(height, 1), one.tone, title)
            below += value


def _dots(figure: Figure, one: Series, top: float) -> Iterator[Dot]:
    for number, value in enumerate(one.values):
        if value is not None:
            title = f"{figure.labels[number]}, {one.label}: {_value_text(figure, value)}"
            yield Dot(_middle(number, len(figure.labels)), _y(value, top), one.tone, title)


def _lines(one: Series, top: float, count: int) -> Iterator[Line]:
    """Through days that follow each other; a day without a value is a gap, not a zero."""
    run: list[str] = []
    for number, value in enumerate([*one.values, None]):
        if value is not None:
            run.append(f"{_middle(number, count)},{_y(value, top)}")
            continue
        if len(run) > 1:
            yield Line(" ".join(run), one.tone)
        run = []
