"""Balance transactions: what a charge, refund or dispute does to the account's balance (Stripe: balance)."""

from __future__ import annotations

from typing import Any

from .account import BALANCE, Change
from .ids import new_id

Json = dict[str, Any]

_AVAILABLE_AFTER_SECONDS = 2 * 24 * 60 * 60


def make_transaction(
    change: Change,
    kind: str,
    source: str,
    currency: str,
    amount: int,
    fee: int = 0,
    description: str | None = None,
    category: str | None = None,
) -> str:
    """Puts it and returns its id. Money that leaves has a negative amount."""
    now = change.clock.seconds()
    details = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees" if kind == "charge" else "Dispute fee",
        "type": "stripe_fee",
    }
    transaction: Json = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now + (_AVAILABLE_AFTER_SECONDS if kind == "charge" else 0),
        "balance_type": "payments",
        "created": now,
        "currency": currency,
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [details] if fee else [],
        "net": amount - fee,
        "reporting_category": category or kind,
        "source": source,
        "status": "pending" if kind == "charge" else "available",
        "type": kind,
    }
    change.put(BALANCE, transaction)
    transaction_id: str = transaction["id"]
    return transaction_id
