"""Charges: what the bank said, once per try. This is where money moves, as often as anyone asks."""

from __future__ import annotations

from typing import Any

from .account import CHARGE, METHOD, Change
from .balance import make_transaction
from .cards import Card, Decline
from .ids import new_id

Json = dict[str, Any]

DISPUTED_AFTER_SECONDS = 3.0  # by the cards that are
SETTLES_AFTER_SECONDS = 1.0  # automatic_async: the balance transaction appears a little later


def make_charge(change: Change, intent: Json, method_id: str, card: Card, decline: Decline | None) -> Json:
    """A succeeded charge, or with `decline` a failed one. Puts it and tells of it."""
    method = change.get(METHOD, method_id)
    assert method is not None
    charge = new_charge(new_id("ch"), change.clock.seconds(), intent, method, card, decline)
    if charge["captured"] and intent["capture_method"] == "automatic":
        charge["balance_transaction"] = _taken(change, charge)
    private: Json = {"idempotency_key": change.cause.idempotency_key, "request": change.cause.request_id}
    if decline is None and card.dispute:
        private |= {"then": card.dispute, "at": change.clock.now() + DISPUTED_AFTER_SECONDS}
    change.put(CHARGE, charge, private)
    change.tell("charge.failed" if decline else "charge.succeeded", CHARGE, charge["id"])
    return charge


def new_charge(
    charge_id: str, created: int, intent: Json, method: Json, card: Card, decline: Decline | None = None
) -> Json:
    captured = decline is None and intent["capture_method"] != "manual"
    amount = intent["amount"]
    charge: Json = {
        "id": charge_id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if captured else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "PAYONCE" if decline is None else None,
        "captured": captured,
        "created": created,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": _outcome(decline),
        "paid": decline is None,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"card": _details(method, card, amount, captured), "type": "card"},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{intent['id']}" if decline is None else None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "failed" if decline else "succeeded",
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
    return charge


def capture_charge(change: Change, charge_id: str, amount: int) -> Json:
    charge = change.get(CHARGE, charge_id)
    assert charge is not None
    charge |= {"captured": True, "amount_captured": amount}
    charge["balance_transaction"] = _taken(change, charge)
    change.put(CHARGE, charge)
    change.tell("charge.captured", CHARGE, charge_id)
    return charge


def is_unsettled(charge: Json) -> bool:
    return bool(charge["captured"] and charge["balance_transaction"] is None)


def settle_charge(change: Change, charge_id: str) -> None:
    """`automatic_async`: the balance transaction follows the answer (Stripe: asynchronous capture)."""
    charge = change.get(CHARGE, charge_id)
    if charge is None or not is_unsettled(charge):
        return
    charge["balance_transaction"] = _taken(change, charge)
    change.put(CHARGE, charge)
    change.tell("charge.updated", CHARGE, charge_id, previous={"balance_transaction": None})


def _taken(change: Change, charge: Json) -> str:
    amount = charge["amount_captured"]
    fee = fee_for(amount)
    return make_transaction(change, "charge", charge["id"], charge["currency"], amount, fee, charge["description"])


def fee_for(amount: int) -> int:
    return min(amount, round(amount * 0.029) + 30)


def _outcome(decline: Decline | None) -> Json:
    if decline is None:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        }
    if decline.blocked:
        return {
            "advice_code": decline.advice_code,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "not_sent_to_network",
            "reason": "highest_risk_level",
            "risk_level": "highest",
            "seller_message": "Stripe blocked this payment as too risky.",
            "type": "blocked",
        }
    return {
        "advice_code": decline.advice_code,
        "network_advice_code": "02",
        "network_decline_code": "05",
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "risk_level": "normal",
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }


def _details(method: Json, card: Card, amount: int, captured: bool) -> Json:
    kept = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    three_d_secure = None
    if card.challenge:
        three_d_secure = {
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": "05",
            "exemption_indicator": None,
            "result": "authenticated",
            "result_reason": None,
            "transaction_id": None,
            "version": "2.2.0",
        }
    return (
        {key: method["card"][key] for key in kept}
        | {
            "amount_authorized": amount,
            "authorization_code": "123456",
            "extended_authorization": {"status": "disabled"},
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "mandate": None,
            "multicapture": {"status": "unavailable"},
            "network": method["card"]["brand"],
            "network_token": {"used": False},
            "network_transaction_id": None,
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "regulated_status": "unregulated",
            "three_d_secure": three_d_secure,
            "transaction_link_id": None,
            "wallet": None,
        }
        | ({"capture_before": None} if not captured else {})
    )
