"""Books: is every paid order paid, and is every piece where the ledger of the goods says, by our own rows? Settling and
orders/goods.py see to both; this finds what was written past them.

`paid` means: its payment succeeded, with the order's total captured, in the order's currency (DESIGN section 4). A
product adds up when its stock is the sum of its movements, and so is what lines of orders hold of it: then stock, held
and gone are what has come in. Asked of the database alone, once a day, so it also works while Stripe does not answer;
the sweep asks Stripe's book.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Exists, F, IntegerField, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from orders.models import Order, OrderLine
from payments.breaks import BY_BOOKS, Difference, open_break
from payments.models import Break, Payment
from shop.models import Product, StockMovement
from shop.money import money_text

log = structlog.get_logger(__name__)

_FOUND_AT_MOST = 1000  # in one round; more than this is one finding, and no list is needed to see it


@dataclass
class Checked:
    """What a round found, and how many breaks it opened or resolved."""

    found: list[Difference] = field(default_factory=list)
    changed: int = 0


def check_books(*, dry_run: bool = False) -> Checked:
    """Open a break for each paid order that is not and each product that does not add up, and resolve those of an
    earlier round that are gone."""
    orders, products = list(_differences()), list(_stock_differences())
    checked = Checked(found=[*orders, *products])
    if dry_run:
        return checked
    was_open = {(found.kind, found.subject) for found in _open_breaks()}
    for difference in checked.found:
        found = open_break(difference)
        if found.resolved_at is not None or found.found_by != BY_BOOKS:
            continue  # a person has accepted it, or has it to look into already
        if (found.kind, found.subject) in was_open:
            _renew(found, difference)
            continue
        checked.changed += 1
        _say(difference)
    if max(len(orders), len(products)) < _FOUND_AT_MOST:  # else there are more, and absence proves nothing
        checked.changed += _resolve_gone({(one.kind.value, one.subject) for one in checked.found})
    return checked


def _say(difference: Difference) -> None:
    if difference.kind == Break.Kind.STOCK:
        log.error("stock_differs", sku=difference.subject, proposal=difference.proposal)
    else:
        log.error("books_differ", order=difference.subject, proposal=difference.proposal)


def _renew(found: Break, difference: Difference) -> None:
    """One that has been open since an earlier round says what is so now: the stock moves every day."""
    if difference.says and (evidence := difference.as_break().evidence) != found.evidence:
        Break.objects.filter(pk=found.pk, resolved_at=None).update(evidence=evidence)


def _open_breaks() -> QuerySet[Break]:
    return Break.objects.filter(resolved_at=None, evidence__found_by=BY_BOOKS)


def _resolve_gone(still: set[tuple[str, str]]) -> int:
    """How many."""
    gone = [found.pk for found in _open_breaks() if (found.kind, found.subject) not in still]
    return Break.objects.filter(pk__in=gone, resolved_at=None).update(
        resolved_at=timezone.now(), resolved_by=BY_BOOKS, note="a later round found it gone"
    )


def _not_really_paid() -> QuerySet[Order]:
    good = Payment.objects.filter(
        order=OuterRef("pk"),
        phase=Payment.Phase.SUCCEEDED,
        captured_minor=OuterRef("total_minor"),
        currency=OuterRef("currency"),
    )
    return Order.objects.filter(status__in=Order.PAID).exclude(Exists(good))


def _differences() -> Iterator[Difference]:
    for order in _not_really_paid().order_by("-placed_at")[:_FOUND_AT_MOST]:
        taken = order.payments.filter(phase=Payment.Phase.SUCCEEDED).first()
        yield _amount(order, taken) if taken else _status(order)


def _amount(order: Order, taken: Payment) -> Difference:
    captured = money_text(taken.captured_minor, taken.currency)
    proposal = (
        f"The order is {order.status}, and costs {order.total_text}; its payment took {captured}: find out who wrote"
        " these rows before the goods go out."
    )
    return _difference(Break.Kind.AMOUNT, order, taken, (taken.captured_minor, taken.currency), proposal)


def _status(order: Order) -> Difference:
    newest = order.payments.order_by("-n").first()
    phase = newest.phase if newest else "not there"
    proposal = f"The order is {order.status}, and its payment is {phase}: ask Stripe before the goods go out."
    return _difference(Break.Kind.STATUS, order, newest, (order.total_minor, order.currency), proposal)


def _difference(
    kind: Break.Kind, order: Order, payment: Payment | None, amount: tuple[int, str], proposal: str
) -> Difference:
    """Its subject is the order: the sweep, which knows intents and charges, leaves it alone."""
    amount_minor, currency = amount
    evidence: dict[str, object] = {"found_by": BY_BOOKS, "intent": (payment.intent_id or "") if payment else ""}
    return Difference(
        kind=kind,
        subject=order.pk,
        order=order,
        payment=payment,
        amount_minor=amount_minor,
        currency=currency,
        proposal=proposal,
        evidence=evidence,
    )


# --- goods ------------------------------------------------------------------------------------------------------------


def _stock_differences() -> Iterator[Difference]:
    """The ledger grows for ever, and this reads all of it: it may take longer than a page may."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '5min'")
        found = list(_not_adding_up()[:_FOUND_AT_MOST])
    for product in found:
        yield _stock(product.sku, product.stock, product.moved, product.held, product.moved_held)


def _not_adding_up() -> QuerySet[Any]:
    """Products whose stock, or what is held of them, is not what their movements say. One statement, so that a sale in
    the middle of it is seen whole or not at all."""
    movements, lines = StockMovement.objects.all(), OrderLine.objects.filter(held__gt=0)
    return (
        Product.objects.annotate(
            moved=_sum_of(movements, "stock_difference"),
            held=_sum_of(lines, "held"),
            moved_held=_sum_of(movements, "held_difference"),
        )
        .exclude(stock=F("moved"), held=F("moved_held"))
        .order_by("sku")
    )


def _sum_of(rows: QuerySet[Any], column: str) -> Coalesce:
    """Of the product's rows; 0 where it has none."""
    of_product = rows.filter(product=OuterRef("pk")).order_by().values("product")
    return Coalesce(Subquery(of_product.annotate(sum=Sum(column)).values("sum")), 0, output_field=IntegerField())


def _stock(sku: str, stock: int, moved: int, held: int, moved_held: int) -> Difference:
    """Its subject is the sku. Accepted is only a difference that is still as large as when a person accepted it."""
    parts = []
    if stock != moved:
        parts.append(f"{stock} are free to be bought, and its movements say {moved} ({stock - moved:+d})")
    if held != moved_held:
        parts.append(f"orders hold {held}, and its movements say {moved_held} ({held - moved_held:+d})")
    proposal = (
        f"{sku}: {'; '.join(parts)}. Somebody wrote these rows past the shop. Count the shelf: {stock + held} should be"
        " there. If not, correct the stock by the difference; then find out who wrote it."
    )
    evidence: dict[str, object] = {"found_by": BY_BOOKS, "stock": stock, "held": held}
    says: dict[str, object] = {"stock_off_by": stock - moved, "held_off_by": held - moved_held}
    return Difference(Break.Kind.STOCK, sku, None, None, None, "", proposal, evidence, says=says)
