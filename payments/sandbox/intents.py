"""The status machine of a PaymentIntent (Stripe: PaymentIntent lifecycle).

    requires_payment_method -> requires_confirmation -> requires_action -> processing -> requires_capture -> succeeded
    and from each of them, but processing and succeeded, -> canceled

A declined confirm answers 402 with the intent inside, back at requires_payment_method. Nothing here asks whether the
order was paid before: one intent succeeds once, two intents are two charges.
"""

from __future__ import annotations

from typing import Any

from .account import INTENT, METHOD, Change
from .cards import AUTHENTICATION_REQUIRED, GENERIC, Decline, Forced
from .charges import capture_charge, make_charge
from .currencies import check_amount, check_currency
from .customers import check_customer
from .errors import StripeError, invalid_request, missing_object, refused_parameter, unexpected_state
from .forms import merged_metadata
from .ids import new_client_secret, new_id, random_text
from .methods import card_of, check_token, check_usable, create_method, method_for, spend_method, use_token

Json = dict[str, Any]

PROCESSED_AFTER_SECONDS = 3.0  # by the cards for which the bank thinks first
_WORDS = {"succeeds": True, "fails": False}
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")
_UPDATABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_ONLY_WITH_CONFIRM = ("confirmation_token", "error_on_requires_action", "mandate_data", "off_session", "return_url")
_FREE_TEXT = (
    "customer", "description", "receipt_email", "shipping", "statement_descriptor", "statement_descriptor_suffix",
    "transfer_group", "setup_future_usage", "payment_method_options",
)  # fmt: skip


def create(change: Change, params: Json, forced: Forced | None = None) -> Json:
    currency = check_currency(params["currency"])
    check_amount(params["amount"], currency)
    confirming = params.get("confirm", False)
    if not confirming:
        for name in _ONLY_WITH_CONFIRM:
            if name in params:
                raise refused_parameter(f"`{name}` can only be provided when `confirm` is `true`.", name)
    if "customer" in params:
        check_customer(change, params["customer"])
    if "payment_method" in params and not confirming:
        check_usable(change, params["payment_method"])
    intent_id = new_id("pi")
    intent = new_intent(intent_id, new_client_secret(intent_id), change.clock.seconds(), currency, params)
    if confirming:
        _check_confirmation(change, intent, params)
    change.put(INTENT, intent, {"use_stripe_sdk": params.get("use_stripe_sdk")})
    change.tell("payment_intent.created", INTENT, intent_id)
    if confirming:
        return _confirm(change, intent, params, forced)
    if "payment_method" in params or "payment_method_data" in params:
        intent["payment_method"] = _given_method(change, params)["id"]
        intent["status"] = "requires_confirmation"
        change.put(INTENT, intent)
    return intent


def new_intent(intent_id: str, client_secret: str, created: int, currency: str, params: Json) -> Json:
    """As it is before anything was done with it."""
    intent: Json = {
        "id": intent_id,
        "object": "payment_intent",
        "allowed_payment_method_types": params.get("allowed_payment_method_types"),
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": _automatic(params),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": client_secret,
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "created": created,
        "currency": currency,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": params.get("excluded_payment_method_types"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": None,
        "metadata": merged_metadata({}, params.get("metadata")),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"installments": None, "mandate_options": None, "network": None,
                                            "request_three_d_secure": "automatic"}},
        "payment_method_types": _types(params),
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }  # fmt: skip
    intent |= {name: params[name] for name in _FREE_TEXT if name in params and name != "payment_method_options"}
    return intent


def _automatic(params: Json) -> Json | None:
    """On unless payment method types are named (Stripe: dynamic payment methods)."""
    given = params.get("automatic_payment_methods")
    if "allowed_payment_method_types" in params and given is None:
        return None
    if given is None:
        return {"allow_redirects": "always", "enabled": True}
    return {"allow_redirects": given.get("allow_redirects", "always"), "enabled": given["enabled"]}


def _types(params: Json) -> list[str]:
    types: list[str] = params.get("allowed_payment_method_types") or ["card"]
    return [kind for kind in types if kind not in (params.get("excluded_payment_method_types") or [])]


def _load(change: Change, intent_id: str) -> Json:
    intent = change.get(INTENT, intent_id)
    if intent is None:
        raise missing_object("payment_intent", intent_id, "intent")
    return intent


def retrieve(change: Change, intent_id: str) -> Json:
    return _load(change, intent_id)


def update(change: Change, intent_id: str, params: Json) -> Json:
    """Any update clears last_payment_error."""
    intent = _load(change, intent_id)
    for name in ("amount", "currency", "payment_method", "payment_method_data", "capture_method"):
        if name in params and intent["status"] not in _UPDATABLE:
            raise unexpected_state(
                f"This PaymentIntent's {name} could not be updated because it has a status of {intent['status']}. You "
                f"may only update the {name} of a PaymentIntent with one of the following statuses: "
                f"{', '.join(_UPDATABLE)}.",
                intent,
            )
    wanted = {"amount": intent["amount"], "currency": intent["currency"], **params}
    currency = check_currency(wanted["currency"])
    check_amount(wanted["amount"], currency)
    if "customer" in params:
        check_customer(change, params["customer"])
    if "payment_method" in params:
        check_usable(change, params["payment_method"])
    before = dict(intent)
    intent |= {"currency": currency, "amount": wanted["amount"], "last_payment_error": None}
    intent |= {name: params[name] for name in (*_FREE_TEXT, "capture_method") if name in params
               and name != "payment_method_options"}  # fmt: skip
    intent["metadata"] = merged_metadata(intent["metadata"], params.get("metadata"))
    if "payment_method" in params or "payment_method_data" in params:
        intent["payment_method"] = _given_method(change, params)["id"]
        intent["status"] = "requires_confirmation"
    if intent["status"] == "requires_action" and (before["amount"], before["currency"]) != (
        intent["amount"],
        currency,
    ):
        intent["status"] = "requires_confirmation"
    if intent["status"] != "requires_action":
        intent["next_action"] = None
    change.put(INTENT, intent)
    return intent


def _given_method(change: Change, params: Json) -> Json:
    if "payment_method_data" in params:
        return create_method(change, params["payment_method_data"])
    return method_for(change, params["payment_method"])


def confirm(change: Change, intent_id: str, params: Json, forced: Forced | None = None) -> Json:
    intent = _load(change, intent_id)
    _check_confirmation(change, intent, params)
    return _confirm(change, intent, params, forced)


def _check_confirmation(change: Change, intent: Json, params: Json) -> None:
    """All that can refuse a confirmation. Looks only."""
    if intent["status"] == "succeeded":
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
            intent,
        )
    if intent["status"] not in _CONFIRMABLE:
        raise unexpected_state(_wrong_status("confirm", "confirmed", intent, _CONFIRMABLE), intent)
    given = [name for name in ("payment_method", "payment_method_data", "confirmation_token") if name in params]
    if len(given) > 1:
        raise refused_parameter(f"You may only specify one of these parameters: {', '.join(given)}.", given[1])
    if not given and intent["payment_method"] is None:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
            intent,
        )
    if "amount_to_confirm" in params and params["amount_to_confirm"] != intent["amount"]:
        raise invalid_request(
            "The amount_to_confirm does not match the amount of the PaymentIntent.",
            param="amount_to_confirm",
        )
    token = check_token(change, params["confirmation_token"]) if "confirmation_token" in params else None
    if "payment_method" in params or (not given and intent["payment_method"]):
        check_usable(change, params["payment_method"] if "payment_method" in params else intent["payment_method"])
    if "card" not in intent["payment_method_types"]:
        raise invalid_request(
            "The PaymentMethod provided (card) is not allowed for this PaymentIntent. Please attach a PaymentMethod "
            f"with one of the following types: {', '.join(intent['payment_method_types'])}.",
            param="payment_method",
        )
    automatic = intent["automatic_payment_methods"]
    may_redirect = bool(automatic and automatic["enabled"] and automatic["allow_redirects"] == "always")
    if may_redirect and not params.get("return_url") and not (token and token["return_url"]):
        raise invalid_request(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to "
            "`true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
            "Payment Intents.",
            param="return_url",
        )


def _confirm(change: Change, intent: Json, params: Json, forced: Forced | None) -> Json:
    token: Json | None = None
    if "confirmation_token" in params:
        token = check_token(change, params["confirmation_token"])
        method = use_token(change, params["confirmation_token"], intent["id"])
        intent["shipping"] = token["shipping"] or intent["shipping"]
    elif "payment_method" in params or "payment_method_data" in params:
        method = _given_method(change, params)
    else:
        found = change.get(METHOD, intent["payment_method"])
        assert found is not None
        method = found
    for name in ("receipt_email", "shipping", "setup_future_usage", "capture_method"):
        if name in params:
            intent[name] = params[name]
    intent |= {"payment_method": method["id"], "last_payment_error": None, "next_action": None, "processing": None}
    return _ask_bank(change, intent, params, token, forced)


def _ask_bank(change: Change, intent: Json, params: Json, token: Json | None, forced: Forced | None) -> Json:
    card = card_of(change, intent["payment_method"])
    if forced is not None and forced.outcome == "processing":
        return _wait_for_bank(change, intent)
    if forced is not None:
        return _decline(change, intent, forced.decline)
    if card.waits:
        return _wait_for_bank(change, intent, card.waits)
    if card.challenge:
        if params.get("error_on_requires_action") or params.get("off_session"):
            return _decline(change, intent, AUTHENTICATION_REQUIRED)
        return _ask_shopper(change, intent, params, token)
    if card.decline is not None:
        return _decline(change, intent, card.decline)
    return _succeed(change, intent)


def _succeed(change: Change, intent: Json) -> Json:
    charge = make_charge(change, intent, intent["payment_method"], card_of(change, intent["payment_method"]), None)
    spend_method(change, intent["payment_method"])
    intent |= {"latest_charge": charge["id"], "next_action": None, "processing": None, "last_payment_error": None}
    if intent["capture_method"] == "manual":
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        kind = "payment_intent.amount_capturable_updated"
    else:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        kind = "payment_intent.succeeded"
    change.put(INTENT, intent)
    change.tell(kind, INTENT, intent["id"])
    return intent


def _decline(change: Change, intent: Json, decline: Decline) -> Json:
    """Puts the failed charge and the intent, then raises the 402 that tells of it."""
    method = change.get(METHOD, intent["payment_method"])
    charge = make_charge(change, intent, intent["payment_method"], card_of(change, intent["payment_method"]), decline)
    error = StripeError(402, "card_error", decline.message, code=decline.code, charge=charge["id"])
    if decline.decline_code:
        error.error["decline_code"] = decline.decline_code
    if decline.advice_code:
        error.error["advice_code"] = decline.advice_code
    if decline.code == "incorrect_cvc":
        error.error["param"] = "cvc"
    error.error["payment_method"] = method
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "processing": None,
        "last_payment_error": dict(error.error),
    }
    change.put(INTENT, intent)
    change.tell("payment_intent.payment_failed", INTENT, intent["id"])
    error.error["payment_intent"] = intent
    raise error


def _ask_shopper(change: Change, intent: Json, params: Json, token: Json | None) -> Json:
    """3-D Secure: nothing is charged yet (Stripe: next_action)."""
    private = change.private(INTENT, intent["id"])
    with_sdk = params.get("use_stripe_sdk", token["use_stripe_sdk"] if token else private.get("use_stripe_sdk"))
    return_url = params.get("return_url") or (token["return_url"] if token else None)
    nonce = random_text(24)
    page = f"{change.account.base_url}/3ds/{intent['id']}/{nonce}"
    if with_sdk or not return_url:
        intent["next_action"] = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {
                "directory_server_encryption": {"algorithm": "RSA", "directory_server_id": "A000000003"},
                "source": f"payatt_{random_text(24)}",
                "stripe_js": page,
                "type": "three_d_secure_redirect",
            },
        }
    else:
        intent["next_action"] = {
            "redirect_to_url": {"return_url": return_url, "url": page},
            "type": "redirect_to_url",
        }
    intent["status"] = "requires_action"
    change.put(INTENT, intent, {**private, "nonce": nonce, "return_url": return_url})
    change.tell("payment_intent.requires_action", INTENT, intent["id"])
    return intent


def _wait_for_bank(change: Change, intent: Json, waits: str = "for ever") -> Json:
    """No money yet, and no cancel: the bank's word comes later (Stripe: processing)."""
    intent |= {"status": "processing", "processing": {"type": "card"}}
    then = {"then": waits, "at": change.clock.now() + PROCESSED_AFTER_SECONDS} if waits in _WORDS else {"then": None}
    change.put(INTENT, intent, {**change.private(INTENT, intent["id"]), **then})
    change.tell("payment_intent.processing", INTENT, intent["id"])
    return intent


def answer_challenge(change: Change, intent_id: str, passed: bool, nonce: str | None = None) -> Json:
    """What the shopper did at the bank. Passed: the charge is made (or declined); failed: no charge at all."""
    intent = _load(change, intent_id)
    if intent["status"] != "requires_action":
        raise unexpected_state(
            f"This PaymentIntent waits for no authentication: its status is {intent['status']}.", intent
        )
    if nonce is not None and nonce != change.private(INTENT, intent_id).get("nonce"):
        raise unexpected_state("This authentication belongs to an earlier attempt.", intent)
    if not passed:
        return _fail_authentication(change, intent)
    card = card_of(change, intent["payment_method"])
    if card.decline is None:
        return _succeed(change, intent)
    try:
        return _decline(change, intent, card.decline)
    except StripeError:
        return intent


def _fail_authentication(change: Change, intent: Json) -> Json:
    error = StripeError(
        400,
        "invalid_request_error",
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        code="payment_intent_authentication_failure",
        payment_method=change.get(METHOD, intent["payment_method"]),
    )
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": error.error,
    }
    change.put(INTENT, intent)
    change.tell("payment_intent.payment_failed", INTENT, intent["id"])
    return intent


def end_processing(change: Change, intent_id: str, succeeds: bool) -> Json:
    intent = _load(change, intent_id)
    if intent["status"] != "processing":
        raise unexpected_state(f"This PaymentIntent is not processing: its status is {intent['status']}.", intent)
    change.put(INTENT, intent, {**change.private(INTENT, intent_id), "then": None})
    if succeeds:
        return _succeed(change, intent)
    try:
        return _decline(change, intent, GENERIC)
    except StripeError:
        return intent


def end_as_the_card_does(change: Change, intent_id: str) -> None:
    word = change.private(INTENT, intent_id).get("then")
    intent = change.get(INTENT, intent_id)
    if word is not None and intent is not None and intent["status"] == "processing":
        end_processing(change, intent_id, _WORDS[word])


def capture(change: Change, intent_id: str, params: Json) -> Json:
    intent = _load(change, intent_id)
    if intent["status"] != "requires_capture":
        raise unexpected_state(
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
            intent,
        )
    amount = params["amount_to_capture"] if "amount_to_capture" in params else intent["amount_capturable"]
    if amount > intent["amount_capturable"]:
        raise invalid_request(
            "The amount_to_capture cannot be greater than the amount that can be captured "
            f"({intent['amount_capturable']}).",
            code="amount_too_large",
            param="amount_to_capture",
        )
    capture_charge(change, intent["latest_charge"], amount)
    intent |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    intent["metadata"] = merged_metadata(intent["metadata"], params.get("metadata"))
    change.put(INTENT, intent)
    change.tell("payment_intent.succeeded", INTENT, intent_id)
    return intent


def cancel(change: Change, intent_id: str, params: Json) -> Json:
    """Cancelling an authorization creates no Refund (Stripe: since 2025-03-31)."""
    intent = _load(change, intent_id)
    if intent["status"] not in _CANCELABLE:
        raise unexpected_state(_wrong_status("cancel", "canceled", intent, (*_CANCELABLE, "processing")), intent)
    intent |= {
        "status": "canceled",
        "canceled_at": change.clock.seconds(),
        "cancellation_reason": params.get("cancellation_reason"),
        "amount_capturable": 0,
        "next_action": None,
    }
    change.put(INTENT, intent)
    change.tell("payment_intent.canceled", INTENT, intent_id)
    return intent


def _wrong_status(verb: str, participle: str, intent: Json, allowed: tuple[str, ...]) -> str:
    return (
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
        f"with one of the following statuses may be {participle}: {', '.join(allowed)}."
    )
