"""Refunds through the API, against the sandbox: once per key, never more than was captured, unknown is not failed."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.gateways.base import gateway
from payments.gateways.transport import Deadline
from payments.models import Asker, Break, Payment, PaymentEvent, Refund
from payments.reconciliation.recovery import complete_due
from payments.refund import _write_list, follow_refunds
from payments.row_lock import give_back_connections
from shop.models import Product, StaffAct
from tests.book import Book
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

REFUNDS = "/v1/refunds"


@pytest.fixture
def staff() -> Client:
    client = Client(headers={"Accept": "application/json"})
    client.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    return client


def paid_by(token: str) -> Payment:
    order, client = placed_order(stock=10, quantity=2)
    assert press(client, order, token=token).status_code == 201
    return Payment.objects.select_related("order").get(order=order)


@pytest.fixture
def paid(book: Book) -> Payment:
    return paid_by("pm_card_visa")


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
    told_of = Mail.objects.filter(order=order, kind="refund").values_list("subject", flat=True)
    assert sorted(told_of) == sorted(Refund.objects.values_list("pk", flat=True))


def test_more_than_is_left_is_refused_without_a_call(book: Book, staff: Client, paid: Payment) -> None:
    assert refund(staff, paid, paid.amount_minor - 10, "a").status_code == 201
    more = refund(staff, paid, 11, "b")
    assert (more.status_code, more.json()["type"], more.json()["left"]) == (409, "/problems/refund-too-large", 10)
    assert len(posted(book)) == 1


def posted(book: Book) -> list[Any]:
    return [call for call in book.calls(path=REFUNDS) if call["method"] == "POST"]


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


def test_a_pending_refund_is_told_as_pending_and_its_end_is_followed(book: Book, staff: Client) -> None:
    paid = paid_by("pm_card_pendingRefund")
    answer = refund(staff, paid, paid.amount_minor)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    assert Order.objects.get(pk=paid.order_id).status == "paid"
    assert refund(staff, paid, 1, "second").status_code == 409
    book.end_refund(book.refunds(paid.order_id)[0]["id"], "succeeded")
    Refund.objects.update(next_look_at=timezone.now())
    complete_due(Asker.COMPLETER)
    assert Refund.objects.get().outcome == "succeeded"
    assert Order.objects.get(pk=paid.order_id).status == "refunded"
    assert len(book.calls(path=REFUNDS)) >= 2
    assert len(book.refunds(paid.order_id)) == 1


def test_a_refund_that_fails_after_it_succeeded_frees_its_amount_and_staff_see_it(
    book: Book, staff: Client, paid: Payment
) -> None:
    assert refund(staff, paid, paid.amount_minor).json()["status"] == "succeeded"
    book.end_refund(book.refunds(paid.order_id)[0]["id"], "failed")
    for _ in range(2):
        assert follow_refunds(paid, Asker.WEBHOOK)
    paid.refresh_from_db()
    assert (paid.refunded_minor, Refund.objects.get().outcome) == (0, "failed")
    assert Order.objects.get(pk=paid.order_id).status == "paid"
    assert Product.objects.get().stock == 8
    assert Break.objects.filter(kind="status").count() == 1
    assert refund(staff, paid, paid.amount_minor, "another-key").status_code == 201


def test_an_older_list_never_takes_an_outcome_back(book: Book, staff: Client) -> None:
    paid = paid_by("pm_card_pendingRefund")
    refund(staff, paid, 100)
    give_back_connections()
    old = gateway().list_refunds(Deadline(5), [], intent_id=paid.intent_id or "")
    book.end_refund(book.refunds(paid.order_id)[0]["id"], "succeeded")
    follow_refunds(paid, Asker.WEBHOOK)
    _write_list(paid, old, [], Asker.WEBHOOK)
    assert Refund.objects.get().outcome == "succeeded"
    paid.refresh_from_db()
    assert paid.refunded_minor == 100


def test_twenty_clerks_with_twenty_keys_never_give_back_more_than_was_captured(book: Book, paid: Payment) -> None:
    user = User.objects.create_superuser("clerk", "clerk@example.com", "a long password")
    part = paid.amount_minor * 6 // 10
    clients = [Client() for _ in range(20)]
    for client in clients:
        client.force_login(user)
    barrier = Barrier(20)

    def ask(n: int) -> int:
        try:
            client = clients[n]
            barrier.wait()
            return int(refund(client, paid, part, f"key-{n}").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as crowd:
        answers = list(crowd.map(ask, range(20)))
    assert answers.count(201) == 1
    assert set(answers) <= {201, 409, 503}  # 503: on a busy machine no connection was free in time; nothing was done
    assert [r["amount"] for r in book.refunds(paid.order_id)] == [part]


def test_a_refund_by_the_api_leaves_its_audit_row_and_a_replay_none(book: Book, staff: Client, paid: Payment) -> None:
    for _ in range(2):
        assert refund(staff, paid, 100).status_code == 201
    assert refund(staff, paid, 10**6, key="refund-2").status_code == 409
    row = StaffAct.objects.get()
    assert (row.act, row.order_id, row.address, row.note) == ("refund", paid.order_id, "127.0.0.1", "by the API")
    assert (row.before["refunds"], list(row.after["refunds"].values())) == ({}, [["confirming", 100]])


def test_who_is_no_longer_of_staff_gives_no_money_back(book: Book, paid: Payment) -> None:
    client = Client()
    user = User.objects.create_user("left", password="a long password")
    user.user_permissions.add(Permission.objects.get(codename="refund_payment"))
    client.force_login(user)
    assert refund(client, paid, 100).status_code == 403
    assert book.refunds(paid.order_id) == []
