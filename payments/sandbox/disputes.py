"""Disputes (Stripe: disputes): the shopper's bank takes the money back, or only asks first (an inquiry).

    warning_needs_response -> warning_under_review -> warning_closed       an inquiry: no money moves
    either of the first two -> needs_response                              it becomes a chargeback
    needs_response -> under_review -> won, lost                            a chargeback: the money is gone until won

`charge.disputed` stays true for ever. While a chargeback is open or lost the charge cannot be refunded.
"""

from __future__ import annotations

from typing import Any

from . import refunds
from .account import BALANCE, CHARGE, DISPUTE, REFUND, Account, Change
from .balance import make_transaction
from .errors import invalid_request, missing_object
from .forms import merged_metadata
from .ids import new_id

Json = dict[str, Any]

FEE = 1500
_DAYS_TO_RESPOND = 7
_FIRST = ("needs_response", "warning_needs_response")
MOVES = {
    "warning_needs_response": ("warning_under_review", "warning_closed", "needs_response"),
    "warning_under_review": ("warning_closed", "needs_response"),
    "needs_response": ("under_review", "won", "lost"),
    "under_review": ("won", "lost"),
}
STATUSES = (*MOVES, "warning_closed", "won", "lost")
_CLOSED = ("warning_closed", "won", "lost")
REASONS = (
    "bank_cannot_process", "check_returned", "credit_not_processed", "customer_initiated", "debit_not_authorized",
    "duplicate", "fraudulent", "general", "incorrect_account_details", "insufficient_funds", "noncompliant",
    "product_not_received", "product_unacceptable", "subscription_canceled", "unrecognized",
)  # fmt: skip
_NETWORK_REASONS = {"fraudulent": "10.4", "duplicate": "12.6", "product_not_received": "13.1"}
EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_DECIDING = {"winning_evidence": "won", "losing_evidence": "lost", "escalate_inquiry_evidence": "needs_response"}
_CARDS = {
    "fraudulent": ("fraudulent", "needs_response"),
    "product_not_received": ("product_not_received", "needs_response"),
    "inquiry": ("fraudulent", "warning_needs_response"),
}


def open_dispute(
    change: Change,
    charge_id: str,
    reason: str = "fraudulent",
    status: str = "needs_response",
    amount: int | None = None,
) -> Json:
    charge = change.get(CHARGE, charge_id)
    if charge is None:
        raise missing_object("charge", charge_id, "charge")
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise invalid_request(f"Charge {charge_id} took no money: there is nothing to dispute.")
    if any(dispute["status"] not in _CLOSED for dispute in _of_charge(change, charge_id)):
        raise invalid_request(f"Charge {charge_id} is disputed already.")
    if status not in _FIRST:
        raise ValueError(f"a dispute begins as one of {', '.join(_FIRST)}")
    if reason not in REASONS:
        raise ValueError(f"reason must be one of {', '.join(REASONS)}")
    now = change.clock.seconds()
    card = charge["payment_method_details"]["card"]
    dispute: Json = {
        "id": new_id("du"),
        "object": "dispute",
        "amount": amount or charge["amount_captured"],
        "balance_transactions": [],
        "charge": charge_id,
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + _DAYS_TO_RESPOND * 24 * 60 * 60,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": True,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card["brand"],
                "case_type": "chargeback" if status == "needs_response" else "inquiry",
                "network": card["network"],
                "network_reason_code": _NETWORK_REASONS.get(reason, "13.7"),
            },
            "type": "card",
        },
        "reason": reason,
        "status": status,
    }
    change.put(DISPUTE, dispute)
    change.put(CHARGE, {**charge, "disputed": True}, {**change.private(CHARGE, charge_id), "then": None})
    change.tell("charge.dispute.created", DISPUTE, dispute["id"])
    if not charge["disputed"]:
        change.tell("charge.updated", CHARGE, charge_id, previous={"disputed": False})
    if status == "needs_response":
        _withdraw(change, dispute)
    return dispute


def move(change: Change, dispute_id: str, status: str) -> Json:
    dispute = _load(change, dispute_id)
    before = dispute["status"]
    if status not in MOVES.get(before, ()):
        raise invalid_request(f"This dispute cannot become {status}: its status is {before}.")
    dispute["status"] = status
    if status in _CLOSED:
        dispute["is_charge_refundable"] = status != "lost"
    change.put(DISPUTE, dispute)
    name = "charge.dispute.closed" if status in _CLOSED else "charge.dispute.updated"
    change.tell(name, DISPUTE, dispute_id, previous={"status": before})
    if status == "needs_response":
        dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
        _withdraw(change, dispute)
    if status == "won":
        _reinstate(change, dispute)
    return dispute


def update(change: Change, dispute_id: str, params: Json) -> Json:
    """Evidence. Three magic words in `uncategorized_text` decide at once (Stripe: testing, evidence)."""
    dispute = _load(change, dispute_id)
    given = params.get("evidence") or {}
    if given and dispute["status"] not in MOVES:
        raise invalid_request("This dispute is already closed.")
    before = {name: dispute[name] for name in ("evidence", "evidence_details", "metadata")}
    submits = bool(given) and params.get("submit", True)
    details = dispute["evidence_details"]
    dispute |= {
        "metadata": merged_metadata(dispute["metadata"], params.get("metadata")),
        "evidence": dispute["evidence"] | given,
        "evidence_details": details
        | {
            "has_evidence": details["has_evidence"] or bool(given),
            "submission_count": details["submission_count"] + submits,
        },
    }
    change.put(DISPUTE, dispute)
    change.tell("charge.dispute.updated", DISPUTE, dispute_id, previous=before)
    if not submits:
        return dispute
    warning = dispute["status"].startswith("warning_")
    decided = _DECIDING.get(str(given.get("uncategorized_text")), "warning_under_review" if warning else "under_review")
    if warning and decided in ("won", "lost"):
        decided = "warning_closed"
    return move(change, dispute_id, decided) if decided in MOVES[dispute["status"]] else dispute


def close(change: Change, dispute_id: str) -> Json:
    """The shop gives in (Stripe: close a dispute): lost, and irreversible."""
    return move(change, dispute_id, "lost")


def open_as_the_card_does(change: Change, charge_id: str) -> None:
    """Stripe: testing, disputes."""
    kind = change.private(CHARGE, charge_id).get("then")
    charge = change.get(CHARGE, charge_id)
    if kind is not None and charge is not None and charge["captured"] and not _of_charge(change, charge_id):
        open_dispute(change, charge_id, *_CARDS[kind])


def _load(change: Change, dispute_id: str) -> Json:
    dispute = change.get(DISPUTE, dispute_id)
    if dispute is None:
        raise missing_object("dispute", dispute_id, "dispute")
    return dispute


def _of_charge(change: Change, charge_id: str) -> list[Json]:
    found = [change.get(DISPUTE, key) for key in change.account.disputes_of.get(charge_id, ())]
    return [dispute for dispute in found if dispute is not None]


def _withdraw(change: Change, dispute: Json) -> None:
    """The bank takes the money, and Stripe a fee. A refund that was still pending will never arrive."""
    dispute["is_charge_refundable"] = False
    _move_money(change, dispute, -dispute["amount"], FEE, "dispute")
    change.tell("charge.dispute.funds_withdrawn", DISPUTE, dispute["id"])
    for refund_id in list(change.account.refunds_of.get(dispute["charge"], ())):
        refund = change.get(REFUND, refund_id)
        if refund is not None and refund["status"] == "pending":
            refunds.end(change, refund_id, "failed", "charge_for_pending_refund_disputed")


def _reinstate(change: Change, dispute: Json) -> None:
    _move_money(change, dispute, dispute["amount"], 0, "dispute_reversal")
    change.tell("charge.dispute.funds_reinstated", DISPUTE, dispute["id"])


def _move_money(change: Change, dispute: Json, amount: int, fee: int, category: str) -> None:
    words = f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}"
    transaction = make_transaction(
        change, "adjustment", dispute["id"], dispute["currency"], amount, fee, words, category=category
    )
    dispute["balance_transactions"].append(change.get(BALANCE, transaction))
    change.put(DISPUTE, dispute)


def intent_to_lock(account: Account, ids: list[str], params: Json) -> str | None:
    dispute = account.get(DISPUTE, ids[0])
    return dispute["payment_intent"] if dispute else None
