"""Succeeded payments by the hundred thousand: an account with a past, for a sweep to walk through.

    POST /_sandbox/bulk    JSON lines of {"order", "payment", "amount", "currency", "created", "env", "metadata"}
                           or {"payments": n, "since", "until", "amount", "currency", "env"}: n payments, evenly spread

Each row becomes an intent, a charge, a payment method and a balance transaction, as the API would have made them, but
no event and no webhook. It stays a row, in the book and in memory, until somebody looks at it or changes it: so a
hundred thousand are brought in, or rebuilt, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .account import BALANCE, CHARGE, INTENT, METHOD, Account
from .balance import new_transaction
from .cards import BY_NUMBER
from .charges import fee_for, new_charge
from .currencies import DECIMALS
from .ids import random_text
from .intents import new_intent
from .methods import new_method
from .shelf import Render

Json = dict[str, Any]

_CARD = BY_NUMBER["4242424242424242"]
_ROWS_A_LINE = 5_000
_FIELDS = ("order", "payment", "amount", "currency", "created", "env", "metadata")


class Row(NamedTuple):
    ids: str  # what follows the prefix in the ids of all four objects
    amount: int
    currency: str
    created: int
    metadata: dict[str, str]

    @property
    def intent(self) -> str:
        return f"pi_3{self.ids}"

    @property
    def charge(self) -> str:
        return f"ch_3{self.ids}"

    @property
    def method(self) -> str:
        return f"pm_1{self.ids}"

    @property
    def transaction(self) -> str:
        return f"txn_3{self.ids}"


def bring_in(account: Account, body: Json) -> list[Json]:
    """Answers with the ids, in the order of the rows."""
    now = account.clock.seconds()
    given = body["rows"] if "rows" in body else _spread(body, now)
    rows = [_row(each, now) for each in given]
    written = 0
    for start in range(0, len(rows), _ROWS_A_LINE):
        part = rows[start : start + _ROWS_A_LINE]
        with account.lock:
            place(account, part)
            written = account.book.append({"kind": "bulk", "rows": part}, change=True)
    account.book.wait(written)
    return [{"order": row.metadata.get("order"), "intent": row.intent, "charge": row.charge} for row in rows]


def _row(given: Json, now: int) -> Row:
    unknown = set(given) - set(_FIELDS)
    if unknown or not isinstance(given.get("amount"), int):
        raise ValueError(f"a row has an amount in minor units and may have {', '.join(_FIELDS)}: {given}")
    named = {name: str(given[name]) for name in ("order", "payment", "env") if given.get(name) is not None}
    currency = str(given.get("currency", "gbp")).lower()  # as Stripe writes it, however it was given
    if currency not in DECIMALS:
        raise ValueError(f"no such currency: {currency}")
    created = int(given.get("created", now))
    return Row(random_text(23), given["amount"], currency, created, named | given.get("metadata", {}))


def _spread(body: Json, now: int) -> Iterator[Json]:
    count = int(body["payments"])
    until = float(body.get("until", now))
    since = float(body.get("since", until - 24 * 60 * 60))
    for number in range(count):
        yield {
            "order": f"bulk-{number}",
            "payment": f"bulk-payment-{number}",
            "amount": body.get("amount", 2400),
            "currency": body.get("currency", "gbp"),
            "created": since + (until - since) * number / count,
            "env": body.get("env"),
        }


def place(account: Account, rows: Iterable[Any]) -> None:
    """Also those read from the book, which are lists there."""
    for each in rows:
        row = Row(*each)
        account.shelves[INTENT].put_row(row.intent, row.created, row)
        account.shelves[CHARGE].put_row(row.charge, row.created, row)
        account.shelves[METHOD].put_row(row.method, row.created, row)
        account.shelves[BALANCE].put_row(row.transaction, row.created, row)
        account.charges_of[row.intent].append(row.charge)
        order = row.metadata.get("order")
        if order:
            account.intents_of[order].append(row.intent)
            account.note_taken(order, row.charge)


def _intent(row: Row) -> Json:
    params = {
        "amount": row.amount,
        "metadata": row.metadata,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
    }
    secret = f"{row.intent}_secret_{row.ids}"
    return new_intent(row.intent, secret, row.created, row.currency, params) | {
        "amount_received": row.amount,
        "latest_charge": row.charge,
        "payment_method": row.method,
        "status": "succeeded",
    }


def _charge(row: Row) -> Json:
    charge = new_charge(row.charge, row.created, _intent(row), _method(row), _CARD)
    return charge | {"balance_transaction": row.transaction}


def _method(row: Row) -> Json:
    return new_method(row.method, row.created, _CARD)


def _transaction(row: Row) -> Json:
    fee = fee_for(row.amount)
    return new_transaction(row.transaction, row.created, "charge", row.charge, row.currency, row.amount, fee)


RENDERS: dict[str, Render] = {
    INTENT: lambda row: (_intent(row), {}),
    CHARGE: lambda row: (_charge(row), {}),
    METHOD: lambda row: (_method(row), {"number": _CARD.number, "spent": True}),
    BALANCE: lambda row: (_transaction(row), {}),
}
