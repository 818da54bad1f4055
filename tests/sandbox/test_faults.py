"""Rules that lose, delay or spoil answers, before and after the effect."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

from tests.book import CANCEL, CONFIRM, CREATE, Book, BookRefused
from tests.sandbox.conftest import SECRET_KEY, Shop, body_of, client_for, error_of, together, wait_for


def _confirm_raw(url: str, intent: str, key: str = "raw", timeout: float = 5) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    headers = {
        "Authorization": f"Bearer {SECRET_KEY}",
        "Idempotency-Key": key,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    try:
        connection.request(
            "POST", f"/v1/payment_intents/{intent}/confirm", urlencode({"payment_method": "pm_card_visa"}), headers
        )
        return connection.getresponse()
    finally:
        connection.close()


@pytest.mark.parametrize(("when", "charges"), [("before", 0), ("after", 1)])
def test_reset(shop: Shop, book: Book, url: str, when: str, charges: int) -> None:
    intent = shop.intent()
    book.rule("reset", when=when)
    with pytest.raises(ConnectionResetError) as died:
        _confirm_raw(url, intent.id)
    assert not isinstance(died.value, http.client.RemoteDisconnected)  # RST, not a polite FIN
    assert len(book.charges("order_1")) == charges
    call = book.calls(path=CONFIRM)[-1]
    assert (call["fault"], call["lost"], call["key"]) == (f"reset {when}", True, "raw")
    assert _confirm_raw(url, intent.id).status == 200
    assert len(book.charges("order_1")) == 1


def test_a_reset_is_a_connection_error_to_the_package(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("reset", when="after")
    assert isinstance(error_of(lambda: shop.confirm(intent, key="k")), stripe.APIConnectionError)
    assert shop.confirm(intent, key="k").status == "succeeded"
    assert len(book.charges("order_1")) == 1


@pytest.mark.parametrize(("when", "charges"), [("before", 0), ("after", 1)])
def test_hang_until_the_caller_hangs_up(shop: Shop, book: Book, url: str, when: str, charges: int) -> None:
    intent = shop.intent()
    book.rule("hang", when=when)
    with pytest.raises(socket.timeout):
        _confirm_raw(url, intent.id, timeout=0.4)
    wait_for(lambda: [call for call in book.calls(path=CONFIRM) if call["ended"]])
    assert len(book.charges("order_1")) == charges
    assert _confirm_raw(url, intent.id).status == 200
    assert len(book.charges("order_1")) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_delay(shop: Shop, book: Book, when: str) -> None:
    intent = shop.intent()
    book.rule("delay", when=when, seconds=0.5, hold="gate")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(shop.confirm(intent)))
    thread.start()
    book.wait_until_held("gate")
    assert len(book.charges("order_1")) == (1 if when == "after" else 0)
    released = time.monotonic()
    book.release("gate")
    thread.join()
    assert time.monotonic() - released >= 0.5
    assert results[0].status == "succeeded"


def test_drip(shop: Shop, book: Book, url: str) -> None:
    """The head comes at once; the body would take minutes, so a time-out per read never strikes."""
    intent = shop.intent()
    book.rule("drip", seconds=0.05)
    answer = _confirm_raw(url, intent.id)
    assert answer.status == 200
    assert len(book.charges("order_1")) == 1


def test_500_says_api_error(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("500", when="after")
    error = error_of(lambda: shop.confirm(intent))
    assert isinstance(error, stripe.APIError)
    assert body_of(error)["type"] == "api_error"


@pytest.mark.parametrize("status", ["502", "503"])
def test_a_proxys_error_after_the_effect_hides_what_was_stored(shop: Shop, book: Book, status: str) -> None:
    intent = shop.intent()
    book.rule(status, when="after")
    assert error_of(lambda: shop.confirm(intent, key="k")).http_status == int(status)
    assert len(book.charges("order_1")) == 1
    replayed = shop.confirm(intent, key="k")
    assert replayed.last_response.headers["Idempotent-Replayed"] == "true"  # type: ignore[union-attr]
    assert replayed.status == "succeeded"


def test_429_is_a_rate_limit(shop: Shop, book: Book) -> None:
    book.rule("429", CREATE)
    error = error_of(shop.intent)
    assert isinstance(error, stripe.RateLimitError)
    assert body_of(error)["code"] == "rate_limit"
    assert book.intents() == []


def test_decline_by_rule_and_reason(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("decline", decline_code="insufficient_funds")
    assert body_of(error_of(lambda: shop.confirm(intent)))["decline_code"] == "insufficient_funds"
    assert shop.confirm(intent).status == "succeeded"


def test_a_decline_waits_for_a_confirmation(shop: Shop, book: Book) -> None:
    book.rule("decline", "*")
    intent = shop.intent()
    assert error_of(lambda: shop.confirm(intent)).http_status == 402
    book.rule("decline", "*")
    assert error_of(lambda: shop.intent(confirm=True, payment_method="pm_card_visa")).http_status == 402


def test_a_rule_is_used_so_many_times_and_counts_them(shop: Shop, book: Book) -> None:
    book.rule("429", CREATE, times=2)
    for _ in range(2):
        assert error_of(shop.intent).http_status == 429
    shop.intent()
    assert [rule["hits"] for rule in book.rules()] == [2]
    book.clear_rules()
    assert book.rules() == []


def test_a_rule_without_times_is_for_ever_and_the_first_wins(shop: Shop, book: Book) -> None:
    book.rule("503", CREATE, times=1)
    book.rule("429", CREATE, times=None)
    statuses = [error_of(shop.intent).http_status for _ in range(4)]
    assert statuses == [503, 429, 429, 429]


def test_a_rule_may_spoil_every_third_answer(shop: Shop, book: Book) -> None:
    book.rule("429", CREATE, times=None, every=3)
    results = []
    for _ in range(6):
        try:
            shop.intent()
            results.append(200)
        except stripe.StripeError as error:
            results.append(error.http_status or 0)
    assert results == [200, 200, 429, 200, 200, 429]


def test_a_rule_may_be_for_one_order(shop: Shop, book: Book) -> None:
    book.rule("decline", metadata_order="b", times=None)
    assert shop.paid("a").status == "succeeded"
    assert error_of(lambda: shop.paid("b")).http_status == 402
    book.rule("429", CREATE, metadata_order="c", times=None)
    assert error_of(lambda: shop.intent("c")).http_status == 429
    assert shop.intent("d").status == "requires_payment_method"


def test_a_rule_is_for_its_path_and_method(shop: Shop, book: Book) -> None:
    book.rule("503", "/v1/payment_intents/*", method="GET", times=None)
    intent = shop.intent()
    assert error_of(lambda: shop.client.v1.payment_intents.retrieve(intent.id)).http_status == 503
    assert shop.confirm(intent).status == "succeeded"
    book.rule("503", CANCEL)
    assert error_of(lambda: shop.client.v1.payment_intents.cancel(intent.id)).http_status == 503


def test_a_replay_may_be_lost_too(shop: Shop, book: Book, url: str) -> None:
    intent = shop.intent()
    book.rule("reset", when="after", times=2)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            _confirm_raw(url, intent.id)
    assert _confirm_raw(url, intent.id).status == 200
    assert len(book.charges("order_1")) == 1


def test_a_hold_blocks_until_released(shop: Shop, book: Book) -> None:
    intents = [shop.intent(f"o{number}") for number in range(3)]
    book.rule("hold", hold="gate", times=None)
    done: list[str] = []
    threads = [threading.Thread(target=lambda i=i: done.append(shop.confirm(i).status)) for i in intents]
    for thread in threads:
        thread.start()
    book.wait_until_held("gate", 3)
    assert (done, book.charges()) == ([], [])
    book.release("gate")
    for thread in threads:
        thread.join()
    assert done == ["succeeded"] * 3


def test_wrong_rules_are_refused(book: Book) -> None:
    for wrong in (
        {"act": "explode"},
        {"act": "reset", "when": "later"},
        {"act": "hold"},
        {"act": "reset", "who": "me"},
        {"act": "decline", "decline_code": "bad_mood"},
    ):
        with pytest.raises(BookRefused) as refused:
            book.rule(**wrong)
        assert refused.value.status == 400
    with pytest.raises(BookRefused):
        book.release("nobody")


def test_two_hundred_waiting_calls_hold_nobody_up(shop: Shop, book: Book, url: str) -> None:
    intents = [shop.intent(f"o{number}") for number in range(200)]
    book.rule("hold", hold="bank", times=None)

    def press(number: int) -> Any:
        return client_for(url).v1.payment_intents.confirm(intents[number].id, {"payment_method": "pm_card_visa"})

    waiting = threading.Thread(target=lambda: results.extend(together(200, press)))
    results: list[Any] = []
    waiting.start()
    book.wait_until_held("bank", 200)
    assert shop.client.v1.payment_intents.retrieve(intents[0].id).status == "requires_payment_method"
    book.release("bank")
    waiting.join()
    assert {result.status for result in results} == {"succeeded"}
    assert len(book.succeeded()) == 200


def test_the_book_shows_every_call_and_who_made_it(shop: Shop, book: Book) -> None:
    intent = shop.intent("order_9", key="create-9")
    shop.confirm(intent, key="confirm-9")
    calls = book.calls(order="order_9")
    assert [(call["method"], call["path"], call["key"], call["status"]) for call in calls] == [
        ("POST", CREATE, "create-9", 200),
        ("POST", f"{CREATE}/{intent.id}/confirm", "confirm-9", 200),
    ]
    assert calls[0]["params"]["metadata"] == {"order": "order_9"}
    assert all(call["peer"].startswith("127.0.0.1:") and call["started"] <= call["ended"] for call in calls)
    assert book.charges("order_9")[0]["idempotency_key"] == "confirm-9"
