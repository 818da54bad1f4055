"""Whether an order holds its goods is a fact in its lines: it moves with the stock, with a movement that says so."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from orders import ends, goods
from orders.models import Order, OrderLine
from shop.models import Product, StockMovement
from tests.orders.making import make_order, make_product

pytestmark = pytest.mark.django_db(transaction=True)


def locked(order: Order) -> Order:
    return Order.objects.select_for_update(no_key=True).get(pk=order.pk)


def do(order: Order, act: Any, *args: Any) -> Any:
    with transaction.atomic():
        return act(locked(order), *args)


def held(order: Order) -> list[int]:
    return list(order.lines.order_by("product_id").values_list("held", flat=True))


def stocks() -> list[int]:
    return list(Product.objects.order_by("pk").values_list("stock", flat=True))


def told(order: Order) -> list[tuple[str, int, int]]:
    """The movements of its lines: kind, how many more in stock, how many more held."""
    moves = StockMovement.objects.filter(order_id=order.pk).order_by("id")
    return list(moves.values_list("kind", "stock_difference", "held_difference"))


def paid_order(*goods_: tuple[Product, int]) -> Order:
    order = make_order(*goods_)
    assert do(order, ends.mark_paid, timezone.now())
    return order


def test_a_placed_order_holds_its_goods_and_the_ledger_says_so():
    book, pen = make_product(stock=9), make_product(stock=5)
    order = make_order((book, 2), (pen, 1))
    assert (held(order), stocks()) == ([2, 1], [7, 4])
    assert told(order) == [("placed", -2, 2), ("placed", -1, 1)]
    lines = dict(order.lines.values_list("pk", "product_id"))
    moved = StockMovement.objects.filter(order_id=order.pk)
    assert {move.line_id: move.product_id for move in moved} == lines
    opened = StockMovement.objects.filter(kind="opening").order_by("id")
    assert [(move.product_id, move.stock_difference) for move in opened] == [(book.pk, 9), (pen.pk, 5)]


@pytest.mark.parametrize("status", Order.CLOSED)
def test_what_an_order_holds_goes_back_when_it_ends_unpaid(status):
    order = make_order((make_product(stock=9), 2))
    assert do(order, ends.end_unpaid, status, timezone.now())
    assert (held(order), stocks()) == ([0], [9])
    assert told(order)[1:] == [("returned", 2, -2)]


def test_an_order_that_does_not_hold_its_goods_gives_none_back_whatever_its_status_says():
    order = paid_order((make_product(stock=9), 2))
    do(order, goods.give_back)
    assert stocks() == [9]
    assert do(order, ends.refund_whole, timezone.now())
    assert (held(order), stocks()) == ([0], [9])


def test_goods_that_were_sent_are_gone_and_come_back_by_no_refund():
    order = paid_order((make_product(stock=9), 2))
    assert do(order, ends.fulfil, timezone.now())
    assert (held(order), stocks(), told(order)[1:]) == ([0], [7], [("sent", 0, -2)])
    assert do(order, ends.refund_whole, timezone.now())
    assert do(order, ends.refund_undone)
    order.refresh_from_db()
    assert (order.status, held(order), stocks()) == ("fulfilled", [0], [7])
    assert len(told(order)) == 2


def test_a_refund_undone_takes_every_line_again():
    order = paid_order((make_product(stock=9), 2), (make_product(stock=5), 1))
    assert do(order, ends.refund_whole, timezone.now())
    assert stocks() == [9, 5]
    assert do(order, ends.refund_undone)
    assert (held(order), stocks()) == ([2, 1], [7, 4])
    assert told(order)[-2:] == [("taken", -2, 2), ("taken", -1, 1)]
    assert not goods.are_missing(Order.objects.get(pk=order.pk))


@pytest.mark.parametrize("short", [0, 1])
def test_with_one_line_short_none_is_taken_and_none_comes_back_a_second_time(short):
    """One short line used to put every line of the order on sale twice."""
    order = paid_order((make_product(stock=2), 2), (make_product(stock=2), 2))
    assert do(order, ends.refund_whole, timezone.now())
    somebody = make_order((Product.objects.order_by("pk")[short], 1))
    assert do(order, ends.refund_undone)
    order.refresh_from_db()
    assert (order.status, held(order), goods.are_missing(order)) == ("paid", [0, 0], True)
    assert goods.short_in_words(order) == f"{order.lines.all()[short].sku}: 1 there, 2 needed"
    assert do(order, ends.refund_whole, timezone.now())
    assert sum(stocks()) == 3 and held(somebody) == [1]


def test_lines_that_are_held_already_stay_held_when_the_others_are_taken():
    order = paid_order((make_product(stock=2), 2), (make_product(stock=2), 2))
    do(order, goods.give_back)
    first = order.lines.order_by("product_id")[0]
    with transaction.atomic():
        assert goods._take_up(first) and goods._off_stock(first)
        goods._write(StockMovement.Kind.TAKEN, [first], stock=-1, held=1)
    assert do(order, goods.take)
    assert (held(order), stocks()) == ([2, 2], [0, 0])


def test_a_revived_order_holds_its_goods_again_or_stays_as_it_is():
    product = make_product(stock=2)
    order = make_order((product, 2))
    assert do(order, ends.end_unpaid, Order.Status.EXPIRED, timezone.now())
    other = make_order((product, 1))
    assert not do(order, ends.revive, timezone.now())
    order.refresh_from_db()
    assert (order.status, held(order), stocks()) == ("expired", [0], [1])
    assert do(other, ends.end_unpaid, Order.Status.CANCELED, timezone.now())
    assert do(order, ends.revive, timezone.now())
    order.refresh_from_db()
    assert (order.status, held(order), stocks()) == ("paid", [2], [0])


# --- the database stands behind it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_now", [0, 1, 3])
def test_a_line_that_changes_what_it_holds_without_a_movement_is_not_committed(held_now):
    order = make_order((make_product(stock=9), 2))
    with pytest.raises(IntegrityError):
        OrderLine.objects.filter(order=order).update(held=held_now)
    assert held(order) == [2]


@pytest.mark.parametrize(
    "move",
    [
        {"kind": "returned", "stock_difference": 2, "held_difference": -2},
        {"kind": "taken", "stock_difference": -2, "held_difference": 2},
        {"kind": "sent", "held_difference": -2},
    ],
)
def test_a_movement_whose_line_stays_as_it_is_is_not_committed(move):
    order = make_order((make_product(stock=9), 2))
    line = order.lines.get()
    with pytest.raises(IntegrityError, match="its movements say"):
        StockMovement.objects.create(product_id=line.product_id, order_id=order.pk, line_id=line.pk, **move)
    assert len(told(order)) == 1


def test_a_placement_that_writes_no_movement_is_not_committed(monkeypatch):
    product = make_product(stock=9)
    monkeypatch.setattr(goods, "_write", lambda *_, **__: None)
    with pytest.raises(IntegrityError, match="its movements say 0"):
        make_order((product, 2))
    assert stocks() == [9] and not Order.objects.exists()


@pytest.mark.parametrize(
    "move",
    [
        {"kind": "placed", "stock_difference": -2, "held_difference": 1},
        {"kind": "taken", "stock_difference": 2, "held_difference": -2},
        {"kind": "returned", "stock_difference": 0, "held_difference": -2},
        {"kind": "sent", "stock_difference": 1, "held_difference": -2},
        {"kind": "corrected", "stock_difference": 1, "held_difference": -2},
        {"kind": "opening", "stock_difference": -1},
        {"kind": "lost", "stock_difference": -1},
    ],
)
def test_goods_move_only_as_their_kind_says(move):
    line = make_order((make_product(stock=9), 2)).lines.get()
    with pytest.raises(IntegrityError, match="goods_move_as_their_kind_says"):
        StockMovement.objects.create(product_id=line.product_id, line_id=line.pk, **move)


def test_goods_are_held_by_a_line_or_not_at_all():
    with pytest.raises(IntegrityError, match="goods_are_held_by_a_line"):
        StockMovement.objects.create(product=make_product(), kind="sent", held_difference=-2)
