"""The page that answers "was I charged twice?": whatever names the money is enough. It never calls Stripe."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from orders.models import Order
from orders.personal import email_for
from payments.backoffice.actions.available import Offer, offers
from payments.backoffice.inquiry.answer import WINDOW, Answer, Picture, answer, answer_stray
from payments.backoffice.inquiry.statement import Line, Money, money_of, stray_line
from payments.backoffice.payment.page import at_stripe
from payments.backoffice.search import MOST, Found, find
from shop.staff_pages import in_frame, staff_page

_ORDERS_OF_A_SHOPPER = 20
_ORDERS_WITH_ACTS = 3  # of more, the page of each order alone shows what can be done


@staff_page("payments.view_payment")
def charged_twice(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").strip()
    context = in_frame(request, "Was I charged twice?", q=text, most=MOST)
    if text:
        context |= _answered(text, request.user)
    return render(request, "admin/desk/charged_twice.html", context)


@dataclass(frozen=True)
class Row:
    """An order on the page."""

    money: Money
    answer: Answer
    email: str
    by_email_only: bool
    offers: list[Offer] = field(default_factory=list)

    @property
    def order(self) -> Order:
        return self.money.order


def _answered(text: str, viewer: Any) -> dict[str, Any]:
    found = find(text)
    strays = [(stray_line(one), answer_stray(one), one, at_stripe(one)) for one in found.strays]
    if not found.orders:
        return {"strays": strays, "nothing": not strays, "more": found.more}
    return _of_orders(found, viewer) | {"strays": [one for one in strays if one[2].resolved_at is None]}


def _of_orders(found: Found, viewer: Any) -> dict[str, Any]:
    people = {_person(order) for order in found.orders}
    emails = {order.email.casefold() for order in found.orders}
    if len(people) > 1 and len(emails) > 1:
        rows = [_row(money, viewer) for money in money_of(found.orders)]
        return {"choices": rows, "more": found.more}
    return _of_one_shopper(found.orders, viewer) | {"more": found.more or len(found.orders) > _ORDERS_OF_A_SHOPPER}


def _of_one_shopper(found: list[Order], viewer: Any) -> dict[str, Any]:
    """All orders of the shopper at about that time, and apart from them those that share only the e-mail address."""
    monies = money_of(_with_neighbours(found[:_ORDERS_OF_A_SHOPPER]))
    named = {order.pk for order in found}
    of_person = _person(_main_order(monies, named))
    own = [money for money in monies if _person(money.order) == of_person]
    others = [money for money in monies if _person(money.order) != of_person]
    picture = Picture(own, also_charged=_charged_at_about(own, others))
    rows = [_row(money, viewer, acts=number < _ORDERS_WITH_ACTS) for number, money in enumerate(own)]
    rows += [_row(money, viewer, by_email_only=True) for money in others]
    return {"answer": answer(picture), "lines": picture.lines, "rows": rows, "own": own, "others": others}


def _main_order(monies: list[Money], named: set[str]) -> Order:
    """Whose shopper the answer is about: of the orders that were searched for, the newest that was charged."""
    searched = [money for money in monies if money.order.pk in named]
    charged = [money for money in searched if any(one.captured_minor for one in money.payments)]
    return (charged or searched)[0].order


def _with_neighbours(found: list[Order]) -> list[Order]:
    """And the shopper's other orders of about the same time; each way of knowing the shopper is one indexed read."""
    since, until = found[-1].placed_at - WINDOW, found[0].placed_at + WINDOW
    near = Order.objects.filter(placed_at__range=(since, until)).order_by("-placed_at")
    ways = [Q(user=order.user_id) if order.user_id else Q(guest_id=order.guest_id) for order in _one_of_each(found)]
    ways += [Q(email__iexact=found[0].email)]
    orders = {order.pk: order for order in found}
    for way in ways:
        orders |= {order.pk: order for order in near.filter(way)[:_ORDERS_OF_A_SHOPPER]}
    return sorted(orders.values(), key=lambda order: order.placed_at, reverse=True)


def _one_of_each(orders: Iterable[Order]) -> list[Order]:
    """One order of each shopper who can be known by more than the e-mail address."""
    return list({_person(order): order for order in orders if order.user_id or order.guest_id}.values())


def _person(order: Order) -> str:
    """Who placed it: the account, else the guest's session. Never the e-mail address, which anyone can type."""
    return f"user:{order.user_id}" if order.user_id else order.principal


def _charged_at_about(own: list[Money], others: list[Money]) -> bool:
    def charged(monies: list[Money]) -> list[Line]:
        return Picture(monies).charges

    return any(abs(one.at - other.at) <= WINDOW for one in charged(own) for other in charged(others))


def _row(money: Money, viewer: Any, *, by_email_only: bool = False, acts: bool = False) -> Row:
    said = answer(Picture([money]))
    can_be_done = offers(money.order, viewer) if acts else []
    return Row(money, said, email_for(viewer, money.order.email), by_email_only, can_be_done)
