"""Refunds (Stripe: refunds): money back to the card, whole or in parts, sometimes later, sometimes not at all.

    pending -> succeeded, failed          requires_action -> succeeded, failed, canceled
    succeeded -> failed                   days later, when the bank sends the money back

All but failed and canceled ones count in `charge.amount_refunded`, from the moment they are asked for. Nothing here
asks whether the same part was refunded a minute ago: two partial refunds under two keys are two refunds.
"""

from __future__ import annotations

from typing import Any

from .account import CHARGE, DISPUTE, INTENT, REFUND, Account, Change
from .balance import make_transaction
from .cards import Card, Forced
from .currencies import money
from .errors import invalid_request, missing_object, refused_parameter
from .forms import merged_metadata
from .ids import new_id
from .methods import card_of

Json = dict[str, Any]

ENDS_AFTER_SECONDS = 3.0  # what the cards do that make a refund succeed or fail later
_GONE = ("failed", "canceled")
_ENDINGS = {
    "pending": ("succeeded", "failed"),
    "requires_action": ("succeeded", "failed", "canceled"),
    "succeeded": ("failed",),
}
_BEGINNINGS = {
    "refund_pending": "pending",
    "refund_requires_action": "requires_action",
    "refund_failed": "failed",
    "later": "pending",
}
_LATER = {"later": "succeeded", "fails": "failed"}


def create(change: Change, params: Json, forced: Forced | None = None) -> Json:
    charge = _charge_to_refund(change, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    _check(change, charge, amount, left)
    card: Card = card_of(change, charge["payment_method"])
    behaviour = forced.outcome if forced is not None else card.refund
    status = _BEGINNINGS.get(behaviour, "succeeded")
    refund: Json = {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": change.clock.seconds(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": _destination(status),
        "metadata": merged_metadata({}, params.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    if status == "pending":
        refund["pending_reason"] = "processing"
    if status == "requires_action":
        refund["next_action"] = {"type": "display_details", "display_details": None}
    private: Json = {"idempotency_key": change.cause.idempotency_key, "request": change.cause.request_id}
    if behaviour in _LATER:
        private |= {"then": _LATER[behaviour], "at": change.clock.now() + ENDS_AFTER_SECONDS}
    refund["balance_transaction"] = make_transaction(
        change, "refund", refund["id"], refund["currency"], -amount, description="REFUND FOR CHARGE"
    )
    if status == "failed":
        _fail(change, refund, "declined")
    change.put(REFUND, refund, private)
    change.tell("refund.created", REFUND, refund["id"])
    if status == "failed":
        change.tell("refund.failed", REFUND, refund["id"])
    else:
        _recount(change, charge["id"])
        change.tell("charge.refunded", CHARGE, charge["id"], previous=_before(charge))
    return refund


def _charge_to_refund(change: Change, params: Json) -> Json:
    if "charge" not in params and "payment_intent" not in params:
        raise refused_parameter(
            "One of the following params should be provided for this request: payment_intent or charge.",
            "payment_intent",
            "parameter_missing",
        )
    intent_id = params.get("payment_intent")
    intent = change.get(INTENT, intent_id) if intent_id else None
    if intent_id and intent is None:
        raise missing_object("payment_intent", intent_id, "payment_intent")
    charge_id = params["charge"] if "charge" in params else intent["latest_charge"] if intent else None
    charge = change.get(CHARGE, charge_id) if charge_id else None
    if charge is None and "charge" in params:
        raise missing_object("charge", params["charge"], "charge")
    if charge is not None and intent_id and charge["payment_intent"] != intent_id:
        raise refused_parameter(f"Charge {charge_id} does not belong to PaymentIntent {intent_id}.", "charge")
    if charge is None or charge["status"] != "succeeded" or not charge["captured"]:
        owner = charge["payment_intent"] if charge is not None else intent_id
        raise invalid_request(f"This PaymentIntent ({owner}) does not have a successful charge to refund.")
    return charge


def _check(change: Change, charge: Json, amount: int, left: int) -> None:
    """Looks only."""
    if amount < 1 and left > 0:
        raise refused_parameter("This value must be greater than or equal to 1.", "amount", "parameter_invalid_integer")
    disputes = [change.get(DISPUTE, key) for key in change.account.disputes_of.get(charge["id"], ())]
    if any(dispute and not dispute["is_charge_refundable"] for dispute in disputes):
        raise invalid_request(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if charge["refunded"] or left == 0:
        raise invalid_request(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount > left:
        raise invalid_request(
            f"Refund amount ({money(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({money(left, charge['currency'])})",
            param="amount",
        )


def update(change: Change, refund_id: str, params: Json) -> Json:
    """Only the metadata (Stripe: update a refund)."""
    refund = _load(change, refund_id)
    before = refund["metadata"]
    refund["metadata"] = merged_metadata(before, params.get("metadata"))
    change.put(REFUND, refund)
    _tell_of_update(change, refund, {"metadata": before})
    return refund


def cancel(change: Change, refund_id: str) -> Json:
    """Only what requires an action of the shopper, which a card's refund never does (Stripe: cancel a refund)."""
    refund = _load(change, refund_id)
    if refund["status"] != "requires_action":
        raise invalid_request(
            f"This refund could not be canceled because it has a status of {refund['status']}. Only a refund with one "
            "of the following statuses may be canceled: requires_action."
        )
    return end(change, refund_id, "canceled")


def end(change: Change, refund_id: str, outcome: str, reason: str | None = None) -> Json:
    """The bank's late word."""
    refund = _load(change, refund_id)
    status = refund["status"]
    if outcome not in _ENDINGS.get(status, ()):
        raise invalid_request(f"This refund cannot become {outcome}: its status is {status}.")
    before: Json = {"status": status}
    refund.pop("pending_reason", None)
    refund.pop("next_action", None)
    refund |= {"status": outcome, "destination_details": _destination(outcome)}
    if outcome in _GONE:
        before |= {"failure_balance_transaction": None, "failure_reason": None}
        _fail(change, refund, reason or ("merchant_request" if outcome == "canceled" else "expired_or_canceled_card"))
    change.put(REFUND, refund, {**change.private(REFUND, refund_id), "then": None})
    _tell_of_update(change, refund, before)
    if outcome in _GONE:
        charge = _recount(change, refund["charge"])
        if outcome == "failed":
            change.tell("refund.failed", REFUND, refund_id)
        change.tell("charge.updated", CHARGE, refund["charge"], previous=_before(charge))
    return refund


def end_as_the_card_does(change: Change, refund_id: str) -> None:
    """Stripe: testing, asynchronous refunds."""
    outcome = change.private(REFUND, refund_id).get("then")
    refund = change.get(REFUND, refund_id)
    if outcome is not None and refund is not None and outcome in _ENDINGS.get(refund["status"], ()):
        end(change, refund_id, outcome)


def _load(change: Change, refund_id: str) -> Json:
    refund = change.get(REFUND, refund_id)
    if refund is None:
        raise missing_object("refund", refund_id)
    return refund


def _fail(change: Change, refund: Json, reason: str) -> None:
    """The money comes back to the account's balance (Stripe: failed refunds)."""
    refund["failure_reason"] = reason
    refund["failure_balance_transaction"] = make_transaction(
        change, "refund_failure", refund["id"], refund["currency"], refund["amount"], description="REFUND FAILURE"
    )


def _recount(change: Change, charge_id: str) -> Json:
    """What the charge was like before."""
    charge = change.get(CHARGE, charge_id)
    assert charge is not None
    before = dict(charge)
    refunds = [change.get(REFUND, key) for key in change.account.refunds_of[charge_id]]
    given_back = sum(refund["amount"] for refund in refunds if refund and refund["status"] not in _GONE)
    charge |= {"amount_refunded": given_back, "refunded": given_back == charge["amount_captured"]}
    change.put(CHARGE, charge)
    return before


def _before(charge: Json) -> Json:
    return {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}


def _tell_of_update(change: Change, refund: Json, previous: Json) -> None:
    """Both names, the old and the new (Stripe: refund.updated; charge.refund.updated)."""
    change.tell("refund.updated", REFUND, refund["id"], previous=previous)
    change.tell("charge.refund.updated", REFUND, refund["id"], previous=previous)


def _destination(status: str) -> Json:
    if status in ("pending", "requires_action"):
        return {"card": {"type": "pending"}, "type": "card"}
    reference = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return {"card": reference, "type": "card"}


def intent_to_lock(account: Account, ids: list[str], params: Json) -> str | None:
    """A refund changes its payment: no two changes of one payment at once (Stripe: object lock timeouts)."""
    if ids:
        refund = account.get(REFUND, ids[0])
        return refund["payment_intent"] if refund else None
    intent_id: str | None = params.get("payment_intent") or account.intent_of(params.get("charge"))
    return intent_id
