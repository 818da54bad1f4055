"""The table of Stripe's endpoints, and exactly the parameters each one takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import customer_endpoints, dispute_endpoints, event_endpoints, intents, methods, own_account, refund_endpoints
from .account import CHARGE, INTENT, METHOD, TOKEN, Account, Change
from .addresses import ADDRESS, SHIPPING
from .endpoint import EXPAND, LIST, RETRIEVE, Context, Endpoint, itself, listing, retrieving
from .errors import invalid_request, missing_object, refused_parameter
from .forms import (
    Shape,
    anything,
    boolean,
    hash_of,
    integer,
    list_of,
    metadata,
    one_of,
    text,
)
from .search import SEARCH, searching

Json = dict[str, Any]

_BILLING = hash_of(
    address=ADDRESS,
    email=text(clearable=True),
    name=text(clearable=True),
    phone=text(clearable=True),
    tax_id=text(),
)
_CARD = Shape(
    {"number": text(), "exp_month": integer(), "exp_year": integer(), "cvc": text(), "networks": anything},
    required=("number", "exp_month", "exp_year"),
).read_nested
_METHOD = {
    "type": one_of("card"),
    "card": _CARD,
    "billing_details": _BILLING,
    "allow_redisplay": one_of("always", "limited", "unspecified"),
    "metadata": metadata,
    "radar_options": anything,
}
_METHOD_DATA = Shape(_METHOD, required=("type", "card")).read_nested
_METHOD_TYPES = list_of(text())
_CAPTURE_METHOD = one_of("automatic", "automatic_async", "manual")
_FUTURE_USAGE = one_of("off_session", "on_session")
_OFF_SESSION = one_of("true", "false", "one_off", "recurring")
_AMOUNT = integer()

_DESCRIBED = {
    "amount_details": anything,
    "hooks": anything,
    "payment_details": anything,
    "payment_method_options": anything,
    "receipt_email": text(800, clearable=True),
    "setup_future_usage": _FUTURE_USAGE,
    "shipping": SHIPPING,
    "excluded_payment_method_types": _METHOD_TYPES,
    "allowed_payment_method_types": _METHOD_TYPES,
    "capture_method": _CAPTURE_METHOD,
    "payment_method": text(),
    "payment_method_data": _METHOD_DATA,
    "expand": EXPAND,
}
_DESCRIBED_AT_LENGTH = _DESCRIBED | {
    "description": text(1000, clearable=True),
    "customer": text(),
    "metadata": metadata,
    "statement_descriptor": text(22, clearable=True),
    "statement_descriptor_suffix": text(22, clearable=True),
    "transfer_group": text(),
}
_CONFIRMING = {
    "confirmation_token": text(),
    "error_on_requires_action": boolean(),
    "mandate_data": anything,
    "off_session": _OFF_SESSION,
    "return_url": text(),
    "use_stripe_sdk": boolean(),
    "radar_options": anything,
}
_TYPES_GONE = {
    "payment_method_types": "It was removed in 2026-09-30.endive; use automatic_payment_methods or "
    "allowed_payment_method_types."
}
_CREATE = Shape(
    _DESCRIBED_AT_LENGTH
    | _CONFIRMING
    | {
        "amount": _AMOUNT,
        "currency": text(),
        "automatic_payment_methods": Shape(
            {"enabled": boolean(), "allow_redirects": one_of("always", "never")}, required=("enabled",)
        ).read_nested,
        "confirm": boolean(),
        "confirmation_method": one_of("automatic"),  # manual is not simulated
    },
    required=("amount", "currency"),
    gone=_TYPES_GONE,
)
_UPDATE = Shape(_DESCRIBED_AT_LENGTH | {"amount": _AMOUNT, "currency": text()}, gone=_TYPES_GONE)
_CONFIRM = Shape(_DESCRIBED | _CONFIRMING | {"amount_to_confirm": _AMOUNT}, gone=_TYPES_GONE)
_CAPTURE = Shape(
    {
        "amount_to_capture": integer(1),
        "final_capture": boolean(),
        "metadata": metadata,
        "statement_descriptor": text(22),
        "statement_descriptor_suffix": text(22),
        "expand": EXPAND,
    }
)
_CANCEL = Shape(
    {
        "cancellation_reason": one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
        "expand": EXPAND,
    }
)
_TOKEN_READERS = {
    "payment_method_options": anything,
    "return_url": text(),
    "setup_future_usage": _FUTURE_USAGE,
    "shipping": SHIPPING,
    "payment_method_data": _METHOD_DATA,
    "expand": EXPAND,
}


def _retrieve_intent(context: Context, ids: list[str], params: Json) -> Json:
    if context.secret:
        return intents.retrieve(context.change, ids[0])
    if "client_secret" not in params:
        raise refused_parameter("Missing required param: client_secret.", "client_secret", "parameter_missing")
    intent = context.change.get(INTENT, ids[0])
    if intent is None or intent["client_secret"] != params["client_secret"]:
        raise invalid_request(
            "The client_secret provided does not match any associated PaymentIntent on this account. Ensure the "
            "publishable key used belongs to the same account that created the PaymentIntent.",
            code="payment_intent_invalid_parameter",
            param="client_secret",
        )
    return {name: intent[name] for name in _SEEN_BY_SHOPPER}


_SEEN_BY_SHOPPER = (
    "id", "object", "amount", "automatic_payment_methods", "canceled_at", "cancellation_reason", "capture_method",
    "client_secret", "confirmation_method", "created", "currency", "description", "last_payment_error", "livemode",
    "next_action", "payment_method", "payment_method_types", "processing", "receipt_email", "setup_future_usage",
    "shipping", "source", "status",
)  # fmt: skip


def _of_intent(account: Account, params: Json) -> Iterable[str] | None:
    """Charges of one intent are few: do not walk through all of them."""
    intent_id = params.get("payment_intent")
    if intent_id is None:
        return None
    if intent_id not in account.shelves[INTENT]:
        raise missing_object("payment_intent", intent_id, "payment_intent")
    return account.charges_of.get(intent_id, ())


def _of_customer(account: Account, params: Json) -> Callable[[Json], bool] | None:
    customer = params.get("customer")
    return None if customer is None else lambda thing: thing["customer"] == customer


def _test_token(change: Change, params: Json) -> Json:
    if ("payment_method" in params) == ("payment_method_data" in params):
        raise refused_parameter(
            "You must provide exactly one of these parameters: payment_method, payment_method_data.",
            "payment_method",
            "parameter_missing",
        )
    return methods.create_token(change, params)


ENDPOINTS = (
    Endpoint("POST", "/v1/payment_intents", INTENT, _CREATE,
             lambda c, ids, p: intents.create(c.change, p, c.forced), asks_bank="confirm"),
    Endpoint("GET", "/v1/payment_intents", INTENT,
             Shape(LIST | {"customer": text()}),
             listing(INTENT, "/v1/payment_intents", wanted=_of_customer), is_list=True),
    Endpoint("GET", "/v1/payment_intents/search", INTENT, SEARCH,
             searching(INTENT, "/v1/payment_intents/search"), is_list=True),
    Endpoint("GET", "/v1/payment_intents/{}", INTENT, Shape({"expand": EXPAND, "client_secret": text()}),
             _retrieve_intent, publishable=True),
    Endpoint("POST", "/v1/payment_intents/{}", INTENT, _UPDATE,
             lambda c, ids, p: intents.update(c.change, ids[0], p), locks=itself),
    Endpoint("POST", "/v1/payment_intents/{}/confirm", INTENT, _CONFIRM,
             lambda c, ids, p: intents.confirm(c.change, ids[0], p, c.forced), locks=itself, asks_bank="confirm"),
    Endpoint("POST", "/v1/payment_intents/{}/capture", INTENT, _CAPTURE,
             lambda c, ids, p: intents.capture(c.change, ids[0], p), locks=itself),
    Endpoint("POST", "/v1/payment_intents/{}/cancel", INTENT, _CANCEL,
             lambda c, ids, p: intents.cancel(c.change, ids[0], p), locks=itself),
    Endpoint("GET", "/v1/charges", CHARGE,
             Shape(LIST | {"payment_intent": text(), "customer": text()}),
             listing(CHARGE, "/v1/charges", wanted=_of_customer, among=_of_intent), is_list=True),
    Endpoint("GET", "/v1/charges/{}", CHARGE, RETRIEVE, retrieving(CHARGE, "charge")),
    Endpoint("POST", "/v1/payment_methods", METHOD, Shape(_METHOD | {"expand": EXPAND}, required=("type", "card")),
             lambda c, ids, p: methods.create_method(c.change, p), publishable=True),
    Endpoint("GET", "/v1/payment_methods/{}", METHOD, RETRIEVE, retrieving(METHOD, "PaymentMethod")),
    Endpoint("POST", "/v1/confirmation_tokens", TOKEN,
             Shape(_TOKEN_READERS | {"use_stripe_sdk": boolean(), "client_context": anything,
                                     "mandate_data": anything}, required=("payment_method_data",)),
             lambda c, ids, p: methods.create_token(c.change, p), publishable=True),
    Endpoint("POST", "/v1/test_helpers/confirmation_tokens", TOKEN,
             Shape(_TOKEN_READERS | {"payment_method": text()}),
             lambda c, ids, p: _test_token(c.change, p)),
    Endpoint("GET", "/v1/confirmation_tokens/{}", TOKEN, RETRIEVE, retrieving(TOKEN, "confirmation_token")),
    *event_endpoints.ENDPOINTS,
    *refund_endpoints.ENDPOINTS,
    *dispute_endpoints.ENDPOINTS,
    *customer_endpoints.ENDPOINTS,
    *own_account.ENDPOINTS,
)  # fmt: skip


def find(method: str, path: str) -> tuple[Endpoint, list[str]] | None:
    for endpoint in ENDPOINTS:
        if endpoint.method == method and (ids := endpoint.match(path)) is not None:
            return endpoint, ids
    return None
