"""The answers to a press of Pay: bodies of DESIGN section 8. Final ones are stored with the outcome and replayed.

Secrets are never in a stored body: `next_action` is read live and only in a 202 (RULES R18).
"""

import json
from typing import Any

from orders.attempts import OTHER_AMOUNT
from orders.models import Order
from payments.gateways.base import Intent
from payments.models import Attempt, Outcome
from shop.problems import Problem

# Reasons and texts for shoppers are ours, from this list; Stripe's codes are for staff (RULES R29). Nothing here says
# why a bank was suspicious (Stripe: decline codes, "don't report more information").
REASONS: dict[str, str] = {
    "declined": "Your bank declined the payment. Please try another card, or ask your bank.",
    "insufficient-funds": "The card has not enough money on it. Please try another card.",
    "expired-card": "The card has expired. Please try another card.",
    "incorrect-number": "The card number is not right. Please check it, or try another card.",
    "incorrect-security-code": "The security code is not right. Please check it, or try another card.",
    "authentication-failed": "Your bank could not confirm that it was you. Please try again, or use another card.",
    "try-again": "The bank could not do it this time. Please try again in a moment, or use another card.",
    "details-not-usable": "These payment details cannot be used any more. Please enter your card again.",
    "refused": "The payment was refused. Please try another card.",
    OTHER_AMOUNT: "By mistake another amount than the total was taken. All of it has been sent back to your card.",
    "started-over": "This payment was given up before it was made. You can start a new one.",
}
_BY_CODE = {
    "insufficient_funds": "insufficient-funds",
    "expired_card": "expired-card",
    "incorrect_number": "incorrect-number",
    "invalid_number": "incorrect-number",
    "incorrect_cvc": "incorrect-security-code",
    "invalid_cvc": "incorrect-security-code",
    "authentication_required": "authentication-failed",
    "payment_intent_authentication_failure": "authentication-failed",
    "processing_error": "try-again",
    "issuer_not_available": "try-again",
    "try_again_later": "try-again",
}


def reason_for(code: str, decline_code: str = "") -> str:
    """Our reason for Stripe's error code and decline code."""
    return _BY_CODE.get(decline_code) or _BY_CODE.get(code) or "declined"


def reason_text(reason: str) -> str:
    """What a shopper is told of a press that ended so."""
    return REASONS[reason] if reason == OTHER_AMOUNT else f"You were not charged. {REASONS[reason]}"


def released_text(attempt: Attempt) -> str:
    """Of a press of which nothing was sent. Of a payment whose rows were lost nobody knows yet what was before it."""
    if attempt.payment.key_spent_at is not None and not attempt.payment.is_over:
        return (
            "We are finding out whether this order was paid before. Nothing was sent now, and you will not be charged"
            " twice. Please try again in a while."
        )
    return "Our payment provider cannot be reached. Nothing was sent and you were not charged. Please try again."


def press_body(attempt: Attempt, next_action: dict[str, Any] | None = None) -> bytes:
    """The body of 201 and 202."""
    paid = attempt.outcome == Outcome.SUCCEEDED
    return json.dumps(
        {
            "id": attempt.pk,
            "payment": attempt.payment_id,
            "order": attempt.order_id,
            "status": attempt.payment_status,
            "amount": attempt.payment.amount_minor,
            "currency": attempt.payment.currency,
            "receipt_url": f"/orders/{attempt.order_id}/" if paid else None,
            "next_action": next_action,
        }
    ).encode()


_FINAL_PROBLEM = {
    Outcome.DECLINED: "card-declined",
    Outcome.FAILED: "payment-refused",
    Outcome.CANCELED: "payment-refused",
}


def final_answer_of(attempt: Attempt, order: Order) -> tuple[int, bytes]:
    """Status and body to store with a final outcome. A 402 names the order's next pay_key."""
    if attempt.outcome == Outcome.SUCCEEDED:
        return 201, press_body(attempt)
    name = _FINAL_PROBLEM[Outcome(attempt.outcome)]
    if attempt.reason == "details-not-usable":
        name = "payment-token-invalid"
    problem = Problem(
        name,
        reason_text(attempt.reason),
        extra={
            "order": order.pk,
            "payment_status": attempt.payment_status,
            "reason": attempt.reason,
            "pay_key": order.pay_key,
        },
    )
    return problem.status, problem.body(f"/api/orders/{order.pk}/payments/")


def location_of(attempt: Attempt) -> str:
    """Where a press can be followed."""
    return f"/api/orders/{attempt.order_id}/payment-status/"


def next_action_of(intent: Intent | None) -> dict[str, Any] | None:
    """What the browser must do for the bank, from the intent as Stripe has just shown it."""
    if intent is None or intent.status != "requires_action" or not intent.next_action:
        return None
    kind = intent.next_action.get("type")
    if kind == "redirect_to_url":
        url = intent.next_action["redirect_to_url"]["url"]
        return {"type": "redirect_to_url", "url": url, "client_secret": intent.client_secret}
    return {"type": "use_stripe_sdk", "url": None, "client_secret": intent.client_secret}
