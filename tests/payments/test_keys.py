"""Layer 2 at the pay route: the key's syntax and scope, the fingerprint, what is looked at in which order
(RULES R1-R9, R11-R15, R21, R26, R27; SECURITY SE2, SE7, SE9, SE14, SE29, SE41-SE45; FAILURES 31, 32, 37, 40, 80)."""

import json
import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from orders.models import Order
from orders.ownership import Shopper
from payments.models import Attempt, Payment, PaymentEvent
from tests.book import Book
from tests.oracles import assert_books_agree
from tests.orders.making import make_attempt, make_cart, make_guest, make_product, post_order
from tests.payments.paying import cancel, client_of, confirms, let_leases_end, placed_order, press, start_over

pytestmark = pytest.mark.django_db(transaction=True)


def send(client: Client, order: Order, headers: dict[str, str] | None = None, body: Any = None, **options: Any) -> Any:
    """A press in every detail; with no headers and body it is a right one."""
    right = {"payment_token": "pm_card_visa", "amount": order.total_minor, "currency": order.currency}
    return client.post(
        f"/api/orders/{order.pk}/payments/",
        body if body is not None else right,
        content_type=options.pop("content_type", "application/json"),
        headers={"Idempotency-Key": order.pay_key} if headers is None else headers,
        **options,
    )


def problem(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(body) >= {"type", "title", "status", "detail", "instance", "retry", "order", "payment_status"}
    assert body["status"] == answer.status_code
    return answer.status_code, body["type"].removeprefix("/problems/"), body["retry"]


def assert_nothing_happened(book: Book, order: Order) -> None:
    """Zero rows, zero calls, and the order as it was."""
    assert Attempt.objects.filter(order=order).count() == 0
    assert Payment.objects.filter(order=order).count() == 0
    assert PaymentEvent.objects.filter(order=order).count() == 0
    assert book.calls(order.pk) == []
    now = Order.objects.get(pk=order.pk)
    assert (now.status, now.pay_key) == ("pending", order.pay_key)


# --- presence and syntax ---------------------------------------------------------------------------------------------


def test_a_press_without_a_key_is_refused(book: Book) -> None:
    order, client = placed_order()
    for headers in ({}, {"Idempotency-Key": ""}, {"Idempotency-Key": "  "}):
        answer = send(client, order, headers)
        assert problem(answer) == (400, "idempotency-key-missing", "same-key")
        assert answer.headers["Link"] == '</api/docs/>; rel="describedby"'
    assert_nothing_happened(book, order)


BAD_KEYS = {
    "256 characters": "k" * 256,
    "10 kB": "k" * 10_240,
    "comma list": "one,two",
    "two header lines": "one, two",  # as WSGI servers join them
    "inner quote": 'a"b',
    "one quote": '"abc',
    "empty quotes": '""',
    "space": "a b",
    "control": "a\x01b",
    "NUL": "a\x00b",
    "tab": "a\tb",
    "Latin-1": "cl\xe9",
    "SQL": "' OR 1=1 --",
    "format": "%s%n{0}${x}",
    "path": "../../etc/passwd",
    "markup": "<script>",
    "CRLF": "a\\r\\nSet-Cookie:x=1",
    "structured": 'abc;q="1"',
    # Ours: a press under one would stand in the way of money that only Stripe knows of, or of forgetting keys.
    "ours, of money found": "gateway:ch_1",
    "ours, quoted": '"forgotten:1"',
    "ours, of late money": "late:ch_1",
    "ours, of two people": "proposal:1",
}


def test_a_key_that_is_none_is_refused(book: Book) -> None:
    order, client = placed_order()
    for name, key in BAD_KEYS.items():
        answer = send(client, order, {"Idempotency-Key": key})
        assert problem(answer) == (400, "idempotency-key-invalid", "same-key"), name
    assert_nothing_happened(book, order)


def test_a_good_key_pays_and_never_reaches_stripe(book: Book) -> None:
    for key in ("PAY_123456", "k" * 255, "a-b_c.d:e", "6f9619ff-8b86-d011-b42d-00c04fc964ff"):
        order, client = placed_order()
        assert send(client, order, {"Idempotency-Key": key}).status_code == 201
        assert key not in json.dumps([[call["key"], call["params"], call["path"]] for call in book.calls(order.pk)])
        assert_books_agree(book, order)


def test_the_quoted_and_the_bare_form_are_one_key_and_case_matters(book: Book) -> None:
    order, client = placed_order()
    first = send(client, order, {"Idempotency-Key": '"Key-1"'})
    again = send(client, order, {"Idempotency-Key": "Key-1"})
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert problem(send(client, order, {"Idempotency-Key": "key-1"})) == (409, "order-already-paid", "no")
    assert Attempt.objects.get(order=order).idempotency_key == "Key-1"
    assert_books_agree(book, order)


@pytest.mark.parametrize("route", ["cancel", "start-over"])
def test_cancel_and_start_over_want_a_key_too(book: Book, route: str) -> None:
    order, client = placed_order()
    for headers, name in (({}, "missing"), ({"Idempotency-Key": "a b"}, "invalid")):
        answer = client.post(f"/api/orders/{order.pk}/{route}/", {}, content_type="application/json", headers=headers)
        assert problem(answer) == (400, f"idempotency-key-{name}", "same-key")
    assert_nothing_happened(book, order)


def test_asking_for_the_status_needs_no_key_and_ignores_one(book: Book) -> None:
    order, client = placed_order()
    path = f"/api/orders/{order.pk}/payment-status/"
    assert client.get(path, headers={"Idempotency-Key": "a b"}).status_code == 200
    assert client.post(path, {}, content_type="application/json").status_code == 200
    assert_nothing_happened(book, order)


# --- scope -----------------------------------------------------------------------------------------------------------


def test_one_key_on_four_operations_is_four_operations(book: Book) -> None:
    shopper, key = make_guest(), "one-key-for-everything"
    cart = make_cart((make_product(stock=10), 1))
    client = client_of(shopper)
    session = client.session
    session["cart"] = cart.pk
    session.save()
    placed = post_order(client, cart, key)
    order = Order.objects.get(pk=placed.json()["id"])
    assert press(client, order, key, token="pm_card_threeDSecure2Required").status_code == 202
    let_leases_end(order)
    assert start_over(client, order, key).json()["payment_status"] == "canceled"
    canceled = cancel(client, order, key)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert post_order(client, cart, key).json()["id"] == order.pk
    keys = [call["key"] for call in book.calls(order.pk) if call["method"] == "POST"]
    assert len(keys) == len(set(keys)) == 3  # create, confirm, cancel
    assert all(key not in sent for sent in keys)
    assert_books_agree(book, order)


def test_one_key_on_two_orders_is_two_payments(book: Book) -> None:
    shopper = make_guest()
    (first, _), (second, _) = placed_order(), placed_order()
    Order.objects.update(guest_id=shopper.guest_id)
    client = client_of(shopper)
    assert press(client, first, "same").status_code == press(client, second, "same").status_code == 201
    assert_books_agree(book, first, second)


def test_logging_in_between_two_presses_changes_nothing(book: Book) -> None:
    order, client = placed_order()
    first = press(client, order, order.pay_key)
    user = User.objects.create_user("ada@example.com", "ada@example.com", "a long password")
    entered = client.post("/account/log-in/", {"username": "ada@example.com", "password": "a long password"})
    assert entered.status_code == 303
    assert Order.objects.get(pk=order.pk).user == user
    again = press(client, order, order.pay_key)
    assert (again.status_code, again.content) == (201, first.content)
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


# --- ownership comes before the key ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["payments", "payment-status", "start-over", "cancel"])
def test_anothers_order_is_as_unknown_as_none(book: Book, path: str) -> None:
    order, client = placed_order()
    press(client, order, order.pay_key)
    stranger = client_of(make_guest())
    wanted = {"payment_token": "pm_card_visa", "amount": order.total_minor, "currency": order.currency}
    sent = wanted if path == "payments" else {}
    answers = []
    for order_id in (order.pk, "x" * 32, "short"):
        for key in (order.pay_key, "other", "a b", ""):
            answer = stranger.post(
                f"/api/orders/{order_id}/{path}/",
                sent,
                content_type="application/json",
                headers={"Idempotency-Key": key},
            )
            answers.append((answer.status_code, answer.content.replace(order_id.encode(), b"ID")))
    assert set(answers) == {(404, answers[0][1])}
    assert b"not-found" in answers[0][1]
    assert len(confirms(book, order)) == 1


def test_whoever_loses_the_session_loses_the_replay(book: Book) -> None:
    order, client = placed_order()
    assert press(client, order, order.pay_key).status_code == 201
    client.cookies.clear()
    assert problem(press(client, order, order.pay_key)) == (404, "not-found", "no")
    user = User.objects.create_user("staff", is_staff=True)
    client.force_login(user)
    assert problem(press(client, order, order.pay_key)) == (404, "not-found", "no")


def test_csrf_guards_guests_before_anything_else(book: Book) -> None:
    order, client = placed_order()
    strict = Client(enforce_csrf_checks=True, headers={"Accept": "application/json"})
    strict.cookies = client.cookies
    for order_id in (order.pk, "x" * 32):
        answer = strict.post(f"/api/orders/{order_id}/payments/", {}, content_type="application/json")
        assert problem(answer) == (403, "forbidden", "no")
    strict.get("/api/cart/")
    token = strict.cookies["csrftoken"].value
    assert_nothing_happened(book, order)
    answer = send(strict, order, {"Idempotency-Key": order.pay_key, "X-CSRFToken": token})
    assert answer.status_code == 201
    assert_books_agree(book, order)


# --- the order of checks ---------------------------------------------------------------------------------------------


def test_the_key_is_looked_at_before_the_body_and_the_body_before_the_replay(book: Book) -> None:
    order, client = placed_order()
    assert problem(send(client, order, {"Idempotency-Key": "a b"}, {"bogus": 1}))[1] == "idempotency-key-invalid"
    assert problem(send(client, order, None, {"bogus": 1}))[1] == "validation-failed"
    assert_nothing_happened(book, order)
    assert send(client, order).status_code == 201
    assert problem(send(client, order, None, {"bogus": 1}))[1] == "validation-failed"
    assert send(client, order).headers["Idempotent-Replayed"] == "true"
    assert_books_agree(book, order)


def test_a_replay_is_not_throttled_and_a_new_key_is(book: Book, settings: Any) -> None:
    settings.DECLINES_PER_ORDER = 1
    order, client = placed_order()
    declined = press(client, order, order.pay_key, token="pm_card_chargeDeclined")
    throttled = press(client, order)
    assert problem(throttled) == (429, "throttled", "same-key")
    assert throttled.headers["Retry-After"] == "600"
    assert press(client, order, order.pay_key, token="pm_card_chargeDeclined").content == declined.content
    assert Attempt.objects.filter(order=order).count() == len(confirms(book, order)) == 1
    settings.DECLINES_PER_ORDER = 2
    assert press(client, order).status_code == 201  # what was refused has not used its key up
    assert_books_agree(book, order)


WRONG = {"payment_token": "pm_card_visa", "amount": 1250, "currency": "GBP"}
BAD_BODIES: dict[str, Any] = {
    "unknown field": {**WRONG, "price": 1},
    "no amount": {"payment_token": "pm_card_visa", "currency": "GBP"},
    "amount as text": {**WRONG, "amount": "1250"},
    "amount as fraction": {**WRONG, "amount": 1250.0},
    "amount as truth": {**WRONG, "amount": True},
    "negative amount": {**WRONG, "amount": -1250},
    "huge amount": {**WRONG, "amount": 10**30},
    "small currency": {**WRONG, "currency": "gbp"},
    "another token": {**WRONG, "payment_token": "tok_visa"},
    "token with a path": {**WRONG, "payment_token": "pm_card_visa/../x"},
    "card number": {**WRONG, "payment_token": "4242424242424242"},
    "null token": {**WRONG, "payment_token": None},
    "list": [WRONG],
    "text": "pay",
}


def test_a_wrong_body_is_refused_and_the_key_stays_free(book: Book) -> None:
    order, client = placed_order()
    for name, body in BAD_BODIES.items():
        answer = send(client, order, None, json.dumps(body))
        assert problem(answer) == (400, "validation-failed", "same-key"), name
        assert answer.json()["errors"], name
    assert_nothing_happened(book, order)
    assert send(client, order).status_code == 201


NO_SMALL_JSON = {
    "broken": ("{", "application/json", 400, "validation-failed"),
    "not UTF-8": ("\xff", "application/json", 400, "validation-failed"),
    "form": ("a=1", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
    "XML": ("<a/>", "application/xml", 415, "unsupported-media-type"),
    "too large": (json.dumps(WRONG | {"pad": "x" * 17_000}), "application/json", 413, "body-too-large"),
}


def test_what_is_not_small_json_is_refused(book: Book) -> None:
    order, client = placed_order()
    for case, (body, content_type, status, name) in NO_SMALL_JSON.items():
        answer = send(client, order, None, body.encode("latin-1"), content_type=content_type)
        assert problem(answer)[:2] == (status, name), case
    assert_nothing_happened(book, order)


def test_another_method_is_refused(book: Book) -> None:
    order, client = placed_order()
    for method in ("get", "put", "patch", "delete"):
        answer = getattr(client, method)(f"/api/orders/{order.pk}/payments/")
        assert problem(answer) == (405, "method-not-allowed", "no")
    assert_nothing_happened(book, order)


# --- the fingerprint -------------------------------------------------------------------------------------------------


def test_the_same_input_written_otherwise_is_the_same_request(book: Book) -> None:
    order, client = placed_order()
    first = send(client, order)
    total = order.total_minor
    spelled = (
        f'{{"currency":"GBP","amount":{total},"payment_token":"pm_card_visa"}}',
        f'\n{{ "amount" : {total} ,\t"payment_token" : "pm_card_vi\\u0073a", "currency": "GBP" }} ',
    )
    for body in spelled:
        again = send(client, order, {"Idempotency-Key": order.pay_key, "User-Agent": "another", "X-Time": "now"}, body)
        assert (again.status_code, again.content) == (201, first.content)
    assert len(confirms(book, order)) == 1


def assert_other_body_is_refused(client: Client, order: Order) -> None:
    for other in ({"payment_token": "pm_card_mastercard"}, {"amount": order.total_minor + 1}, {"currency": "EUR"}):
        body = {"payment_token": "pm_card_visa", "amount": order.total_minor, "currency": "GBP"} | other
        answer = send(client, order, {"Idempotency-Key": "reused"}, body)
        assert problem(answer) == (422, "idempotency-key-reused", "no")
        told = answer.content.decode()
        assert "pm_card" not in told and str(order.total_minor) not in told and "declined" not in told


def test_another_body_under_a_final_key_is_refused(book: Book) -> None:
    order, client = placed_order()
    press(client, order, "reused")
    assert_other_body_is_refused(client, order)
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_another_body_under_an_unknown_key_is_refused(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order, "reused")
    book.clear_rules()
    calls = len(book.calls(order.pk))
    assert_other_body_is_refused(client, order)
    assert len(book.calls(order.pk)) == calls
    assert Attempt.objects.get(order=order).outcome == "unknown"


def test_another_body_under_a_running_key_is_refused(book: Book) -> None:
    order, client = placed_order()
    book.rule("hold", hold="bank")
    answers: list[int] = []

    def first_press() -> None:
        answers.append(press(client, order, "reused").status_code)
        connection.close()

    running = threading.Thread(target=first_press)
    running.start()
    book.wait_until_held("bank")
    assert_other_body_is_refused(client_of_order(order), order)
    same = press(client_of_order(order), order, "reused")
    assert problem(same) == (409, "request-in-progress", "same-key")
    assert same.headers["Retry-After"] == "2"
    other = press(client_of_order(order), order, "another")
    assert problem(other) == (409, "payment-in-progress", "same-key")
    book.release("bank")
    running.join()
    assert answers == [201]
    assert_books_agree(book, order)


def client_of_order(order: Order) -> Client:
    return client_of(Shopper(None, order.guest_id))


# --- the amount is the server's --------------------------------------------------------------------------------------


def test_another_total_than_the_shopper_saw_is_not_charged(book: Book) -> None:
    order, client = placed_order()
    seen: dict[str, Any]
    for seen in ({"amount": 1}, {"amount": 99_999_999}, {"currency": "EUR"}):
        answer = press(client, order, **seen)
        assert problem(answer) == (409, "order-changed", "no")
        assert (answer.json()["total"], answer.json()["currency"]) == (order.total_minor, "GBP")
    assert_nothing_happened(book, order)


def test_a_paid_order_says_so_to_any_other_key(book: Book) -> None:
    order, client = placed_order()
    press(client, order)
    answer = press(client, order, "next-week")
    assert problem(answer) == (409, "order-already-paid", "no")
    assert answer.json()["receipt_url"] == f"/orders/{order.pk}/"
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_a_live_attempt_of_another_key_whose_lease_has_ended_still_blocks(book: Book) -> None:
    order, client = placed_order()
    make_attempt(order, "unknown")
    assert problem(press(client, order)) == (409, "payment-in-progress", "same-key")
    assert Attempt.objects.filter(order=order).count() == 1
    assert book.calls(order.pk) == []
