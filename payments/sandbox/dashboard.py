"""What may happen to the account without our shop's doing: in Stripe's dashboard, or by another system on the account.

    POST charges/ID/refund    {"amount", "reason", "metadata"}; all that is left unless told
    POST intents/ID/cancel    {"cancellation_reason"}
    POST intents/ID/update    {"amount", "currency", "description", "metadata"}
    POST payments             {"amount", "currency", "metadata", "description", "card", "idempotency_key"}: paid at once

None of them carries an idempotency key (a payment may). All send their webhooks to the one endpoint, ours.
"""

from __future__ import annotations

from typing import Any

from . import intents, refunds
from .account import Account, Change
from .errors import StripeError
from .switches import Ask, Refused, Switches, from_dashboard, make_change, only

Json = dict[str, Any]


def switches(account: Account) -> Switches:
    def refund(ask: Ask) -> Json:
        wanted = {"charge": ask.name, **only(ask.body, "amount", "reason", "metadata")}
        locked = account.intent_of(ask.name)
        return make_change(account, locked, lambda change: refunds.create(change, wanted), from_dashboard())

    def cancel(ask: Ask) -> Json:
        wanted = only(ask.body, "cancellation_reason")
        return make_change(account, ask.name, lambda change: intents.cancel(change, ask.name, wanted), from_dashboard())

    def update(ask: Ask) -> Json:
        wanted = only(ask.body, "amount", "currency", "description", "metadata")
        return make_change(account, ask.name, lambda change: intents.update(change, ask.name, wanted), from_dashboard())

    def pay(ask: Ask) -> Json:
        wanted = only(ask.body, "amount", "currency", "metadata", "description", "card", "idempotency_key")
        cause = from_dashboard()
        cause.idempotency_key = wanted.get("idempotency_key")
        return make_change(account, None, lambda change: _paid(change, wanted), cause)

    return {
        ("POST", "charges", "*", "refund"): refund,
        ("POST", "intents", "*", "cancel"): cancel,
        ("POST", "intents", "*", "update"): update,
        ("POST", "payments"): pay,
    }


def _paid(change: Change, wanted: Json) -> Json:
    """The intent, whatever the bank said to it."""
    if not isinstance(wanted.get("amount"), int):
        raise Refused(400, "amount: minor units, a whole number")
    params = {
        "amount": wanted["amount"],
        "currency": wanted.get("currency", "gbp"),
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "metadata": wanted.get("metadata", {}),
        "confirm": True,
        "payment_method": wanted.get("card", "pm_card_visa"),
    }
    if "description" in wanted:
        params["description"] = wanted["description"]
    try:
        return intents.create(change, params)
    except StripeError as error:
        if error.status != 402:
            raise
        declined: Json = error.error["payment_intent"]
        return declined
