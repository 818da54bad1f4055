"""The human page, the files for the browser, and who may use them."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.book import Book
from tests.sandbox.conftest import PUBLISHABLE_KEY, Shop, Sink, error_of


def ask(
    url: str, path: str, method: str = "GET", form: dict[str, str] | None = None, **headers: str
) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if form is not None:
            given["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form is not None else None, given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def press(url: str, act: str) -> str:
    status, headers, _ = ask(url, "/", "POST", {"act": act})
    assert status == 303
    return ask(url, headers["Location"])[2]


def test_the_page_shows_charges_by_order_and_calls(shop: Shop, url: str) -> None:
    shop.paid("order_42")
    status, headers, page = ask(url, "/")
    assert status == 200
    assert "order_42" in page and "24.00 GBP" in page and "/confirm" in page
    assert "was charged" not in page
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "<style" not in page and "style=" not in page and "<script" not in page


def test_an_order_charged_twice_is_loud(shop: Shop, url: str) -> None:
    shop.paid("order_42")
    shop.paid("order_42")
    assert "Order order_42 was charged 2 times." in ask(url, "/")[2]


def test_what_comes_from_outside_is_escaped(shop: Shop, url: str) -> None:
    shop.paid("<script>alert(1)</script>")
    shop.paid("<script>alert(1)</script>")
    page = ask(url, "/")[2]
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_lose_the_next_answer(shop: Shop, book: Book, url: str) -> None:
    intent = shop.intent()
    assert "answer lost" in press(url, "lose")
    error_of(lambda: shop.confirm(intent, key="k"))
    assert len(book.succeeded("order_1")) == 1
    assert shop.confirm(intent, key="k").status == "succeeded"


def test_decline_the_next_payment(shop: Shop, book: Book, url: str) -> None:
    press(url, "decline")
    intent = shop.intent()
    assert error_of(lambda: shop.confirm(intent)).http_status == 402
    assert shop.confirm(intent).status == "succeeded"


def test_answer_in_six_seconds_and_back_to_normal(shop: Shop, book: Book, url: str) -> None:
    assert "6 s" in press(url, "slow")
    assert [(rule["act"], rule["seconds"]) for rule in book.rules()] == [("delay", 6)]
    press(url, "never")
    assert book.webhooks()["mode"] == "never"
    press(url, "normal")
    assert (book.rules(), book.webhooks()["mode"]) == ([], "normal")


def test_send_the_webhook_five_times(shop: Shop, url: str, sink: Sink) -> None:
    assert "no event" in press(url, "five")
    shop.client.v1.payment_intents.create({"amount": 900, "currency": "gbp"})
    before = len(sink.got)
    assert "five times" in press(url, "five")
    assert len(sink.got) >= before + 5


def test_refunds_disputes_and_the_clock_are_shown(shop: Shop, book: Book, url: str) -> None:
    assert "That cannot be done now" in press(url, "refund")
    shop.paid("order_42")
    assert "Refunds" not in ask(url, "/")[2]
    page = press(url, "refund")
    assert 'aria-label="Refunds"' in page and book.refunds("order_42")[0]["id"] in page
    assert book.refunds("order_42")[0]["idempotency_key"] is None
    shop.paid("order_43")
    page = press(url, "dispute")
    assert 'aria-label="Disputes"' in page and book.disputes("order_43")[0]["id"] in page
    assert "Clock: right" in page
    assert "24 h ahead" in press(url, "day")


def test_another_shop_is_paid(shop: Shop, book: Book, url: str) -> None:
    assert "50.00 GBP" in press(url, "foreign")
    assert [charge["metadata"] for charge in book.charges()] == [{}]


def test_the_switches_of_banks_and_webhooks(shop: Shop, book: Book, url: str, sink: Sink) -> None:
    press(url, "processing")
    assert shop.paid().status == "processing"
    press(url, "pending")
    assert shop.client.v1.refunds.create({"payment_intent": shop.paid().id}).status == "pending"
    press(url, "yes")
    assert {intent["status"] for intent in book.intents()} == {"succeeded"}
    assert [refund["status"] for refund in book.refunds()] == ["succeeded"]
    press(url, "processing")
    shop.paid("declined")
    press(url, "no")
    assert book.intents("declined")[0]["status"] == "requires_payment_method"
    press(url, "reordered")
    assert book.webhooks()["mode"] == "reordered"
    press(url, "never")
    sent = len(sink.got)
    assert "not Stripe" in press(url, "forged")
    assert len(sink.got) > sent


@pytest.mark.parametrize("path", ["/stripe.js", "/elements/card", "/static/card.js", "/static/card.css"])
def test_the_browsers_files_are_served(url: str, book: Book, path: str) -> None:
    status, headers, body = ask(url, path)
    assert status == 200 and body
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/nothing", "/static/../__init__.py", "/static/nothing.js", "/static/"])
def test_nothing_else_is(url: str, book: Book, path: str) -> None:
    assert ask(url, path)[0] == 404


def test_the_card_form_lists_the_test_cards_and_allows_no_inline_code(url: str, book: Book) -> None:
    _, headers, page = ask(url, "/elements/card")
    assert "4000 0000 0000 9995" in page and "{{" not in page
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "frame-ancestors" not in headers["Content-Security-Policy"]
    for label in ("Card number", "Expiration date", "Security code"):
        assert f">{label}</label>" in page


def test_a_shops_page_may_call_the_api(url: str, shop: Shop) -> None:
    origin = "http://127.0.0.1:8000"
    status, headers, _ = ask(url, "/v1/confirmation_tokens", "OPTIONS", Origin=origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, origin)
    intent = shop.intent()
    path = f"/v1/payment_intents/{intent.id}?{urlencode({'client_secret': intent.client_secret})}"
    status, headers, _ = ask(url, path, Origin=origin, Authorization=f"Bearer {PUBLISHABLE_KEY}")
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, origin)


def test_another_sites_page_may_not_turn_the_switches(url: str, book: Book) -> None:
    evil = "https://evil.example"
    assert ask(url, "/_sandbox/reset", "POST", {}, Origin=evil)[0] == 403
    assert ask(url, "/", "POST", {"act": "lose"}, Origin=evil)[0] == 403
    assert ask(url, "/_sandbox/charges", Host="evil.example")[0] == 403
    assert ask(url, "/", "POST", {"act": "normal"}, Origin=url)[0] == 303
    assert book.rules() == []


def test_the_control_api_answers_in_json(url: str, book: Book) -> None:
    status, headers, _ = ask(url, "/_sandbox/nothing")
    assert (status, headers["Content-Type"]) == (404, "application/json")
    assert ask(url, "/_sandbox/rules", "POST", {"act": "lose"})[0] == 400
    assert ask(url, "/_sandbox/health")[0] == 200
