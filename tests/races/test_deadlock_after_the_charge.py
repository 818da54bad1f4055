"""A deadlock after the charge (RULES R37, R38; FAILURES 23): somebody locks against our order, and PostgreSQL makes
`settle` its victim. The money is taken; what is written of it is tried again, and never becomes "failed"."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection

from payments.models import Attempt, PaymentEvent
from payments.reconciliation.recovery import complete_due
from tests.book import Book
from tests.crashes.dying import in_background, wait_for_waiters
from tests.layers.pressing import opened_order
from tests.payments.paying import confirms, press
from tests.races.test_no_deadlock import deadlocks
from tests.races.truth import assert_one_truth, end_leases, wait_until
from tests.services import services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_try")]


@contextmanager
def somebody() -> Iterator[psycopg.Connection]:
    """Another program's session, which PostgreSQL never picks as the victim: it would look for deadlocks too late."""
    url = services().postgres.url(connection.settings_dict["NAME"])
    with psycopg.connect(url) as other:
        other.execute("SET idle_in_transaction_session_timeout = 0")
        other.execute("SET lock_timeout = 0")
        other.execute("SET statement_timeout = 0")
        other.execute("SET deadlock_timeout = '10min'")
        other.commit()
        yield other
        other.rollback()


def lock(other: psycopg.Connection, table: str, key: str) -> None:
    other.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE", [key])


def charged_and_deadlocked(book: Book, other: psycopg.Connection):
    """A press with Stripe's yes in hand holds the order and waits for the payment, which `other` holds while it waits
    for the order. Returns the order and the press that is still running, once the deadlock has been broken."""
    order, client = opened_order()
    book.rule("hold", when="after", hold="bank")
    pressing = in_background(press, client, order, order.pay_key)
    book.wait_until_held("bank")
    lock(other, "payments_payment", order.payments.get().pk)
    book.release("bank")
    wait_for_waiters(1)
    lock(other, "orders_order", order.pk)  # closes the circle; returns when settle has been made to let go
    return order, client, pressing


def test_a_settle_that_falls_victim_is_made_again_in_the_same_request(book: Book) -> None:
    before = deadlocks()
    with somebody() as other:
        order, _, pressing = charged_and_deadlocked(book, other)
        other.rollback()
        answer = pressing.result(60)
    wait_until(lambda: deadlocks() > before)
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded")
    assert len(confirms(book, order)) == 1
    assert assert_one_truth(book, order) == "paid"


def test_a_settle_that_never_gets_through_is_unknown_and_the_completer_finds_the_money(book: Book) -> None:
    before = deadlocks()
    with somebody() as other:
        order, client, pressing = charged_and_deadlocked(book, other)
        answer = pressing.result(60)  # the other tries wait in vain for the order
    wait_until(lambda: deadlocks() > before)
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    attempt = Attempt.objects.get(order=order)
    assert (attempt.phase, attempt.outcome) == ("confirming", "")
    end_leases(order)
    complete_due()
    assert press(client, order, order.pay_key).status_code == 201
    assert len(confirms(book, order)) == 1
    told = set(PaymentEvent.objects.filter(order=order, kind="settled").values_list("to_state", flat=True))
    assert told == {"succeeded"}
    assert assert_one_truth(book, order) == "paid"
