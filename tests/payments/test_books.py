"""The nightly query (DESIGN section 4): a paid order whose payment is not what it says is a break, until it is."""

from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from orders.models import Order
from payments import tasks
from payments.books import check_books
from payments.models import Break
from tests.book import Book
from tests.orders.making import make_order
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
