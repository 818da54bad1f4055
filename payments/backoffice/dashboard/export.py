"""CSV for spreadsheets: payments, and the numbers of the dashboard's charts (SECURITY SE51).

An export is an act of staff: its audit row is committed before the first byte leaves. Payments are read in pages by
time, and the database connection goes back to the pool after each: whoever reads slowly, or goes away in the middle,
holds none, and memory stays as small for 100,000 rows as for ten.
"""

import csv
import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django import forms
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_POST

from orders.personal import may_see_personal_data
from payments.backoffice.dashboard.figures import FIGURES, read_figures
from payments.models import Payment
from payments.row_lock import give_back_connections
from shop.acts import Act, Snapshot, who_asks
from shop.money import plain_text
from shop.staff_pages import act_page, in_frame, staff_page

Cell = str | int | float

PAGE = 1000
BYTE_ORDER_MARK = "\ufeff"  # else Excel reads £ as two letters
# A spreadsheet takes what begins so for a formula, also after blanks; full-width forms too.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CONTROL = "\0\t\r\n"
_BLANK = f"{_CONTROL}\v\f \u00a0\u3000\u200b\u200e\u200f\ufeff"


def safe_cell(cell: Cell) -> Cell:
    """A text that a spreadsheet would run begins with an apostrophe instead. Numbers are ours, and stay numbers."""
    if not isinstance(cell, str):
        return cell
    is_run = cell.lstrip(_BLANK).startswith(_FORMULA) or cell.startswith(tuple(_CONTROL))
    return f"'{cell}" if is_run else cell


class _Passed:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Iterable[Cell]]) -> Iterator[str]:
    """Each row as a line of CSV, the byte order mark first."""
    writer = csv.writer(_Passed())
    yield BYTE_ORDER_MARK
    for row in rows:
        yield writer.writerow([safe_cell(cell) for cell in row])


# --- payments ---------------------------------------------------------------------------------------------------------


def _day(label: str) -> forms.DateField:
    # In the one form that a browser's own date field understands.
    return forms.DateField(label=label, widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}))


class ExportForm(forms.Form):
    """Days in UTC, both included, by when the payment was opened."""

    from_day = _day("From")
    to_day = _day("To")
    phase = forms.ChoiceField(label="Phase", required=False, choices=[("", "every"), *Payment.Phase.choices])

    def clean(self) -> dict[str, object]:
        cleaned: dict[str, object] = self.cleaned_data
        first, last = cleaned.get("from_day"), cleaned.get("to_day")
        if isinstance(first, datetime.date) and isinstance(last, datetime.date) and last < first:
            raise forms.ValidationError("The last day is before the first.")
        return cleaned


@dataclass(frozen=True)
class Wanted:
    """What is exported: [since, until) by creation, and nothing that is created after it began."""

    since: datetime.datetime
    until: datetime.datetime
    phase: str
    personal: bool

    def told(self) -> Snapshot:
        """For the audit row."""
        return {
            "from": self.since.isoformat(),
            "until": self.until.isoformat(),
            "phase": self.phase or "every",
            "personal data": self.personal,
        }


@staff_page("payments.export_payment")
@act_page
def export_payments(request: HttpRequest) -> HttpResponseBase:
    """The form, and what it asks for. A POST, for it writes its audit row."""
    today = timezone.now().date()
    first = {"from_day": today - datetime.timedelta(days=30), "to_day": today}
    form = ExportForm(request.POST if request.method == "POST" else None, initial=first)
    personal = may_see_personal_data(request.user)
    if request.method != "POST" or not form.is_valid():
        context = in_frame(request, "Export payments", form=form, personal=personal)
        return render(request, "admin/desk/export.html", context, status=422 if form.errors else 200)
    since, until = _midnight(form.cleaned_data["from_day"]), _midnight(min(form.cleaned_data["to_day"], today), days=1)
    wanted = Wanted(since, min(until, timezone.now()), form.cleaned_data["phase"], personal)
    _audit(request, "payments", wanted.told())
    name = f"payments-{form.cleaned_data['from_day']}-to-{form.cleaned_data['to_day']}.csv"
    return _download(name, _in_parts(csv_lines(_rows(wanted))))


def _midnight(day: datetime.date, days: int = 0) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=days)


def _audit(request: HttpRequest, what: str, told: Snapshot) -> None:
    """Committed before anything is given out: who, from where, and which rows."""
    Act("export", who_asks(request), what, lambda: told).record()


def _download(name: str, lines: Iterable[str]) -> HttpResponseBase:
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def _in_parts(lines: Iterator[str], size: int = 200) -> Iterator[str]:
    """Some lines at a time: a write to the network for each would take longer than reading them."""
    part: list[str] = []
    for line in lines:
        part.append(line)
        if len(part) >= size:
            yield "".join(part)
            part = []
    yield "".join(part)


_COLUMNS = (
    "order",
    "order status",
    "placed at (UTC)",
    "payment",
    "n",
    "phase",
    "created at (UTC)",
    "succeeded at (UTC)",
    "currency",
    "amount",
    "amount in minor units",
    "captured",
    "captured in minor units",
    "refunded",
    "refunded in minor units",
    "card",
    "last four",
    "intent",
    "charge",
)
_PERSONAL = ("e-mail", "name", "line 1", "line 2", "city", "region", "postal code", "country")
_READ = (
    "pk",
    "n",
    "phase",
    "created_at",
    "succeeded_at",
    "currency",
    "amount_minor",
    "captured_minor",
    "refunded_minor",
    "card_brand",
    "card_last4",
    "intent_id",
    "charge_id",
    "order__number",
    "order__status",
    "order__placed_at",
)
_READ_PERSONAL = ("email", "name", "line1", "line2", "city", "region", "postal_code", "country")


def _rows(wanted: Wanted) -> Iterator[list[Cell]]:
    """Without `orders.see_personal_data` the personal columns are not there at all, and are not even read."""
    yield [*_COLUMNS, *(_PERSONAL if wanted.personal else ())]
    for page in _pages(wanted):
        for payment in page:
            yield _row(payment, personal=wanted.personal)


def _pages(wanted: Wanted) -> Iterator[list[Payment]]:
    """Oldest first, each page beginning after the last row of the one before: one indexed read, and no transaction."""
    found = Payment.objects.filter(created_at__gte=wanted.since, created_at__lt=wanted.until)
    if wanted.phase:
        found = found.filter(phase=wanted.phase)
    personal = [f"order__{name}" for name in _READ_PERSONAL] if wanted.personal else []
    found = found.select_related("order").only(*_READ, *personal).order_by("created_at", "pk")
    rest = found
    while True:
        try:
            page = list(rest[:PAGE])
        finally:
            give_back_connections()
        if page:
            yield page
        if len(page) < PAGE:
            return
        last = page[-1]
        later = Q(created_at__gt=last.created_at) | Q(pk__gt=last.pk)
        rest = found.filter(later, created_at__gte=last.created_at)


def _row(payment: Payment, *, personal: bool) -> list[Cell]:
    order = payment.order
    return [
        order.number,
        order.status,
        _moment(order.placed_at),
        payment.pk,
        payment.n,
        payment.phase,
        _moment(payment.created_at),
        _moment(payment.succeeded_at),
        payment.currency,
        *_amount(payment.amount_minor, payment.currency),
        *_amount(payment.captured_minor, payment.currency),
        *_amount(payment.refunded_minor, payment.currency),
        payment.card_brand,
        payment.card_last4,
        payment.intent_id or "",
        payment.charge_id or "",
        *([getattr(order, name) for name in _READ_PERSONAL] if personal else []),
    ]


def _amount(minor: int, currency: str) -> tuple[str, int]:
    """As a text that no spreadsheet rounds or groups, and in minor units."""
    return plain_text(minor, currency), minor


def _moment(at: datetime.datetime | None) -> str:
    return f"{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}" if at else ""


# --- the dashboard's figures ------------------------------------------------------------------------------------------


@staff_page("payments.export_payment")
@require_POST
def export_figure(request: HttpRequest, name: str) -> HttpResponseBase:
    """The data table of one chart."""
    if name not in FIGURES:
        raise Http404
    figure = read_figures().named(name)
    _audit(request, f"figure {name}", {"figure": name})
    return HttpResponse(
        "".join(csv_lines([figure.header, *figure.rows])),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )
