"""The nightly query (DESIGN section 4): a paid order whose payment is not what it says is a break, until it is; and so
is a product whose stock its movements do not explain."""

from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orders.ends import fulfil
from orders.models import Order
from payments import tasks
from payments.models import Break
from payments.reconciliation.invariants import _stock_differences, check_books
from shop.models import Product, StockMovement
from tests.book import Book
from tests.orders.making import give_up, make_order, make_product
from tests.payments.planting import no_triggers, open_breaks, paid_order, payment_of, sweep_payments, swept, tamper

pytestmark = pytest.mark.django_db(transaction=True)


def rewrite(order: Order, **columns: Any) -> None:
    """Written past settling: by hand, by a bug, by a restored backup."""
    with no_triggers() as cursor:
        for column, value in columns.items():
            cursor.execute(f"UPDATE orders_order SET {column} = %s WHERE id = %s", [value, order.pk])


def without_checks(payment: Any, **columns: Any) -> None:
    """Also past our CHECK constraints, as a backup from before them."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payments_payment DROP CONSTRAINT captured_at_most_amount")
        try:
            tamper(payment, **columns)
        finally:
            cursor.execute(
                "ALTER TABLE payments_payment ADD CONSTRAINT captured_at_most_amount"
                " CHECK (captured_minor <= amount_minor) NOT VALID"
            )


def test_rows_as_settling_leaves_them_are_no_break(book: Book) -> None:
    paid_order()
    make_order()
    make_order(status="expired")
    refunded = paid_order()
    rewrite(refunded, status="refunded")
    assert check_books().found == []
    assert open_breaks() == []


@pytest.mark.parametrize("status", ["paid", "fulfilled", "refunded"])
def test_a_paid_order_without_a_payment_is_a_status_break_until_it_is_right(book: Book, status: str) -> None:
    order = make_order()
    rewrite(order, status=status)
    assert check_books().changed == 1
    assert check_books().changed == 0  # the same finding is one row
    assert open_breaks() == [("status", order.pk)]
    rewrite(order, status="pending")
    assert check_books().changed == 1
    assert open_breaks() == []
    assert Break.objects.get().resolved_by == "books"


@pytest.mark.parametrize("phase", ["open", "closing", "canceled", "abandoned"])
def test_a_paid_order_whose_payment_did_not_succeed_is_a_status_break(book: Book, phase: str) -> None:
    order = paid_order()
    tamper(payment_of(order), phase=phase)
    check_books()
    assert open_breaks() == [("status", order.pk)]
    found = Break.objects.get()
    assert (found.order, found.payment) == (order, payment_of(order))
    assert found.evidence["intent"] == payment_of(order).intent_id


@pytest.mark.parametrize("columns", [{"captured_minor": 1249}, {"captured_minor": 1251}, {"currency": "EUR"}])
def test_another_amount_or_currency_than_the_orders_is_an_amount_break(book: Book, columns: dict[str, Any]) -> None:
    order = paid_order()
    without_checks(payment_of(order), **columns)
    check_books()
    assert open_breaks() == [("amount", order.pk)]
    without_checks(payment_of(order), captured_minor=1250, currency="GBP")
    check_books()
    assert open_breaks() == []


def test_a_total_that_was_changed_after_payment_is_a_break_and_the_sweep_does_not_close_it(book: Book) -> None:
    """Stripe and our payment agree, so the sweep sees nothing; it must not say that the books' break is gone."""
    order = paid_order()
    rewrite(order, total_minor=9999)
    check_books()
    swept()
    assert open_breaks() == [("amount", order.pk)]


def test_sweep_payments_runs_it_and_a_dry_run_writes_nothing(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    order = make_order()
    rewrite(order, status="paid")
    code, said, _ = sweep_payments(capsys, "--dry-run")
    assert (code, [found["order"] for found in said["breaks"]]) == (1, [order.pk])
    assert open_breaks() == []
    code, said, _ = sweep_payments(capsys)
    assert (code, said["changed"], [found["kind"] for found in said["breaks"]]) == (1, 1, ["status"])
    rewrite(order, status="pending")
    assert sweep_payments(capsys)[0] == 0


def test_the_beat_runs_it_once_a_day() -> None:
    beaten = settings.CELERY_BEAT_SCHEDULE["check-books"]
    assert beaten["task"] == tasks.check_books.name
    assert (beaten["schedule"].hour, beaten["schedule"].minute) == ({3}, {17})
    order = make_order()
    rewrite(order, status="paid")
    tasks.check_books()
    assert open_breaks() == [("status", order.pk)]


def test_what_a_person_has_resolved_as_it_is_stays_resolved(book: Book) -> None:
    order = make_order()
    rewrite(order, status="paid")
    check_books()
    Break.objects.update(resolved_at=order.placed_at, resolved_by="clerk", accepted=True)
    assert check_books().changed == 0
    assert open_breaks() == []


# --- goods ------------------------------------------------------------------------------------------------------------


def stock_break() -> Break:
    return Break.objects.get(kind="stock", resolved_at=None)


def bought_and_corrected() -> Product:
    """A product with some history: 10 came, 1 sent, 2 returned, 3 held, 1 broken."""
    product = make_product(sku="PEN", stock=10)
    sent, returned = make_order((product, 1), status="paid"), make_order((product, 2))
    make_order((product, 3))
    give_up(returned, "canceled")
    with transaction.atomic():
        fulfil(Order.objects.select_for_update().get(pk=sent.pk), timezone.now())
    Product.correct_stock(product.pk, -1)
    StockMovement.objects.create(product=product, kind="corrected", stock_difference=-1, note="broken")
    return Product.objects.get(pk=product.pk)


def stock_found() -> list[Any]:
    return [found for found in check_books().found if found.kind == "stock"]


def test_a_product_with_a_history_adds_up() -> None:
    assert bought_and_corrected().stock == 5
    assert stock_found() == []


def test_a_stock_that_was_written_past_the_ledger_is_a_break_that_names_the_product_until_it_is_right() -> None:
    product, other = bought_and_corrected(), make_product(stock=3)
    Product.objects.filter(pk=product.pk).update(stock=7)
    [found] = stock_found()
    assert (found.subject, found.order, found.payment, found.amount_minor) == ("PEN", None, None, None)
    row = stock_break()
    assert (row.order, row.payment, row.amount_minor, row.found_by) == (None, None, None, "books")
    assert row.evidence["stock_off_by"] == 2
    assert "PEN: 7 are free to be bought, and its movements say 5 (+2)" in row.proposal
    assert "Count the shelf: 10 should be there" in row.proposal  # 7 free and 3 held
    assert check_books().changed == 0  # the same finding is one row

    Product.objects.filter(pk=product.pk).update(stock=5)
    assert check_books().changed == 1
    assert Break.objects.get(kind="stock").resolved_by == "books"
    assert other.stock == 3


def test_goods_that_are_held_past_the_ledger_are_a_break_too() -> None:
    product = bought_and_corrected()
    with no_triggers() as cursor:
        cursor.execute("UPDATE orders_orderline SET held = 0 WHERE held = 3")
    stock_found()
    assert stock_break().evidence["held_off_by"] == -3
    assert "orders hold 0, and its movements say 3 (-3)" in stock_break().proposal
    assert product.sku == stock_break().subject


def test_a_break_that_stays_open_says_what_is_so_now() -> None:
    product = bought_and_corrected()
    Product.objects.filter(pk=product.pk).update(stock=7)
    check_books()
    Product.objects.filter(pk=product.pk).update(stock=8)
    assert check_books().changed == 0
    assert stock_break().evidence["stock_off_by"] == 3
    assert "8 are free to be bought" in stock_break().proposal


def test_a_difference_that_a_person_has_accepted_stays_accepted_only_while_it_is_as_large() -> None:
    """The stock itself moves every day; what was accepted is the difference."""
    product = bought_and_corrected()
    Product.objects.filter(pk=product.pk).update(stock=7)
    check_books()
    Break.objects.update(resolved_at=timezone.now(), resolved_by="clerk", accepted=True)
    make_order((product, 1))
    assert check_books().changed == 0
    Product.objects.filter(pk=product.pk).update(stock=7)
    assert check_books().changed == 1
    assert stock_break().evidence["stock_off_by"] == 3


def test_products_are_checked_by_one_statement_however_many_there_are(django_assert_num_queries: Any) -> None:
    for _ in range(5):
        make_order((make_product(stock=3), 1))
    with django_assert_num_queries(4):  # BEGIN, the time it may take, all products, COMMIT
        assert list(_stock_differences()) == []


def test_the_commands_and_the_dashboard_show_a_stock_break_without_order_payment_or_amount(
    book: Book, capsys: pytest.CaptureFixture[str], admin_client: Client
) -> None:
    make_product(sku="PEN", stock=3)
    Product.objects.update(stock=4)
    _, said, _ = sweep_payments(capsys, "--dry-run")
    assert said["breaks"] == [
        {
            "kind": "stock",
            "order": None,
            "payment": None,
            "intent": "PEN",
            "amount": None,
            "currency": "",
            "age_seconds": 0,
        }
    ]
    code, said, _ = sweep_payments(capsys)
    assert (code, [found["kind"] for found in said["breaks"]]) == (1, ["stock"])
    row = stock_break()
    for page in (
        reverse("desk:dashboard"),
        reverse("admin:payments_break_changelist"),
        reverse("admin:payments_break_change", args=[row.pk]),
        reverse("desk:resolve-break", args=[row.pk]),
        reverse("desk:take-break", args=[row.pk]),
    ):
        shown = admin_client.get(page)
        assert shown.status_code == 200, page
        assert "The stock of a product does not add up" in shown.content.decode(), page
    swept()
    assert stock_break().pk == row.pk  # the sweep knows nothing of goods, and leaves it alone
