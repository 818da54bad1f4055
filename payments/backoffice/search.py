"""Find: the orders and payments that an e-mail, a line of a bank statement, or any id or key belongs to.

What was typed is told apart by its shape, and each shape has searches of its own. Each reads by an index, newest first,
at most MOST rows: so it takes milliseconds however many orders there are (docs/staff.md). No search is an OR across
joins, for that would read every row.
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple

from django.db.models import CharField, QuerySet, Value

from orders.models import Order
from payments.models import Attempt, Break, Dispute, Payment, Refund
from shop.money import CURRENCIES, Currency, read_amount

MOST = 100

_ALL_PAYMENTS = Value(None, output_field=CharField())
_GATEWAY = "stripe"  # the first column of the indexes of intents and charges
_ID = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)
_ADDRESS = re.compile(r"/orders/([A-Za-z0-9_-]{32})(?:/|$)", re.ASCII)
_NUMBER = re.compile(r"([0-9A-Z]{4})[- ]?([0-9A-Z]{4})", re.ASCII)
_NAMED = re.compile(r"order(?: number)?[:\s]*#?\s*(\S{4}[- ]?\S{4})", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s<>‹›\"(),;:]+@[^\s<>‹›\"(),;:]+")
# What mail programs and phones make of a hyphen; and what stands around a name, or before the last four.
_DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212), "-")
_AROUND = " #<>‹›«»()[]\"'“”‘’*•,;"
_FOUR_DIGITS = re.compile(r"\d{4}", re.ASCII)
_OF_STRIPE = ("pi_", "ch_", "py_", "re_", "pyr_", "du_", "dp_")
_GATEWAY_KEY = re.compile(r"[^:]*:(confirm|refund|refund:dup|cancel|cancel:orphan):([A-Za-z0-9_-]+)(?::\d+)?", re.ASCII)


class Hit(NamedTuple):
    """One row that a search found. Without an order: money that none of our orders asked for."""

    order_id: str | None
    payment_id: str | None  # None: the search was for the order, so all of its payments are meant
    at: datetime.datetime


@dataclass(frozen=True)
class Found:
    orders: list[Order]  # newest first
    strays: list[Break]  # about money that belongs to no order of ours
    more: bool  # there is more than is shown


def find(text: str) -> Found:
    """Whatever belongs to it, newest first, at most MOST."""
    text = _plain(text)
    hits, breaks, more = _hits(text)
    strays = [found for found in breaks if found.order_id is None]
    ids = {hit.order_id for hit in hits if hit.order_id}
    orders = list(Order.objects.filter(pk__in=ids).order_by("-placed_at", "pk")[: MOST + 1])
    unique = {one.pk: one for one in strays}
    return Found(orders[:MOST], list(unique.values())[:MOST], more or len(orders) > MOST or len(unique) > MOST)


def find_payments(text: str) -> tuple[list[str], bool]:
    """Ids of the payments that it belongs to, and whether there are more than MOST."""
    hits, _, more = _hits(_plain(text))
    named = {hit.payment_id: hit.at for hit in hits if hit.payment_id}
    whole = [hit.order_id for hit in hits if not hit.payment_id]
    of_orders = Payment.objects.filter(order_id__in=whole).values_list("pk", "created_at")
    newest = sorted({**named, **dict(of_orders)}.items(), key=lambda one: one[1], reverse=True)
    return [pk for pk, _ in newest[:MOST]], more or len(newest) > MOST


def searches(text: str) -> list[QuerySet[Any, Any]]:
    """The searches for orders and payments that this text's shapes ask for: rows of Hit."""
    return [one[: MOST + 1] for one in _by_shape(_plain(text))]


def break_searches(text: str) -> list[QuerySet[Break]]:
    """What only a break may know: a duplicate's charge, a stranger's intent, the refund of either; and, by
    amount or last four digits, the open ones that belong to no order: of those no row of ours has either."""
    text = _plain(text)
    if not text.startswith(_OF_STRIPE):
        return [one[: MOST + 1] for one in _strays_by_number(text)]
    known = Break.objects.order_by("-found_at")
    by_evidence = [{"intent": text}, {"charge": text}, {"refund": {"id": text}}]
    found = [known.filter(subject=text), *(known.filter(evidence__contains=one) for one in by_evidence)]
    return [one[: MOST + 1] for one in found]


def _strays_by_number(text: str) -> Iterator[QuerySet[Break]]:
    open_strays = Break.objects.filter(resolved_at=None, order=None).order_by("-found_at")
    if _FOUR_DIGITS.fullmatch(text):
        yield open_strays.filter(evidence__contains={"last4": text})
    for amount_minor, currencies in amounts_in(text):
        yield open_strays.filter(amount_minor=amount_minor, currency__in=currencies)


def _hits(text: str) -> tuple[list[Hit], list[Break], bool]:
    """What every search found, the breaks among it as they are, and whether one found more than MOST."""
    breaks = [list(one) for one in break_searches(text)]
    found = [[Hit(*row) for row in one] for one in searches(text)]
    found += [[Hit(row.order_id, row.payment_id, row.found_at) for row in rows if row.order_id] for rows in breaks]
    hits = [hit for rows in found for hit in rows[:MOST]]
    return hits, [row for rows in breaks for row in rows], any(len(rows) > MOST for rows in found)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """As typed or pasted, without what is around it: spaces, marks, or the rest of an order's address."""
    text = text.replace("\0", "").translate(_DASHES).strip()
    for shape in (_ADDRESS, _EMAIL):
        if within := shape.search(text):
            return within[within.lastindex or 0].partition("?")[0].strip(f"{_AROUND}.")
    bare = text.strip(_AROUND)
    named = _NAMED.fullmatch(bare)
    return named[1] if named else bare


def _by_shape(text: str) -> Iterator[QuerySet[Any, Any]]:
    if "@" in text:
        yield _orders(email__iexact=text)
    elif text:
        yield from _by_id_of_stripe(text)
        yield from _by_number(text)
        yield from _by_key(text)


def _by_id_of_stripe(text: str) -> Iterator[QuerySet[Any, Any]]:
    match text.partition("_")[0]:
        case "pi":
            yield _payments(gateway=_GATEWAY, intent_id=text)
        case "ch" | "py":
            yield _payments(gateway=_GATEWAY, charge_id=text)
            yield _attempts(charge_id=text)
        case "re" | "pyr":
            yield _refunds(refund_id=text)
        case "du" | "dp":
            yield _disputes(dispute_id=text)


def _by_number(text: str) -> Iterator[QuerySet[Any, Any]]:
    """An order's number, the last four digits, an amount: four digits may be two of them."""
    if number := _NUMBER.fullmatch(text.upper()):
        yield _orders(number=f"{number[1]}-{number[2]}")
    if _FOUR_DIGITS.fullmatch(text):
        yield _payments(card_last4=text)
    for amount_minor, currencies in amounts_in(text):
        yield _payments(amount_minor=amount_minor, currency__in=currencies)


def _by_key(text: str) -> Iterator[QuerySet[Any, Any]]:
    """A key may look like anything, so whatever was typed is looked for as one."""
    if _ID.fullmatch(text):
        yield from (search(pk=text) for search in (_orders, _payments, _attempts, _refunds))
    yield from (search(idempotency_key=text) for search in (_orders, _payments, _attempts, _refunds))
    if key := _GATEWAY_KEY.fullmatch(text):
        yield from _by_gateway_key(key[1], key[2])


def _by_gateway_key(act: str, rest: str) -> Iterator[QuerySet[Any, Any]]:
    """A key that we sent to Stripe, as its dashboard shows it. (That of a create is the payment's own key.)"""
    match act:
        case "confirm":
            yield _attempts(pk=rest)
        case "refund":
            yield _refunds(pk=rest)
        case "cancel":
            yield _payments(pk=rest)
        case "refund:dup" | "cancel:orphan":
            yield _breaks(subject=rest)


def _orders(**by: Any) -> QuerySet[Any, Any]:
    return Order.objects.filter(**by).order_by("-placed_at").values_list("pk", _ALL_PAYMENTS, "placed_at")


def _payments(**by: Any) -> QuerySet[Any, Any]:
    return Payment.objects.filter(**by).order_by("-created_at").values_list("order_id", "pk", "created_at")


def _attempts(**by: Any) -> QuerySet[Any, Any]:
    return Attempt.objects.filter(**by).order_by("-pressed_at").values_list("order_id", "payment_id", "pressed_at")


def _refunds(**by: Any) -> QuerySet[Any, Any]:
    found = Refund.objects.filter(**by).order_by("-created_at")
    return found.values_list("payment__order_id", "payment_id", "created_at")


def _disputes(**by: Any) -> QuerySet[Any, Any]:
    found = Dispute.objects.filter(**by).order_by("-opened_at")
    return found.values_list("payment__order_id", "payment_id", "opened_at")


def _breaks(**by: Any) -> QuerySet[Any, Any]:
    found = Break.objects.filter(order__isnull=False, **by).order_by("-found_at")
    return found.values_list("order_id", "payment_id", "found_at")


# --- amounts ----------------------------------------------------------------------------------------------------------


def amounts_in(text: str) -> list[tuple[int, list[str]]]:
    """What an amount on a statement may be, in minor units, and in which currencies: "24.00" and "24" are £24.00 and
    $24.00 and ¥24, never 24 pence. With a symbol or a code, before or after, only that currency is meant."""
    amount, named = read_amount(text)
    codes = [named] if named else list(CURRENCIES)
    if amount is None:
        return []
    meant = [(minor, code) for code in codes if (minor := _in_minor(amount, CURRENCIES[code])) is not None]
    meant.sort()
    return [(minor, [code for _, code in group]) for minor, group in groupby(meant, key=lambda one: one[0])]


def _in_minor(amount: Decimal, currency: Currency) -> int | None:
    minor = amount.scaleb(currency.decimals)
    return int(minor) if minor == minor.to_integral_value() and 0 < minor < 10**12 else None
