"""3-D Secure: nothing is charged until the shopper has passed."""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import stripe

from tests.book import Book, BookRefused
from tests.sandbox.conftest import Shop, body_of, error_of

RETURN = "https://shop.example/orders/1/?tab=pay"


def test_a_challenge_is_no_charge_yet(shop: Shop, book: Book) -> None:
    intent = shop.challenged()
    assert (intent.status, intent.latest_charge) == ("requires_action", None)
    assert intent.next_action is not None and intent.next_action.type == "use_stripe_sdk"
    assert book.charges() == []


@pytest.mark.parametrize(
    "card",
    [
        "pm_card_threeDSecure2Required",
        "pm_card_threeDSecureRequired",
        "pm_card_authenticationRequired",
        "pm_card_authenticationRequiredOnSetup",
    ],
)
def test_a_passed_challenge_charges_once(shop: Shop, book: Book, card: str) -> None:
    intent = shop.challenged(card)
    after = book.challenge(intent.id, "pass")
    assert (after["status"], after["next_action"]) == ("succeeded", None)
    assert len(book.succeeded("order_1")) == 1


def test_a_failed_challenge_charges_nothing(shop: Shop, book: Book) -> None:
    intent = shop.challenged()
    book.challenge(intent.id, "fail")
    after = shop.client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.latest_charge, after.payment_method) == ("requires_payment_method", None, None)
    assert after.last_payment_error is not None
    assert after.last_payment_error.code == "payment_intent_authentication_failure"
    assert after.last_payment_error.type == "invalid_request_error"
    assert book.charges() == []


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_threeDSecureRequiredChargeDeclined", "generic_decline"),
        ("pm_card_threeDSecureRequiredProcessingError", "processing_error"),
        ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "insufficient_funds"),
    ],
)
def test_a_bank_may_decline_after_a_passed_challenge(shop: Shop, book: Book, card: str, reason: str) -> None:
    intent = shop.challenged(card)
    after = book.challenge(intent.id, "pass")
    assert after["status"] == "requires_payment_method"
    assert after["last_payment_error"]["decline_code"] == reason
    assert [charge["status"] for charge in book.charges("order_1")] == ["failed"]


@pytest.mark.parametrize("outcome", ["pass", "fail"])
def test_a_challenge_is_answered_once(shop: Shop, book: Book, outcome: str) -> None:
    intent = shop.challenged()
    book.challenge(intent.id, outcome)
    for again in ("pass", "fail"):
        with pytest.raises(BookRefused) as refused:
            book.challenge(intent.id, again)
        assert refused.value.status == 409
    assert len(book.charges("order_1")) == (1 if outcome == "pass" else 0)


def test_a_challenge_of_a_canceled_intent_comes_to_nothing(shop: Shop, book: Book) -> None:
    intent = shop.challenged()
    shop.client.v1.payment_intents.cancel(intent.id)
    with pytest.raises(BookRefused):
        book.challenge(intent.id, "pass")
    assert book.charges() == []


@pytest.mark.parametrize("param", ["error_on_requires_action", "off_session"])
def test_a_challenge_may_be_refused_beforehand(shop: Shop, book: Book, param: str) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.confirm(intent, "pm_card_authenticationRequired", None, **{param: True}))
    assert (error.http_status, body_of(error)["code"]) == (402, "authentication_required")
    assert body_of(error)["payment_intent"]["status"] == "requires_payment_method"
    assert book.succeeded() == []


def test_with_a_return_url_the_shopper_is_sent_to_the_bank_and_back(shop: Shop, book: Book, url: str) -> None:
    intent = shop.challenged(return_url=RETURN)
    action = intent.next_action
    assert action is not None and action.type == "redirect_to_url" and action.redirect_to_url is not None
    bank = action.redirect_to_url.url
    assert bank is not None and bank.startswith(f"{url}/3ds/{intent.id}/")
    page = _get(bank)
    assert "24.00 GBP" in page and "Complete" in page and "Fail" in page
    back = _post(bank, "pass")
    query = parse_qs(urlsplit(back).query)
    assert back.startswith("https://shop.example/orders/1/?")
    assert query == {
        "tab": ["pay"],
        "payment_intent": [intent.id],
        "payment_intent_client_secret": [intent.client_secret],
        "redirect_status": ["succeeded"],
    }
    assert len(book.succeeded("order_1")) == 1


@pytest.mark.parametrize(
    ("card", "outcome"),
    [("pm_card_threeDSecure2Required", "fail"), ("pm_card_threeDSecureRequiredChargeDeclined", "pass")],
)
def test_the_way_back_says_when_it_failed(shop: Shop, book: Book, card: str, outcome: str) -> None:
    intent = shop.challenged(card, return_url=RETURN)
    back = _post(_bank(intent), outcome)
    assert parse_qs(urlsplit(back).query)["redirect_status"] == ["failed"]
    assert book.succeeded() == []


def test_use_stripe_sdk_wins_over_the_return_url(shop: Shop) -> None:
    action = shop.challenged(return_url=RETURN, use_stripe_sdk=True).next_action
    assert action is not None and action.type == "use_stripe_sdk"


def test_the_bank_page_of_an_earlier_attempt_is_void(shop: Shop, book: Book) -> None:
    intent = shop.challenged(return_url=RETURN)
    old = _bank(intent)
    again = shop.confirm(intent, "pm_card_threeDSecure2Required", return_url=RETURN)
    assert again.status == "requires_action"
    assert _bank(again) != old
    assert "Nothing to confirm" in _post_page(old, "pass")
    assert book.charges() == []
    _post(_bank(again), "pass")
    assert len(book.succeeded("order_1")) == 1


def test_two_tabs_at_the_bank_charge_once(shop: Shop, book: Book) -> None:
    bank = _bank(shop.challenged(return_url=RETURN))
    _post(bank, "pass")
    assert "Nothing to confirm" in _post_page(bank, "pass")
    assert len(book.charges("order_1")) == 1


def _bank(intent: stripe.PaymentIntent) -> str:
    assert intent.next_action is not None and intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.url is not None
    return intent.next_action.redirect_to_url.url


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def _post_page(url: str, outcome: str) -> str:
    with urllib.request.urlopen(url, urlencode({"outcome": outcome}).encode(), timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def _post(url: str, outcome: str) -> str:
    opener = urllib.request.build_opener(_NoRedirect)
    with pytest.raises(urllib.error.HTTPError) as answered:
        opener.open(url, urlencode({"outcome": outcome}).encode(), timeout=30)
    with answered.value as answer:
        assert answer.code == 303
        location: str = answer.headers["Location"]
        return location
