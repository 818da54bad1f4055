"""What Stripe refuses, the sandbox refuses."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe

from tests.book import Book
from tests.sandbox.conftest import PUBLISHABLE_KEY, SECRET_KEY, Shop, body_of, client_for, error_of


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": None}, "parameter_missing", "amount"),
        ({"currency": None}, "parameter_missing", "currency"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"payment_method_types": ["card"]}, "parameter_unknown", "payment_method_types"),
        (
            {"automatic_payment_methods": {"enabled": True, "redirects": "no"}},
            "parameter_unknown",
            "automatic_payment_methods[redirects]",
        ),
        (
            {"automatic_payment_methods": {"allow_redirects": "never"}},
            "parameter_missing",
            "automatic_payment_methods[enabled]",
        ),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"amount": 10.5}, "parameter_invalid_integer", "amount"),
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"amount": -5}, "parameter_invalid_integer", "amount"),
        ({"amount": ""}, "parameter_invalid_empty", "amount"),
        ({"currency": "xyz"}, None, "currency"),
        ({"capture_method": "later"}, None, "capture_method"),
        ({"confirm": "yes"}, None, "confirm"),
        ({"return_url": "https://shop.example/"}, None, "return_url"),  # only while confirming
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
        ({"metadata": {"k": "v" * 501}}, None, "metadata[k]"),
        ({"metadata": {f"k{n}": "v" for n in range(51)}}, None, "metadata"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    shop: Shop, book: Book, params: dict[str, Any], code: str | None, param: str
) -> None:
    error = error_of(lambda: shop.intent(**params))
    body = body_of(error)
    assert (error.http_status, body["type"]) == (400, "invalid_request_error")
    assert (body.get("code"), body["param"]) == (code, param)
    assert book.intents() == []


def test_fifty_metadata_keys_are_fine(shop: Shop) -> None:
    whole = {f"{n:040d}": "v" * 500 for n in range(50)}
    assert shop.intent(metadata=whole).metadata.to_dict() == whole


@pytest.mark.parametrize(
    ("amount", "currency"),
    [(49, "usd"), (29, "gbp"), (49, "jpy"), (17499, "huf"), (1499, "czk"), (299, "sek")],
)
def test_too_small_an_amount_is_refused(shop: Shop, amount: int, currency: str) -> None:
    error = error_of(lambda: shop.intent(amount=amount, currency=currency))
    assert (error.code, body_of(error)["param"]) == ("amount_too_small", "amount")
    assert shop.intent(amount=amount + 1, currency=currency).amount == amount + 1


def test_nine_digits_are_too_many(shop: Shop) -> None:
    assert error_of(lambda: shop.intent(amount=100_000_000)).code == "amount_too_large"
    assert shop.intent(amount=99_999_999).amount == 99_999_999


@pytest.mark.parametrize(("amount", "currency"), [(5124, "kwd"), (5121, "bhd"), (550, "isk"), (10_001, "ugx")])
def test_special_currencies_have_special_amounts(shop: Shop, amount: int, currency: str) -> None:
    error = error_of(lambda: shop.intent(amount=amount, currency=currency))
    assert (error.http_status, body_of(error)["param"]) == (400, "amount")


@pytest.mark.parametrize(
    ("amount", "currency"),
    [(500, "jpy"), (5120, "kwd"), (500, "isk"), (17550, "huf"), (80050, "twd"), (1, "krw")],
)
def test_other_currencies_take_their_own_amounts(shop: Shop, amount: int, currency: str) -> None:
    intent = shop.intent(amount=amount, currency=currency.upper())
    assert (intent.amount, intent.currency) == (amount, currency)


def test_a_wrong_key_is_401(url: str, book: Book) -> None:
    stranger = client_for(url, "sk_test_somebody_else")
    error = error_of(lambda: stranger.v1.payment_intents.list())
    assert isinstance(error, stripe.AuthenticationError)
    assert "Invalid API Key provided" in str(error.user_message)
    assert "somebody_else" not in str(error.user_message)


def test_no_key_is_401_and_basic_auth_works(url: str, book: Book) -> None:
    assert _ask(url, "GET", "/v1/charges")[0] == 401
    import base64

    basic = base64.b64encode(f"{SECRET_KEY}:".encode()).decode()
    assert _ask(url, "GET", "/v1/charges", {"Authorization": f"Basic {basic}"})[0] == 200
    wrong = base64.b64encode(f"{PUBLISHABLE_KEY}:".encode()).decode()
    assert _ask(url, "GET", "/v1/charges", {"Authorization": f"Basic {wrong}"})[0] == 401


def test_only_form_encoding_is_understood(url: str, book: Book) -> None:
    headers = {"Authorization": f"Bearer {SECRET_KEY}", "Content-Type": "application/json"}
    status, _, body = _ask(url, "POST", "/v1/payment_intents", headers, json.dumps({"amount": 1000, "currency": "gbp"}))
    assert status == 400
    assert "application/x-www-form-urlencoded" in body["error"]["message"]
    assert book.intents() == []


def test_another_api_version_is_refused(url: str, book: Book) -> None:
    old = client_for(url, stripe_version="2025-03-31.basil")
    assert "Invalid Stripe API version" in str(error_of(lambda: old.v1.charges.list()).user_message)


def test_an_unknown_path_is_404(url: str, book: Book) -> None:
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    for method, path in [
        ("GET", "/v1/nothing"),
        ("DELETE", "/v1/payment_intents/pi_1"),
        ("GET", "/v1/payment_intents/"),
    ]:
        status, _, body = _ask(url, method, path, headers)
        assert status == 404
        assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["metadata", "latest_charge.nothing", "nothing", "latest_charge.payment_intent.x"])
def test_what_cannot_be_expanded_is_refused_before_anything_happens(shop: Shop, book: Book, path: str) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.confirm(intent, expand=[path]))
    assert (error.http_status, body_of(error)["param"]) == (400, "expand")
    assert book.charges() == []


def test_expand_reaches_into_lists(shop: Shop) -> None:
    shop.paid()
    listed = shop.client.v1.payment_intents.list({"expand": ["data.latest_charge", "data.payment_method"]})
    assert isinstance(listed.data[0].latest_charge, stripe.Charge)
    assert isinstance(listed.data[0].payment_method, stripe.PaymentMethod)
    assert error_of(lambda: shop.client.v1.payment_intents.list({"expand": ["latest_charge"]})).http_status == 400


def test_every_answer_names_request_version_and_key(shop: Shop) -> None:
    intent = shop.intent(key="a-key")
    headers = intent.last_response.headers  # type: ignore[union-attr]
    assert headers["Request-Id"].startswith("req_")
    assert headers["Stripe-Version"] == "2026-10-28.endive"
    assert headers["Idempotency-Key"] == "a-key"
    assert "Idempotent-Replayed" not in headers
    error = error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined"))
    assert error.request_id is not None and error.request_id.startswith("req_")
    body = body_of(error)
    assert error.request_id in body["request_log_url"]
    assert body["doc_url"].endswith("card-declined")


def test_one_connection_serves_many_calls(url: str, book: Book) -> None:
    """HTTP/1.1 keep-alive, as Stripe's."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    connection.connect()
    socket = connection.sock
    for _ in range(100):
        connection.request("GET", "/v1/charges", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
        assert connection.sock is socket
    connection.close()


def _ask(
    url: str, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read() or b"{}")
    finally:
        connection.close()
