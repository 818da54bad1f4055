"""PaymentMethods and ConfirmationTokens: what a card becomes before it is charged."""

from __future__ import annotations

import datetime
from typing import Any

from .account import METHOD, TOKEN, Change
from .cards import BY_NUMBER, TOKENS, Card, luhn_is_right
from .errors import StripeError, invalid_request, missing_object
from .ids import new_id

Json = dict[str, Any]

TOKEN_LIFE_SECONDS = 12 * 60 * 60
_NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def create_method(change: Change, params: Json) -> Json:
    card = _card_from(params["card"], change.clock.seconds())
    return _put_method(
        change,
        card,
        billing=params.get("billing_details"),
        expiry=(params["card"]["exp_month"], params["card"]["exp_year"]),
        metadata=params.get("metadata"),
        allow_redisplay=params.get("allow_redisplay", "unspecified"),
    )


def method_for(change: Change, method_id: str, param: str = "payment_method") -> Json:
    """An existing PaymentMethod, or a new one for a built-in token such as `pm_card_visa`."""
    if method_id in TOKENS:
        return _put_method(change, BY_NUMBER[TOKENS[method_id]])
    method = change.get(METHOD, method_id)
    if method is None:
        raise missing_object("PaymentMethod", method_id, param, status=400)
    return method


def check_usable(change: Change, method_id: str) -> None:
    """Looks only: nothing may change before every check has passed."""
    if method_id in TOKENS:
        return
    if change.get(METHOD, method_id) is None:
        raise missing_object("PaymentMethod", method_id, "payment_method", status=400)
    if change.private(METHOD, method_id).get("spent"):
        raise invalid_request(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
            "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
            "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            code="payment_method_unexpected_state",
            param="payment_method",
        )


def spend_method(change: Change, method_id: str) -> None:
    """Without a Customer a PaymentMethod pays once."""
    method = change.get(METHOD, method_id)
    assert method is not None
    change.put(METHOD, method, {**change.private(METHOD, method_id), "spent": True})


def card_of(change: Change, method_id: str) -> Card:
    return BY_NUMBER[change.private(METHOD, method_id)["number"]]


def _card_from(given: Json, now: int) -> Card:
    """Stripe: testing, invalid data."""
    number = "".join(given["number"].split()).replace("-", "")
    if not number.isdigit() or not 12 <= len(number) <= 19 or not luhn_is_right(number):
        raise _card_error("incorrect_number", "Your card number is incorrect.", "number")
    card = BY_NUMBER.get(number)
    if card is None:
        raise StripeError(
            402,
            "card_error",
            "Your card was declined. Your request was in test mode, but used a non test (live) card. For a list of "
            "valid test cards, visit: https://stripe.com/docs/testing.",
            code="card_declined",
            decline_code="test_mode_live_card",
            param="",
        )
    if not 1 <= given["exp_month"] <= 12:
        raise _card_error("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
    year = given["exp_year"] + (2000 if given["exp_year"] < 100 else 0)
    given["exp_year"] = year
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    if not (today.year, today.month) <= (year, given["exp_month"]) or year > today.year + 50:
        raise _card_error("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    cvc = given.get("cvc")
    if cvc is not None and (not cvc.isdigit() or len(cvc) not in (3, card.cvc_digits)):
        raise _card_error("invalid_cvc", "Your card's security code is invalid.", "cvc")
    return card


def _card_error(code: str, message: str, param: str) -> StripeError:
    return StripeError(402, "card_error", message, code=code, param=param)


def _put_method(
    change: Change,
    card: Card,
    *,
    billing: Json | None = None,
    expiry: tuple[int, int] | None = None,
    metadata: dict[str, str] | None = None,
    allow_redisplay: str = "unspecified",
) -> Json:
    method = new_method(new_id("pm"), change.clock.seconds(), card, billing, expiry)
    method |= {"allow_redisplay": allow_redisplay, "metadata": metadata or {}}
    change.put(METHOD, method, {"number": card.number})
    return method


def new_method(
    method_id: str, now: int, card: Card, billing: Json | None = None, expiry: tuple[int, int] | None = None
) -> Json:
    month, year = expiry or (8, datetime.datetime.fromtimestamp(now, datetime.UTC).year + 4)
    method: Json = {
        "id": method_id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _billing(billing),
        "card": {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": card.country,
            "display_brand": "american_express" if card.brand == "amex" else card.brand,
            "exp_month": month,
            "exp_year": year,
            "fingerprint": f"{card.brand}{card.last4}".ljust(16, "0")[:16],
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": card.brand != "amex"},
            "wallet": None,
        },
        "created": now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    return method


def _billing(given: Json | None) -> Json:
    given = given or {}
    return {
        "address": {**_NO_ADDRESS, **(given.get("address") or {})},
        "email": given.get("email"),
        "name": given.get("name"),
        "phone": given.get("phone"),
        "tax_id": given.get("tax_id"),
    }


# Confirmation tokens (Stripe: ConfirmationTokens): what Stripe.js collected, usable in one confirmation.


def create_token(change: Change, params: Json) -> Json:
    if "payment_method_data" in params:
        given = params["payment_method_data"]
        method = create_method(change, {**given, "metadata": None})
    else:
        check_usable(change, params["payment_method"])
        method = method_for(change, params["payment_method"])
    now = change.clock.seconds()
    preview = {
        key: method[key]
        for key in ("allow_redisplay", "billing_details", "card", "customer", "customer_account", "type")
    }
    token: Json = {
        "id": new_id("ctoken"),
        "object": "confirmation_token",
        "created": now,
        "expires_at": now + TOKEN_LIFE_SECONDS,
        "livemode": False,
        "mandate_data": params.get("mandate_data"),
        "payment_intent": None,
        "payment_method_options": params.get("payment_method_options"),
        "payment_method_preview": preview,
        "return_url": params.get("return_url"),
        "setup_future_usage": params.get("setup_future_usage"),
        "setup_intent": None,
        "shipping": params.get("shipping"),
        "use_stripe_sdk": params.get("use_stripe_sdk", True),
    }
    change.put(TOKEN, token, {"method": method["id"]})
    return token


def check_token(change: Change, token_id: str) -> Json:
    """Looks only. Unknown, expired or already used: 400 naming `confirmation_token`."""
    token = change.get(TOKEN, token_id)
    if token is None:
        raise missing_object("ConfirmationToken", token_id, "confirmation_token", status=400)
    if token["payment_intent"] is not None:
        raise invalid_request(
            f"The ConfirmationToken {token_id} has already been used and cannot be used again. Create a new "
            "ConfirmationToken to confirm this PaymentIntent.",
            param="confirmation_token",
        )
    if token["expires_at"] is not None and token["expires_at"] < change.clock.seconds():
        raise invalid_request(
            f"The ConfirmationToken {token_id} has expired.",
            param="confirmation_token",
        )
    return token


def use_token(change: Change, token_id: str, intent_id: str) -> Json:
    """Marks it used, whatever the bank then says, and returns its PaymentMethod."""
    token = change.get(TOKEN, token_id)
    assert token is not None
    change.put(TOKEN, {**token, "payment_intent": intent_id, "expires_at": None})
    method = change.get(METHOD, change.private(TOKEN, token_id)["method"])
    assert method is not None
    return method
