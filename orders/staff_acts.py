"""What staff do to orders, each on a page that asks once more: for one order, or for those ticked in the list.

Each order is a transaction and an audit row of its own. The page carries a one-time key and, for each order, the
version of what it showed: a second click finds the act done, and a page out of date changes nothing (RULES R96).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psycopg.errors
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.db import OperationalError, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from orders.fulfil import CannotFulfil, fulfil_order, money_under_way, why_not_fulfil
from orders.mail_links import revoke_links
from orders.models import Order, OrderLink
from shop.acts import Act, DoneAlready, Snapshot, StaleForm, version_of, who_asks, witnessed
from shop.ids import new_id
from shop.staff_pages import View, in_frame, staff_page

MOST_AT_ONCE = 100


class Refused(Exception):
    """The act is not valid for this order now; says why. Nothing was done."""


@dataclass(frozen=True)
class Deed:
    """One thing that staff may do to an order.

    Attributes:
        why_not: why it is not valid now; "" if it is.
        carry_out: does it, with its audit row, in one transaction.
        done: what the order is afterwards, as in "is fulfilled".
        note_label: what the note is for; required where `note_required`.
    """

    name: str
    permission: str
    url_name: str
    title: str
    explained: str
    done: str
    note_label: str
    note_required: bool
    why_not: Callable[[Order], str]
    snapshot: Callable[[Order], Snapshot]
    carry_out: Callable[[Order, Act], None]


def _fulfil(order: Order, act: Act) -> None:
    try:
        fulfil_order(order.pk, act)
    except CannotFulfil as refused:
        raise Refused(str(refused)) from refused


FULFIL = Deed(
    name="fulfil",
    permission="orders.fulfil_order",
    url_name="orders_order_fulfil",
    title="Mark as fulfilled",
    explained="The goods leave the house. The shopper's page says that the parcel is on its way. If the money is given"
    " back later, the goods do not go back on sale by themselves. An order that does not hold its goods takes them off"
    " the stock first: all of them, or nothing is done.",
    done="is fulfilled",
    note_label="Note, for example the parcel's number",
    note_required=False,
    why_not=why_not_fulfil,
    snapshot=money_under_way,
    carry_out=_fulfil,
)


def _why_no_link(order: Order) -> str:
    return "" if _open_links(order)["open_links"] else "No link of its mails is open."


def _open_links(order: Order) -> Snapshot:
    links = OrderLink.objects.that_open(timezone.now()).filter(order=order)
    return {"open_links": list(links.order_by("pk").values_list("pk", flat=True))}


def _revoke(order: Order, act: Act) -> None:
    with transaction.atomic(durable=True):
        Order.objects.select_for_update(no_key=True, of=("self",)).get(pk=order.pk)
        with witnessed(act):
            if not revoke_links(Order.objects.filter(pk=order.pk)):
                raise Refused("No link of its mails is open.")


REVOKE_LINKS = Deed(
    name="revoke links",
    permission="orders.revoke_links",
    url_name="orders_order_revoke_links",
    title="Revoke the links of the mails",
    explained="A mail went astray: its link, and what was opened with it, is closed at once. The order stays as it is.",
    done="has no open link any more",
    note_label="Why",
    note_required=True,
    why_not=_why_no_link,
    snapshot=_open_links,
    carry_out=_revoke,
)


@dataclass
class Row:
    """One order on the page: whether the act is valid, and what became of it."""

    order: Order
    why_not: str
    version: str


def page_of(deed: Deed) -> View:
    """The view that asks once more (GET) and does it (POST), for the orders named in its address."""

    @staff_page(deed.permission)
    def deed_page(request: HttpRequest, ids: str) -> HttpResponse:
        orders = _orders(ids)
        if request.method != "POST":
            return _ask(request, deed, orders)
        note = request.POST.get("note", "").strip()
        if deed.note_required and not note:
            return _ask(request, deed, orders, note, error=f"{deed.note_label}? Please write a word about it.")
        refused = _do(request, deed, orders, note)
        if refused:
            return _ask(request, deed, [order for order in orders if order.pk in refused], note, refused)
        return HttpResponseRedirect(_after(orders), status=303)

    return deed_page


def address_of(deed: Deed, ids: list[str]) -> str:
    return reverse(f"admin:{deed.url_name}", args=[",".join(ids)])


def _orders(ids: str) -> list[Order]:
    wanted = ids.split(",")[:MOST_AT_ONCE]
    found = Order.objects.in_bulk(wanted)
    if not found:
        raise Http404("no such order")
    return [found[order_id] for order_id in wanted if order_id in found]


def _do(request: HttpRequest, deed: Deed, orders: list[Order], note: str) -> dict[str, str]:
    """Each order in its own transaction; of those that it was not done to, why not."""
    form_key, done, refused = request.POST.get("form_key", "")[:40], [], {}
    for order in orders:
        act = Act(
            name=deed.name,
            who=who_asks(request),
            subject=f"order {order.number}",
            snapshot=partial(_snapshot, deed, order.pk),
            order_id=order.pk,
            form_key=f"{form_key}:{order.pk}" if form_key else "",
            expected=request.POST.get(f"version-{order.pk}", "") or "none was sent",
            note=note,
        )
        try:
            deed.carry_out(order, act)
            done.append(order.number)
        except DoneAlready:
            messages.info(request, f"Order {order.number}: done already by this page, and not a second time.")
        except StaleForm:
            now = deed.why_not(Order.objects.get(pk=order.pk))
            refused[order.pk] = f"It changed after this page was shown. {now or 'Please look at it again.'}"
        except Refused as reason:
            refused[order.pk] = str(reason)
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            refused[order.pk] = "It is being worked on right now. Ask again in a moment."
    if done:
        messages.success(request, _said(deed, done))
    return refused


def _snapshot(deed: Deed, order_id: str) -> Snapshot:
    return deed.snapshot(Order.objects.get(pk=order_id))


def _said(deed: Deed, numbers: list[str]) -> str:
    if len(numbers) == 1:
        return f"Order {numbers[0]} {deed.done}."
    return f"{len(numbers)} orders, each {deed.done}: {', '.join(numbers)}."


def _ask(
    request: HttpRequest,
    deed: Deed,
    orders: list[Order],
    note: str = "",
    refused: dict[str, str] | None = None,
    error: str = "",
) -> HttpResponse:
    """The page. A refusal that still holds keeps the order out of the form; what only changed may be sent again."""
    orders = list(Order.objects.filter(pk__in=[order.pk for order in orders]).order_by("-placed_at"))
    rows = [Row(order, deed.why_not(order), version_of(deed.snapshot(order))) for order in orders]
    valid = [row for row in rows if not row.why_not]
    context = in_frame(
        request,
        deed.title,
        deed=deed,
        rows=[(row, (refused or {}).get(row.order.pk, "")) for row in rows],
        valid=valid,
        not_done=len(refused or {}),
        form_key=new_id(),
        note=note,
        error=error,
        address=address_of(deed, [row.order.pk for row in valid]) if valid else "",
        back=_after(orders),
    )
    return TemplateResponse(request, "admin/orders/order/act.html", context)


def _after(orders: list[Order]) -> str:
    if len(orders) == 1:
        return reverse("admin:orders_order_change", args=[quote(orders[0].pk)])
    return reverse("admin:orders_order_changelist")
