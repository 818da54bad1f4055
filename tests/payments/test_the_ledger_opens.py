"""Migrating a shop that has sold for a while: the ledger of the goods opens with what is there, and names what may have
been sold twice before it began."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from orders import ends
from orders.models import Order, OrderLine
from payments.models import Asker, Break
from payments.reconciliation.invariants import check_books
from payments.refund import follow_refunds
from shop.models import Product, StockMovement
from tests.book import Book
from tests.orders.making import give_up, make_order, make_product
from tests.payments.planting import payment_of
from tests.payments.test_goods_sold_meanwhile import fail_late, paid, refund

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [
    ("payments", "0016_a_break_has_one_name"),
    ("orders", "0008_a_mail_has_one_name"),
    ("shop", "0005_staff_acts_are_found_by_subject"),
]


@contextmanager
def the_version_before() -> Iterator[Any]:
    """The schema as it was, with the rows that are there; migrated again when the block ends. A cursor."""
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes()
    executor.migrate(BEFORE)
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        MigrationExecutor(connection).migrate(newest)


def held() -> dict[str, int]:
    return dict(OrderLine.objects.values_list("order__status", "held"))


def opening(product: Product) -> list[tuple[int, int]]:
    moves = StockMovement.objects.filter(product=product).order_by("id")
    assert {move.kind for move in moves} == {"opening"}
    return [(move.stock_difference, move.held_difference) for move in moves]


def test_what_is_there_becomes_the_opening_and_adds_up(book: Book) -> None:
    product, untouched = make_product(stock=20), make_product(stock=3)
    make_order((product, 2))
    paid((product, 2))
    for status in Order.CLOSED:
        give_up(make_order((product, 2)), status)
    assert refund(paid((product, 2))) == "succeeded"
    sent = paid((product, 2))
    with transaction.atomic():
        ends.fulfil(Order.objects.select_for_update().get(pk=sent.pk), timezone.now())

    with the_version_before():
        pass

    assert held() == {"pending": 2, "paid": 2, "canceled": 0, "expired": 0, "refunded": 0, "fulfilled": 0}
    assert opening(product) == [(14, 0), (0, 2), (0, 2)]
    assert opening(untouched) == [(3, 0)]
    assert check_books().found == []
    make_order((product, 1))
    assert Product.objects.get(pk=product.pk).stock == 13


def test_the_triggers_are_back_and_rows_of_the_version_before_meet_them(book: Book) -> None:
    """An order that is placed while the schema is the old one, as plain rows."""
    product = make_product(stock=5)
    order = make_order((product, 2))
    with the_version_before() as cursor:
        cursor.execute("UPDATE shop_product SET stock = stock - 1 WHERE id = %s", [product.pk])
        cursor.execute("UPDATE orders_orderline SET quantity = 3 WHERE order_id = %s", [order.pk])
    assert order.lines.get().held == 3
    with transaction.atomic():
        ends.end_unpaid(Order.objects.select_for_update().get(pk=order.pk), Order.Status.CANCELED, timezone.now())
    assert Product.objects.get(pk=product.pk).stock == 5
    with pytest.raises(Exception, match="its movements say"):
        OrderLine.objects.filter(order=order).update(held=3)
    with pytest.raises(Exception, match="append-only"):
        StockMovement.objects.update(note="otherwise")


def test_products_that_may_have_been_doubled_are_named_and_stay_named(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    doubled, short = make_product(sku="DOUBLED", stock=3), make_product(sku="SHORT", stock=1)
    order = paid((doubled, 2), (short, 1))
    assert refund(order) == "succeeded"
    paid((short, 1))
    fail_late(book, order)
    innocent = make_product(sku="INNOCENT", stock=9)
    never_failed, in_part, again = paid((innocent, 1)), paid((innocent, 1)), paid((innocent, 1))
    assert refund(never_failed) == "succeeded"
    part = book.dashboard_refund(book.succeeded(in_part.pk)[0]["id"], 100)
    for outcome in ("succeeded", "failed"):
        follow_refunds(payment_of(in_part), Asker.WEBHOOK)
        if outcome == "succeeded":
            book.end_refund(part["id"], "failed")
    with transaction.atomic():
        ends.fulfil(Order.objects.select_for_update().get(pk=again.pk), timezone.now())
    assert refund(again) == "succeeded"
    fail_late(book, again)  # it had left the house: nothing went back on sale
    capsys.readouterr()

    with the_version_before():
        pass

    said = capsys.readouterr().out
    assert f"DOUBLED: its stock may be too high. Count the shelf. Refunds failed late of: {order.number}, 2" in said
    assert "SHORT: its stock may be too high" in said and "INNOCENT" not in said
    named = Break.objects.filter(kind="stock", resolved_at=None).order_by("subject")
    assert [(one.subject, one.found_by) for one in named] == [("DOUBLED", "migration"), ("SHORT", "migration")]
    assert "Count the shelf" in named[0].proposal
    check_books()
    assert named.count() == 2  # the books add up from here on, and cannot say that it is gone


def test_nothing_is_said_about_a_shop_where_no_refund_failed_late(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refund(paid((make_product(), 1))) == "succeeded"
    capsys.readouterr()
    with the_version_before():
        pass
    assert "Count the shelf" not in capsys.readouterr().out
    assert not Break.objects.exists()
