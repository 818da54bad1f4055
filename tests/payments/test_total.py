"""An order's total is what its payment asks for: compared before anything is sent, and frozen by the database."""

import datetime

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from orders.models import Order, OrderLine
from payments import pay
from payments.errors import OtherAmount
from payments.leases import Lease
from payments.models import Attempt, Payment
from tests.book import CANCEL, CREATE, Book
from tests.payments.paying import complete, confirms, let_leases_end, placed_order, press
from tests.payments.planting import change_total

pytestmark = pytest.mark.django_db(transaction=True)


def phases(order: Order) -> list[tuple[int, str]]:
    return list(Payment.objects.filter(order=order).order_by("n").values_list("n", "phase"))


def assert_refused_and_then_paid(book: Book, order: Order, client: Client) -> None:
    answer = press(client, order)
    assert (answer.status_code, answer.json()["type"], answer.json()["retry"]) == (
        503,
        "/problems/unavailable",
        "same-key",
    )
    assert confirms(book, order) == [] and Attempt.objects.count() == 0
    assert press(client, order).status_code == 201
    assert [(one["amount"], one["currency"]) for one in book.succeeded(order.pk)] == [
        (order.total_minor, order.currency.lower())
    ]


@pytest.mark.parametrize("change", [{"total_minor": 4321}, {"currency": "EUR"}])
def test_a_payment_of_another_amount_is_canceled_at_stripe_and_the_next_one_is_right(
    book: Book, change: dict[str, object]
) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    change_total(order, **change)
    assert_refused_and_then_paid(book, order, client)
    assert phases(order) == [(1, "canceled"), (2, "succeeded")]
    assert sorted(one["status"] for one in book.intents(order.pk)) == ["canceled", "succeeded"]


def test_a_payment_of_another_amount_that_was_never_sent_never_is(book: Book) -> None:
    order, client = placed_order()
    pay.new_payment(order, 1)
    change_total(order)
    assert_refused_and_then_paid(book, order, client)
    assert phases(order) == [(1, "abandoned"), (2, "succeeded")]
    assert len([call for call in book.calls(order.pk, CREATE) if call["method"] == "POST"]) == 1


def test_while_stripe_does_not_cancel_nobody_pays_and_the_repair_goes_on(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    change_total(order)
    book.rule("503", CANCEL, times=None)
    assert press(client, order).status_code == 503
    assert press(client, order).json()["type"] == "/problems/payment-in-progress"
    book.clear_rules()
    complete(order)
    assert press(client, order).status_code == 201
    assert len(book.succeeded(order.pk)) == 1


def test_a_total_that_changes_after_the_claim_is_not_confirmed(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("reset", when="before", times=None)
    press(client, order)
    attempt = Attempt.objects.select_related("payment").get()
    Attempt.objects.update(phase="started", outcome="")
    claimed = pay.Claimed(attempt, Lease(Attempt, attempt.pk, attempt.lease_token), press=True)
    change_total(order)
    with pytest.raises(OtherAmount):
        pay._commit_confirming(claimed, attempt.payment)
    assert Attempt.objects.get().phase == "started"
    assert pay.confirm(claimed).outcome == "released"


def test_the_completer_confirms_no_other_amount_again_but_cancels_it(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    change_total(order)
    complete(order)
    assert (Attempt.objects.get().outcome, phases(order)) == ("canceled", [(1, "canceled")])
    assert book.succeeded(order.pk) == []


# --- frozen ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"total_minor": 1}, {"currency": "EUR"}])
def test_an_orders_total_and_currency_never_change(change: dict[str, object]) -> None:
    order, _ = placed_order()
    with pytest.raises(DatabaseError, match="is final"):
        Order.objects.filter(pk=order.pk).update(**change)


@pytest.mark.parametrize("column", ["quantity", "price_minor", "total_minor"])
def test_what_a_line_counts_and_costs_never_changes(column: str) -> None:
    order, _ = placed_order()
    with pytest.raises(DatabaseError, match="is final"):
        OrderLine.objects.filter(order=order).update(**{column: 77})


def test_everything_else_of_an_order_and_its_lines_may_change(book: Book) -> None:
    order, _ = placed_order()
    line = order.lines.get()
    order.name, line.name = "Somebody else", "Another name"
    order.save()
    line.save()
    Order.objects.filter(pk=order.pk).update(total_minor=order.total_minor, expires_at=timezone.now())
    order.refresh_from_db()
    assert order.expires_at - timezone.now() < datetime.timedelta(seconds=5)
    let_leases_end(order)
