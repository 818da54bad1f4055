"""Refunds through the API, against the sandbox: once per key, never more than was captured, unknown is not failed."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.complete import complete_due
from payments.models import Asker, Payment, PaymentEvent, Refund
from payments.refund import follow_refunds
from shop.models import Product
from tests.book import Book
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

REFUNDS = "/v1/refunds"


@pytest.fixture
def staff() -> Client:
    client = Client(headers={"Accept": "application/json"})
    client.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    return client


@pytest.fixture
def paid(book: Book) -> Payment:
    order, client = placed_order(stock=10, quantity=2)
    assert press(client, order).status_code == 201
    return Payment.objects.select_related("order").get(order=order)


def refund(client: Client, payment: Payment, amount: int, key: str = "refund-1", **body: Any) -> Any:
    return client.post(
        f"/api/payments/{payment.pk}/refunds/",
        {"amount": amount, "reason": "requested_by_customer"} | body,
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )


def test_a_part_goes_back_once_however_often_it_is_asked_for(book: Book, staff: Client, paid: Payment) -> None:
    first, again = refund(staff, paid, 100), refund(staff, paid, 100)
    assert first.status_code == 201, first.content
    assert first.json()["status"] == "succeeded"
    assert again.content == first.content
    assert [r["amount"] for r in book.refunds(paid.order_id)] == [100]
    paid.refresh_from_db()
    assert paid.refunded_minor == 100
    assert Order.objects.get(pk=paid.order_id).status == "paid"


def test_the_whole_sum_in_parts_makes_the_order_refunded_and_the_goods_return_once(
    book: Book, staff: Client, paid: Payment
) -> None:
    product = Product.objects.get()
    assert product.stock == 8
    assert refund(staff, paid, 500, "a").status_code == 201
    assert refund(staff, paid, paid.amount_minor - 500, "b").status_code == 201
    order = Order.objects.get(pk=paid.order_id)
    product.refresh_from_db()
    assert (order.status, product.stock) == ("refunded", 10)
    follow_refunds(paid, Asker.WEBHOOK)
    product.refresh_from_db()
    assert product.stock == 10
    assert Mail.objects.filter(order=order, kind="refund").count() == 1


def test_more_than_is_left_is_refused_without_a_call(book: Book, staff: Client, paid: Payment) -> None:
    assert refund(staff, paid, paid.amount_minor - 10, "a").status_code == 201
    more = refund(staff, paid, 11, "b")
    assert (more.status_code, more.json()["type"], more.json()["left"]) == (409, "/problems/refund-too-large", 10)
    assert len(book.calls(path=REFUNDS)) == 1


def test_the_same_key_with_another_amount_is_refused(book: Book, staff: Client, paid: Payment) -> None:
    assert refund(staff, paid, 100).status_code == 201
    other = refund(staff, paid, 200)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert len(book.refunds(paid.order_id)) == 1


def test_a_lost_answer_is_unknown_and_keeps_its_amount_until_the_completer_has_it(
    book: Book, staff: Client, paid: Payment
) -> None:
    book.rule("reset", path=REFUNDS, when="after", times=10)
    lost = refund(staff, paid, paid.amount_minor)
    assert (lost.status_code, lost.json()["status"]) == (202, "unknown")
    assert refund(staff, paid, 1, "second").status_code == 409
    book.clear_rules()
    Refund.objects.update(next_look_at=timezone.now())
    complete_due(Asker.COMPLETER)
    row = Refund.objects.get()
    assert (row.outcome, row.phase) == ("succeeded", "finished")
    assert len(book.refunds(paid.order_id)) == 1
    assert Order.objects.get(pk=paid.order_id).status == "refunded"


def test_a_refund_in_the_dashboard_is_adopted_once(book: Book, staff: Client, paid: Payment) -> None:
    charge = book.succeeded(paid.order_id)[0]["id"]
    book.dashboard_refund(charge, 300)
    for _ in range(3):
        assert follow_refunds(paid, Asker.WEBHOOK)
    row = Refund.objects.get()
    assert (row.amount_minor, row.outcome, row.fingerprint) == (300, "succeeded", "")
    paid.refresh_from_db()
    assert paid.refunded_minor == 300
    left = refund(staff, paid, paid.amount_minor - 299)
    assert left.status_code == 409


@pytest.mark.parametrize("who", ["guest", "user", "staff without the permission"])
def test_nobody_else_may_refund(book: Book, paid: Payment, who: str) -> None:
    client = Client()
    if who != "guest":
        client.force_login(User.objects.create_user("someone", is_staff=who.startswith("staff")))
    answer = refund(client, paid, 1)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert Refund.objects.count() == 0
    assert book.calls(path=REFUNDS) == []


def test_the_story_names_the_clerk_and_the_call(book: Book, staff: Client, paid: Payment) -> None:
    refund(staff, paid, 100)
    told = PaymentEvent.objects.filter(order=paid.order_id, kind__in=["refund", "call:refund"])
    assert {(event.kind, event.actor) for event in told} == {("refund", "clerk"), ("call:refund", "clerk")}
