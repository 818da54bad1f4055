"""The calls to Stripe: never inside a transaction, each under a reproducible key of ours, ended by their deadline
(RULES R33, R51, R56-R67; PROOF RL10; FAILURES 31, 41, 46, 47, 125)."""

import datetime
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orders.models import Order
from payments import pay
from payments.errors import NothingSent, Undecided
from payments.gateways.base import Call, gateway
from payments.gateways.stripe import _DeadlineClient
from payments.gateways.transport import Deadline, Transport
from payments.models import Attempt, Payment, PaymentEvent, attempt_id
from shop.stack.ports import free_port
from tests.book import CONFIRM, CREATE, Book
from tests.oracles import assert_books_agree
from tests.payments.paying import (
    cancel,
    complete,
    confirms,
    intent_of,
    placed_order,
    posts,
    press,
    start_over,
)
from tests.races.crowd import meanwhile

pytestmark = pytest.mark.django_db(transaction=True)


# --- no transaction, no connection -----------------------------------------------------------------------------------


def every_call(intent: str) -> list[Any]:
    deadline = Deadline(5)
    return [
        lambda: gateway().create_intent({"amount": 100, "currency": "gbp"}, "test:create:x:1", deadline, []),
        lambda: gateway().confirm_intent(intent, {}, "test:confirm:x", deadline, []),
        lambda: gateway().retrieve_intent(intent, deadline, []),
        lambda: gateway().cancel_intent(intent, "test:cancel:x:0", deadline, []),
    ]


def test_a_call_inside_a_transaction_is_a_bug_and_sends_nothing(book: Book) -> None:
    for call in every_call("pi_1"):
        with pytest.raises(RuntimeError, match="inside a database transaction"), transaction.atomic():
            call()
    assert book.calls() == []


def test_a_call_while_holding_a_connection_is_a_bug_and_sends_nothing(book: Book) -> None:
    connection.ensure_connection()
    for call in every_call("pi_1"):
        with pytest.raises(RuntimeError, match="while holding a database connection"):
            call()
    assert book.calls() == []


def test_a_waiting_press_holds_no_connection_and_no_row(book: Book) -> None:
    order, client = placed_order()
    connection.ensure_connection()  # this test's own
    book.rule("hold", hold="bank")
    with meanwhile(lambda: press(client, order)):
        book.wait_until_held("bank")
        wait_until_in_use(1)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT id FROM orders_order WHERE id = %s FOR UPDATE NOWAIT", [order.pk])
        book.release("bank")
    assert_books_agree(book, order)


def wait_until_in_use(count: int, seconds: float = 30) -> None:
    """Until so many connections are out of the pool: it takes one back, and opens one ahead, in threads of its own."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pool = connection.pool.get_stats()  # type: ignore[attr-defined]  # of PostgreSQL alone
        if pool["pool_size"] - pool["pool_available"] == count:
            return
        time.sleep(0.01)
    raise AssertionError(f"not {count} connections are in use after {seconds} s: {pool}")


# --- write ahead: what is committed before a call --------------------------------------------------------------------


def test_everything_needed_to_repeat_a_call_is_committed_before_it(book: Book) -> None:
    order, client = placed_order()
    book.rule("hold", CREATE, hold="create")
    book.rule("hold", CONFIRM, hold="confirm")
    with meanwhile(lambda: press(client, order)):
        book.wait_until_held("create")
        payment, attempt = Payment.objects.get(order=order), Attempt.objects.get(order=order)
        (create,) = book.calls(order.pk, CREATE)
        assert payment.first_sent_at is not None and payment.locked_until is not None
        as_form = payment.create_params | {"amount": "1250", "automatic_payment_methods": {"enabled": "true"}}
        assert (payment.idempotency_key, as_form) == (create["key"], create["params"])
        assert payment.create_params["amount"] == 1250
        assert (attempt.phase, attempt.outcome) == ("started", "")
        book.release("create")
        book.wait_until_held("confirm")
        attempt.refresh_from_db()
        (confirm,) = confirms(book, order)
        assert (attempt.phase, attempt.confirm_key) == ("confirming", confirm["key"])
        assert {**attempt.confirm_params, "expand": {"0": "latest_charge"}} == confirm["params"]
        assert intent_of(order) in confirm["path"]
        book.release("confirm")
    assert_books_agree(book, order)


KEYS = {
    r"test:create:(?P<order>[\w-]{32}):(?P<n>\d+)": lambda m: Payment.objects.filter(order=m["order"], n=m["n"]),
    r"test:confirm:(?P<attempt>\w{32})": lambda m: Attempt.objects.filter(pk=m["attempt"]),
    r"test:cancel:(?P<payment>\w{32}):(?P<m>\d+)": lambda m: Payment.objects.filter(pk=m["payment"]),
}


def test_every_post_carries_a_key_that_names_a_committed_row(book: Book) -> None:
    eventful: list[Order] = []
    for token in ("pm_card_visa", "pm_card_chargeDeclined", "pm_card_threeDSecure2Required", "pm_1nowhere"):
        order, client = placed_order()
        book.rule("reset", when="after")
        press(client, order, "k" * 255, token=token)
        start_over(client, order)
        press(client, order, "client-value", token="pm_card_chargeDeclined")
        complete(order)
        cancel(client, order)
        eventful.append(order)
    calls = [call for order in eventful for call in posts(book, order)]
    assert len(calls) >= 16
    for call in calls:
        found = [(re.fullmatch(pattern, call["key"] or ""), rows) for pattern, rows in KEYS.items()]
        (match, rows), *more = [(match, rows) for match, rows in found if match]
        assert rows(match).count() == 1 and not more
        assert len(call["key"]) <= 255
        said = json.dumps([call["key"], call["params"], call["path"]])
        for of_client in ("k" * 255, "client-value", "ada@example.com", "Ada Lovelace"):
            assert of_client not in said
    assert_books_agree(book, *eventful)


def test_one_order_has_one_intent_over_all_its_declines(book: Book) -> None:
    order, client = placed_order()
    for _ in range(3):
        press(client, order, token="pm_card_chargeDeclined")
    press(client, order)
    assert len(book.intents(order.pk)) == len(book.calls(order.pk, CREATE)) == 1
    assert len({call["key"] for call in confirms(book, order)}) == 4
    metadata = book.intents(order.pk)[0]["metadata"]
    assert metadata == {"order": order.pk, "payment": Payment.objects.get(order=order).pk, "env": "test"}
    assert book.intents(order.pk)[0]["receipt_email"] is None
    assert_books_agree(book, order)


def test_keys_are_reproducible_from_the_order(book: Book) -> None:
    order, client = placed_order()
    press(client, order)
    assert [call["key"] for call in posts(book, order)] == [
        f"test:create:{order.pk}:1",
        f"test:confirm:{attempt_id(order.pk, 1)}",
    ]


def test_a_post_without_a_key_of_ours_is_a_bug(book: Book) -> None:
    for headers in ({}, {"Idempotency-Key": "6f9619ff-8b86-d011-b42d-00c04fc964ff"}, None):
        with pytest.raises(RuntimeError, match="without a key of ours"):
            _DeadlineClient().request("post", f"{book.url}/v1/payment_intents", headers, "amount=100&currency=gbp")
    assert book.calls() == []


def test_every_call_is_in_the_story_without_secrets(book: Book) -> None:
    order, client = placed_order()
    book.rule("lock_timeout")
    press(client, order)
    told = PaymentEvent.objects.filter(order=order, kind__startswith="call:")
    assert [(e.kind, e.http_status, e.note) for e in told] == [
        ("call:create", 200, ""),
        ("call:confirm", 429, "lock_timeout"),
        ("call:confirm", 200, ""),
    ]
    assert all(e.request_id.startswith("req_") and e.milliseconds is not None for e in told)
    assert [e.gateway_key for e in told] == [call["key"] for call in posts(book, order)]
    assert "secret" not in str(list(told.values()))


# --- the keys' age ---------------------------------------------------------------------------------------------------


def test_a_create_key_older_than_23_hours_is_never_sent_again(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", CREATE, when="after", times=None)
    press(client, order, order.pay_key)
    book.clear_rules()
    sent = len(book.calls(order.pk, CREATE))
    Payment.objects.filter(order=order).update(first_sent_at=timezone.now() - datetime.timedelta(hours=23, minutes=1))
    assert press(client, order, order.pay_key).status_code == 201  # by the intent that Stripe's list shows
    creates = [call for call in book.calls(order.pk, CREATE) if call["method"] == "POST"]
    assert len(creates) == sent
    assert len(book.intents(order.pk)) == 1
    assert_books_agree(book, order)


def test_a_create_key_younger_than_23_hours_is_replayed(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", CREATE, when="after", times=None)
    press(client, order, order.pay_key)
    book.clear_rules()
    Payment.objects.filter(order=order).update(first_sent_at=timezone.now() - datetime.timedelta(hours=22, minutes=59))
    assert press(client, order, order.pay_key).status_code == 201
    assert len(book.intents(order.pk)) == 1
    assert_books_agree(book, order)


def test_a_confirm_key_is_not_sent_again_by_a_moved_clock(book: Book) -> None:
    """Ours stops at ten minutes, long before Stripe forgets; an intent that is old is only read and canceled."""
    order, client = placed_order()
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    sent = len(confirms(book, order))
    Attempt.objects.filter(order=order).update(claimed_at=timezone.now() - datetime.timedelta(hours=25))
    complete(order)
    assert len(confirms(book, order)) == sent
    assert Attempt.objects.get(order=order).outcome == "canceled"


# --- the wire --------------------------------------------------------------------------------------------------------


def test_proxies_of_the_environment_are_ignored(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, nobody)
    gateway.cache_clear()
    order, client = placed_order()
    assert press(client, order).status_code == 201
    gateway.cache_clear()
    assert_books_agree(book, order)


@pytest.mark.parametrize("act", ["drip", "hang"])
def test_an_answer_that_never_ends_is_cut_at_the_deadline(book: Book, short_confirm: None, act: str) -> None:
    order, client = placed_order()
    book.rule(act, when="after", seconds=0.1, times=None)
    assert press(client, order).status_code == 202
    assert len(confirms(book, order)) == 1  # the deadline is of all tries together
    book.clear_rules()
    complete(order)
    assert_books_agree(book, order)


def test_a_body_that_drips_is_hung_up_on_at_the_deadline() -> None:
    """Each byte comes in time, the whole never would. The other side sees that we have gone."""
    gone = threading.Event()

    def drip(server: socket.socket) -> None:
        link, _ = server.accept()
        with link:
            link.recv(65536)
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(100):
                try:
                    link.sendall(b" ")
                except OSError:
                    gone.set()
                    return
                gone.wait(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,))
        dripping.start()
        with pytest.raises(Undecided):
            Transport().exchange("POST", f"http://127.0.0.1:{server.getsockname()[1]}/", {}, "a=1", Deadline(0.3))
        dripping.join()
    assert gone.is_set()


def test_the_sdk_retries_nothing_by_itself(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    from payments.gateways import stripe

    monkeypatch.setattr(stripe, "_PAUSES", ())
    for fault in ({"act": "reset"}, {"act": "503"}, {"act": "lock_timeout"}, {"act": "409_in_use"}):
        order, client = placed_order()
        book.rule(**fault, times=None)
        press(client, order)
        assert len(confirms(book, order)) == 1
        book.clear_rules()


@pytest.fixture
def raw_server() -> Iterator[tuple[int, list[bytes]]]:
    """Answers each connection with the next of these bytes, and hangs up."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    link.recv(65536)
                    link.sendall(answers.pop(0) if answers else b"")

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], answers
        server.shutdown(socket.SHUT_RDWR)


BROKEN = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "cut head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut body": b'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{"id": "pi_1"',
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_undecided(raw_server: tuple[int, list[bytes]], settings: Any, answer: bytes) -> None:
    port, answers = raw_server
    answers += [answer] * 4
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{port}"
    gateway.cache_clear()
    connection.close()
    with pytest.raises(Undecided):
        gateway().confirm_intent("pi_1", {}, "test:confirm:x", Deadline(5), [])
    gateway.cache_clear()


NO_INTENT = {
    "no JSON": b"<html>",
    "a list": b"[]",
    "another object": b'{"object": "charge", "id": "ch_1"}',
    "half an intent": b'{"object": "payment_intent", "id": "pi_1", "status": "succeeded"}',
    "an empty object": b"{}",
}


@pytest.mark.parametrize("body", NO_INTENT.values(), ids=NO_INTENT.keys())
def test_a_200_that_is_no_intent_proves_nothing(book: Book, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    with monkeypatch.context() as odd:
        odd.setattr(Transport, "exchange", lambda *_: (body, 200, {"Content-Type": "application/json"}))
        answer = press(client, order)
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    complete(order)
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert_books_agree(book, order)


def test_only_a_connection_that_was_never_made_sends_nothing() -> None:
    for address in (f"http://127.0.0.1:{free_port()}/", "http://no-such-host.invalid/"):
        with pytest.raises(NothingSent):
            Transport().exchange("POST", address, {}, "a=1", Deadline(5))


def test_a_deadline_that_is_over_sends_nothing(book: Book) -> None:
    calls: list[Call] = []
    connection.close()
    with pytest.raises(NothingSent):
        gateway().create_intent({"amount": 100, "currency": "gbp"}, "test:create:x:1", Deadline(0), calls)
    assert book.calls() == []
    assert [(call.operation, call.http_status) for call in calls] == [("create", None)]
