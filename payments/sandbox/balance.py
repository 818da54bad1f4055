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
    transaction_id = new_id("txn")
    transaction = new_transaction(transaction_id, change.clock.seconds(), kind, source, currency, amount, fee)
    change.put(BALANCE, transaction | {"description": description, "reporting_category": category or kind})
    return transaction_id


def new_transaction(
    transaction_id: str, created: int, kind: str, source: str, currency: str, amount: int, fee: int
) -> Json:
    details = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees" if kind == "charge" else "Dispute fee",
        "type": "stripe_fee",
    }
    return {
        "id": transaction_id,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": created + (_AVAILABLE_AFTER_SECONDS if kind == "charge" else 0),
        "balance_type": "payments",
        "created": created,
        "currency": currency,
        "description": None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [details] if fee else [],
        "net": amount - fee,
        "reporting_category": kind,
        "source": source,
        "status": "pending" if kind == "charge" else "available",
        "type": kind,
    }
