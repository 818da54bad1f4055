"""Test cards, PaymentMethods and ConfirmationTokens."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.book import Book
from tests.sandbox.conftest import PUBLISHABLE_KEY, Shop, body_of, client_for, error_of

GOOD: dict[str, Any] = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}

DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
    ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ("pm_card_chargeDeclinedFraudulent", "card_declined", "fraudulent"),
    ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
]


@pytest.mark.parametrize(("token", "code", "decline_code"), DECLINES)
def test_a_decline_is_402_with_the_intent_inside(
    shop: Shop, book: Book, token: str, code: str, decline_code: str
) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.confirm(intent, token))
    assert isinstance(error, stripe.CardError)
    body = body_of(error)
    assert (error.http_status, body["type"]) == (402, "card_error")
    assert (body["code"], body["decline_code"]) == (code, decline_code)
    inside = body["payment_intent"]
    assert inside == shop.client.v1.payment_intents.retrieve(intent.id).to_dict()
    assert (inside["status"], inside["payment_method"]) == ("requires_payment_method", None)
    assert inside["last_payment_error"]["code"] == code
    assert inside["last_payment_error"]["payment_method"]["object"] == "payment_method"
    assert inside["latest_charge"] == body["charge"]
    charges = book.charges("order_1")
    assert [(charge["id"], charge["status"], charge["paid"]) for charge in charges] == [
        (body["charge"], "failed", False)
    ]
    assert book.succeeded("order_1") == []


@pytest.mark.parametrize(
    ("token", "brand", "last4"),
    [("pm_card_visa", "visa", "4242"), ("pm_card_mastercard", "mastercard", "4444"), ("pm_card_amex", "amex", "0005")],
)
def test_a_good_card_shows_brand_and_last_four(shop: Shop, token: str, brand: str, last4: str) -> None:
    charge = shop.confirm(shop.intent(), token, expand=["latest_charge"]).latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.payment_method_details is not None and charge.payment_method_details.card is not None
    card = charge.payment_method_details.card
    assert (card.brand, card.last4) == (brand, last4)


def test_a_built_in_token_becomes_a_payment_method_of_its_own(shop: Shop) -> None:
    first, second = shop.paid("a"), shop.paid("b")
    assert isinstance(first.payment_method, str) and first.payment_method.startswith("pm_1")
    assert first.payment_method != second.payment_method


def test_an_unknown_payment_method_is_named(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.confirm(intent, "pm_nowhere"))
    assert (error.http_status, error.code) == (400, "resource_missing")
    assert body_of(error)["param"] == "payment_method"
    assert shop.client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"


def _typed(shop: Shop, **change: Any) -> stripe.PaymentMethod:
    params: Any = {"type": "card", "card": {**GOOD, **change}}
    return shop.client.v1.payment_methods.create(params)


def test_a_payment_method_pays_once_without_a_customer(shop: Shop, book: Book) -> None:
    method = _typed(shop)
    shop.confirm(shop.intent("a"), method.id)
    error = error_of(lambda: shop.confirm(shop.intent("b"), method.id))
    assert (error.http_status, body_of(error)["param"]) == (400, "payment_method")
    assert book.charges("b") == []


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"number": "4242424242424241"}, "incorrect_number", "number"),
        ({"number": "42"}, "incorrect_number", "number"),
        ({"exp_month": 13}, "invalid_expiry_month", "exp_month"),
        ({"exp_year": 2020}, "invalid_expiry_year", "exp_year"),
        ({"cvc": "12"}, "invalid_cvc", "cvc"),
        ({"number": "4929420573595709"}, "card_declined", ""),  # sound, but no test card
    ],
)
def test_a_wrong_card_is_refused_at_once(shop: Shop, change: dict[str, Any], code: str, param: str) -> None:
    error = error_of(lambda: _typed(shop, **change))
    assert (error.http_status, error.code, body_of(error)["param"]) == (402, code, param)


def test_a_typed_card_behaves_as_its_number_says(shop: Shop) -> None:
    method = _typed(shop, number="4000000000009995")
    assert method.card is not None and method.card.last4 == "9995"
    error = error_of(lambda: shop.confirm(shop.intent(), method.id))
    assert body_of(error)["decline_code"] == "insufficient_funds"


def test_no_card_number_or_security_code_reaches_the_book(shop: Shop, book: Book) -> None:
    _typed(shop, cvc="987")
    lines = book.calls(path="/v1/payment_methods")[-1]["params"]
    assert lines["card"]["number"] == "****4242"
    assert lines["card"]["cvc"] == "***"


# Confirmation tokens.


def test_a_confirmation_token_confirms_once(shop: Shop, book: Book) -> None:
    token = shop.client.v1.test_helpers.confirmation_tokens.create({"payment_method": "pm_card_visa"})
    assert token.id.startswith("ctoken_1")
    paid = shop.confirm(shop.intent("a"), None, confirmation_token=token.id)  # type: ignore[arg-type]
    assert paid.status == "succeeded"
    used = shop.client.v1.confirmation_tokens.retrieve(token.id)
    assert (used.payment_intent, used.expires_at) == (paid.id, None)
    error = error_of(lambda: shop.confirm(shop.intent("b"), None, confirmation_token=token.id))  # type: ignore[arg-type]
    assert (error.http_status, body_of(error)["param"]) == (400, "confirmation_token")
    assert book.charges("b") == []


def test_a_token_is_spent_by_a_decline_too(shop: Shop) -> None:
    token = shop.client.v1.test_helpers.confirmation_tokens.create({"payment_method": "pm_card_chargeDeclined"})
    intent = shop.intent()
    first = error_of(lambda: shop.confirm(intent, None, confirmation_token=token.id))  # type: ignore[arg-type]
    second = error_of(lambda: shop.confirm(intent, None, confirmation_token=token.id))  # type: ignore[arg-type]
    assert (first.http_status, second.http_status) == (402, 400)


def test_an_unknown_token_is_named(shop: Shop) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.confirm(intent, None, confirmation_token="ctoken_nowhere"))  # type: ignore[arg-type]
    assert (error.http_status, error.code) == (400, "resource_missing")
    assert body_of(error)["param"] == "confirmation_token"


def test_payment_method_and_token_together_are_refused(shop: Shop, book: Book) -> None:
    token = shop.client.v1.test_helpers.confirmation_tokens.create({"payment_method": "pm_card_visa"})
    error = error_of(lambda: shop.confirm(shop.intent(), "pm_card_visa", confirmation_token=token.id))
    assert error.http_status == 400
    assert book.charges() == []


def test_a_token_brings_its_return_url_and_shipping(shop: Shop) -> None:
    token = shop.client.v1.test_helpers.confirmation_tokens.create(
        {
            "payment_method": "pm_card_visa",
            "return_url": "https://shop.example/back",
            "shipping": {"name": "Ann", "address": {"line1": "1 High Street", "country": "GB"}},
        }
    )
    intent = shop.intent(automatic_payment_methods=None)
    paid = shop.confirm(intent, None, confirmation_token=token.id)  # type: ignore[arg-type]
    assert paid.shipping is not None and paid.shipping.name == "Ann"


def test_the_browser_may_make_tokens_and_look_at_its_own_intent_and_nothing_else(shop: Shop, url: str) -> None:
    browser = client_for(url, PUBLISHABLE_KEY)
    made = browser.raw_request(
        "post",
        "/v1/confirmation_tokens",
        payment_method_data={"type": "card", "card": GOOD, "billing_details": {"name": "Ann"}},
    )
    token = browser.deserialize(made, api_mode="V1")
    paid = shop.confirm(shop.intent(), None, confirmation_token=token["id"])  # type: ignore[arg-type]
    secret = paid.client_secret
    assert secret is not None
    seen = browser.v1.payment_intents.retrieve(paid.id, {"client_secret": secret})
    assert seen.status == "succeeded"
    assert "metadata" not in seen and "latest_charge" not in seen
    assert error_of(lambda: browser.v1.payment_intents.retrieve(paid.id)).http_status == 400
    other = shop.intent("b").client_secret
    assert other is not None
    assert error_of(lambda: browser.v1.payment_intents.retrieve(paid.id, {"client_secret": other})).http_status == 400
    for forbidden in (
        lambda: browser.v1.payment_intents.list(),
        lambda: browser.v1.payment_intents.create({"amount": 2400, "currency": "gbp"}),
        lambda: browser.v1.payment_intents.confirm(paid.id),
        lambda: browser.v1.charges.list(),
    ):
        error = error_of(forbidden)
        assert (error.http_status, body_of(error)["code"]) == (401, "secret_key_required")
