"""The table of Stripe's endpoints, and exactly the parameters each one takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import intents, methods
from .account import CHARGE, EVENT, INTENT, METHOD, TOKEN, Account, Change
from .errors import invalid_request, missing_object, refused_parameter
from .forms import (
    Shape,
    anything,
    boolean,
    created_range,
    hash_of,
    integer,
    list_of,
    metadata,
    one_of,
    text,
)

Json = dict[str, Any]

_ADDRESS = hash_of(
    clearable=True, **dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text(clearable=True))
)
_SHIPPING = hash_of(
    clearable=True,
    address=_ADDRESS,
    name=text(),
    carrier=text(),
    phone=text(clearable=True),
    tracking_number=text(),
)
_BILLING = hash_of(
    address=_ADDRESS,
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
_EXPAND = list_of(text())
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
    "shipping": _SHIPPING,
    "excluded_payment_method_types": _METHOD_TYPES,
    "allowed_payment_method_types": _METHOD_TYPES,
    "capture_method": _CAPTURE_METHOD,
    "payment_method": text(),
    "payment_method_data": _METHOD_DATA,
    "expand": _EXPAND,
}
_DESCRIBED_AT_LENGTH = _DESCRIBED | {
    "description": text(1000, clearable=True),
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
_LIST = {"limit": integer(1, 100), "starting_after": text(), "ending_before": text(), "expand": _EXPAND}

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
        "expand": _EXPAND,
    }
)
_CANCEL = Shape(
    {
        "cancellation_reason": one_of("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
        "expand": _EXPAND,
    }
)
_RETRIEVE = Shape({"expand": _EXPAND})
_TOKEN_READERS = {
    "payment_method_options": anything,
    "return_url": text(),
    "setup_future_usage": _FUTURE_USAGE,
    "shipping": _SHIPPING,
    "payment_method_data": _METHOD_DATA,
    "expand": _EXPAND,
}


@dataclass(frozen=True)
class Context:
    """What an endpoint may need beside its parameters."""

    change: Change
    secret: bool  # called with the secret key
    forced: intents.Forced | None = None


Run = Callable[[Context, list[str], Json], Json]


@dataclass(frozen=True)
class Endpoint:
    method: str
    pattern: str
    noun: str
    shape: Shape
    run: Run
    is_list: bool = False
    publishable: bool = False  # may be called with the publishable key
    locks: bool = False  # a mutation of the object named in the path
    confirms: bool = False

    def match(self, path: str) -> list[str] | None:
        found = re.fullmatch(self.pattern.replace("{}", r"([A-Za-z0-9_]+)"), path)
        return list(found.groups()) if found else None


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


def _retrieve(noun: str, name: str) -> Run:
    def run(context: Context, ids: list[str], params: Json) -> Json:
        thing = context.change.get(noun, ids[0])
        if thing is None:
            raise missing_object(name, ids[0])
        return thing

    return run


def _list(noun: str, url: str, wanted: Callable[[Json], Callable[[Json], bool] | None]) -> Run:
    """Stripe: pagination."""

    def run(context: Context, ids: list[str], params: Json) -> Json:
        if "starting_after" in params and "ending_before" in params:
            raise refused_parameter(
                "You may only specify one of these parameters: starting_after, ending_before.", "starting_after"
            )
        shelf = context.change.account.shelves[noun]
        for cursor in ("starting_after", "ending_before"):
            if cursor in params and params[cursor] not in shelf:
                raise missing_object(noun, params[cursor], cursor, status=400)
        found, more = shelf.page(
            limit=params.get("limit", 10),
            created=params.get("created"),
            after=params.get("starting_after"),
            before=params.get("ending_before"),
            wanted=wanted(params),
        )
        return {"object": "list", "data": found, "has_more": more, "url": url}

    return run


def _all(params: Json) -> None:
    return None


def _of_customer(params: Json) -> Callable[[Json], bool] | None:
    customer = params.get("customer")
    return None if customer is None else lambda thing: thing["customer"] == customer


def _list_charges(context: Context, ids: list[str], params: Json) -> Json:
    """Charges of one intent are few: do not walk through all of them."""
    intent_id = params.get("payment_intent")
    if intent_id is None:
        return _list(CHARGE, "/v1/charges", _of_customer)(context, ids, params)
    account: Account = context.change.account
    if intent_id not in account.shelves[INTENT]:
        raise missing_object("payment_intent", intent_id, "payment_intent")
    mine = set(account.charges_of.get(intent_id, ()))
    return _list(CHARGE, "/v1/charges", lambda _: lambda thing: thing["id"] in mine)(context, ids, params)


def _of_types(params: Json) -> Callable[[Json], bool] | None:
    if "type" in params and "types" in params:
        raise refused_parameter("You may only specify one of these parameters: type, types.", "type")
    kinds = params.get("types") or ([params["type"]] if "type" in params else None)
    if kinds is None:
        return None
    patterns = [re.compile(re.escape(kind).replace(r"\*", ".*") + "$") for kind in kinds]
    return lambda event: any(pattern.match(event["type"]) for pattern in patterns)


ENDPOINTS = (
    Endpoint("POST", "/v1/payment_intents", INTENT, _CREATE,
             lambda c, ids, p: intents.create(c.change, p, c.forced), confirms=True),
    Endpoint("GET", "/v1/payment_intents", INTENT,
             Shape(_LIST | {"created": created_range, "customer": text()}),
             _list(INTENT, "/v1/payment_intents", _of_customer), is_list=True),
    Endpoint("GET", "/v1/payment_intents/{}", INTENT, Shape({"expand": _EXPAND, "client_secret": text()}),
             _retrieve_intent, publishable=True),
    Endpoint("POST", "/v1/payment_intents/{}", INTENT, _UPDATE,
             lambda c, ids, p: intents.update(c.change, ids[0], p), locks=True),
    Endpoint("POST", "/v1/payment_intents/{}/confirm", INTENT, _CONFIRM,
             lambda c, ids, p: intents.confirm(c.change, ids[0], p, c.forced), locks=True, confirms=True),
    Endpoint("POST", "/v1/payment_intents/{}/capture", INTENT, _CAPTURE,
             lambda c, ids, p: intents.capture(c.change, ids[0], p), locks=True),
    Endpoint("POST", "/v1/payment_intents/{}/cancel", INTENT, _CANCEL,
             lambda c, ids, p: intents.cancel(c.change, ids[0], p), locks=True),
    Endpoint("GET", "/v1/charges", CHARGE,
             Shape(_LIST | {"created": created_range, "payment_intent": text(), "customer": text()}),
             _list_charges, is_list=True),
    Endpoint("GET", "/v1/charges/{}", CHARGE, _RETRIEVE, _retrieve(CHARGE, "charge")),
    Endpoint("GET", "/v1/events", EVENT,
             Shape(_LIST | {"created": created_range, "type": text(), "types": list_of(text(), most=20),
                            "delivery_success": boolean()}),
             _list(EVENT, "/v1/events", _of_types), is_list=True),
    Endpoint("GET", "/v1/events/{}", EVENT, _RETRIEVE, _retrieve(EVENT, "event")),
    Endpoint("POST", "/v1/payment_methods", METHOD, Shape(_METHOD | {"expand": _EXPAND}, required=("type", "card")),
             lambda c, ids, p: methods.create_method(c.change, p), publishable=True),
    Endpoint("GET", "/v1/payment_methods/{}", METHOD, _RETRIEVE, _retrieve(METHOD, "PaymentMethod")),
    Endpoint("POST", "/v1/confirmation_tokens", TOKEN,
             Shape(_TOKEN_READERS | {"use_stripe_sdk": boolean(), "client_context": anything,
                                     "mandate_data": anything}, required=("payment_method_data",)),
             lambda c, ids, p: methods.create_token(c.change, p), publishable=True),
    Endpoint("POST", "/v1/test_helpers/confirmation_tokens", TOKEN,
             Shape(_TOKEN_READERS | {"payment_method": text()}),
             lambda c, ids, p: _test_token(c.change, p)),
    Endpoint("GET", "/v1/confirmation_tokens/{}", TOKEN, _RETRIEVE, _retrieve(TOKEN, "confirmation_token")),
)  # fmt: skip


def _test_token(change: Change, params: Json) -> Json:
    if ("payment_method" in params) == ("payment_method_data" in params):
        raise refused_parameter(
            "You must provide exactly one of these parameters: payment_method, payment_method_data.",
            "payment_method",
            "parameter_missing",
        )
    return methods.create_token(change, params)


def find(method: str, path: str) -> tuple[Endpoint, list[str]] | None:
    for endpoint in ENDPOINTS:
        if endpoint.method == method and (ids := endpoint.match(path)) is not None:
            return endpoint, ids
    return None
