"""Goods: every way in which they move for an order. To be read as a whole; nothing else changes `OrderLine.held`.

Whether a line holds its goods is a fact in its row, not a conclusion from the order's status: who gives goods back
gives back what is held and no more. Each move is for the caller's transaction, with the order's row locked by it, and
changes line and stock together, products in id order (RULES R37), with the movement that says so (shop/models.py).
A trigger refuses to commit a line whose movements do not add up to what it holds (orders/migrations/0010).
"""

import contextlib
from collections.abc import Iterable

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from orders.models import Order, OrderLine
from shop.models import Product, StockMovement

Kind = StockMovement.Kind

# `evidence["found_by"]` of the break that says: the order is paid, and could not take its goods again.
BREAK_OF_GOODS = "goods"


def hold_placed(lines: list[OrderLine]) -> list[OrderLine]:
    """Take the goods of a new order off the stock, by its lines in product-id order, which say already that they hold
    them. The lines that are short: then the caller must roll back. Every line is tried, so that all short ones are
    named."""
    short = [line for line in lines if not (line.product.on_sale and _off_stock(line))]
    if not short:
        _write(Kind.PLACED, lines, stock=-1, held=+1)
    return short


def give_back(order: Order) -> None:
    """What the order holds goes back on sale. What it does not hold any more, or has sent, does not."""
    returned = [line for line in _by_product(order) if _let_go(line)]
    for line in returned:
        Product.return_stock(line.product_id, line.quantity)
    _write(Kind.RETURNED, returned, stock=+1, held=-1)


def take(order: Order) -> bool:
    """Hold again what the order does not hold: every such line or, if one is short, none. Whether it holds all now."""
    with contextlib.suppress(_Short), transaction.atomic():
        taken = [line for line in _by_product(order) if _take_up(line)]
        for line in taken:
            if not _off_stock(line):
                raise _Short
        _write(Kind.TAKEN, taken, stock=-1, held=+1)
        if taken:
            _resolve_break(order)
        return True
    return False


def send_out(order: Order) -> None:
    """What the order holds leaves the house: it is gone, and comes back only as staff's correction of the stock."""
    sent = [line for line in _by_product(order) if _let_go(line)]
    _write(Kind.SENT, sent, stock=0, held=-1)


def are_missing(order: Order) -> bool:
    """Whether the order waits for its money or its parcel, and does not hold its goods."""
    waits = order.status in (Order.Status.PENDING, Order.Status.PAID)
    return waits and order.lines.filter(held=0).exists()


def short_in_words(order: Order) -> str:
    """The lines whose goods the order neither holds nor could take now, for staff; "" if there is none."""
    lines = order.lines.filter(held=0, product__stock__lt=F("quantity")).select_related("product")
    return ", ".join(f"{line.sku}: {line.product.stock} there, {line.quantity} needed" for line in lines)


class _Short(Exception):
    """A line is short."""


def _by_product(order: Order) -> Iterable[OrderLine]:
    return order.lines.order_by("product_id")


def _off_stock(line: OrderLine) -> bool:
    return Product.hold_stock(line.product_id, line.quantity)


def _let_go(line: OrderLine) -> bool:
    """Whether this call did it. The one conditional UPDATE that goods come back by; it holds all or nothing."""
    return OrderLine.objects.filter(pk=line.pk, held__gt=0).update(held=0) == 1


def _take_up(line: OrderLine) -> bool:
    """Whether this call did it."""
    return OrderLine.objects.filter(pk=line.pk, held=0).update(held=F("quantity")) == 1


def _write(kind: StockMovement.Kind, lines: list[OrderLine], *, stock: int, held: int) -> None:
    """One movement a line, in one statement. `stock`, `held`: +1 where the line's pieces came to it, -1 where they left
    it."""
    StockMovement.objects.bulk_create(
        StockMovement(
            product_id=line.product_id,
            kind=kind,
            stock_difference=stock * line.quantity,
            held_difference=held * line.quantity,
            order_id=line.order_id,
            line_id=line.pk,
        )
        for line in lines
    )


def _resolve_break(order: Order) -> None:
    missing = order.breaks.filter(resolved_at=None, evidence__found_by=BREAK_OF_GOODS)
    missing.update(resolved_at=timezone.now(), resolved_by=BREAK_OF_GOODS, note="the order has taken its goods")
