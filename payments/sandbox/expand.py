"""`expand[]`: ids become the objects they name (Stripe: expanding responses)."""

from __future__ import annotations

from typing import Any

from .account import BALANCE, CHARGE, CUSTOMER, DISPUTE, INTENT, METHOD, REFUND, Account
from .errors import refused_parameter

Json = dict[str, Any]

_DEEPEST = 4

# For each kind of object, its fields that hold an id, and what kind that id is (None: never set in the sandbox).
_FIELDS: dict[str, dict[str, str | None]] = {
    INTENT: {
        "latest_charge": CHARGE,
        "payment_method": METHOD,
        "customer": CUSTOMER,
        "application": None,
        "on_behalf_of": None,
        "review": None,
        "source": None,
    },
    CHARGE: {
        "payment_intent": INTENT,
        "balance_transaction": BALANCE,
        "failure_balance_transaction": None,
        "refunds": REFUND,
        "customer": CUSTOMER,
        "application": None,
        "application_fee": None,
        "on_behalf_of": None,
        "review": None,
        "source_transfer": None,
    },
    METHOD: {"customer": CUSTOMER},
    BALANCE: {"source": CHARGE},
    REFUND: {
        "balance_transaction": BALANCE,
        "failure_balance_transaction": BALANCE,
        "charge": CHARGE,
        "payment_intent": INTENT,
        "payment_method": METHOD,
        "customer": CUSTOMER,
        "source_transfer_reversal": None,
        "transfer_reversal": None,
    },
    CUSTOMER: {"default_source": None, "test_clock": None},
    DISPUTE: {"charge": CHARGE, "payment_intent": INTENT},
}


def check_expand(noun: str, paths: list[str], is_list: bool) -> None:
    """Refuses what cannot be expanded, before anything is executed."""
    for path in paths:
        parts = path.split(".")
        if is_list and parts[0] == "data":
            parts = parts[1:]
        elif is_list:
            raise refused_parameter(
                f"This property cannot be expanded ({path}). You may want to try expanding 'data.{path}' instead.",
                "expand",
            )
        if len(parts) > _DEEPEST:
            raise refused_parameter(f"You cannot expand more than {_DEEPEST} levels of a property.", "expand")
        kind: str | None = noun
        for part in parts:
            if kind is None or part not in _FIELDS.get(kind, {}):
                raise refused_parameter(f"This property cannot be expanded ({path}).", "expand")
            kind = _FIELDS[kind][part]


def expanded(account: Account, noun: str, thing: Json, paths: list[str]) -> Json:
    for path in paths:
        parts = path.split(".")
        if thing.get("object") == "list":
            for each in thing["data"]:
                _expand(account, noun, each, parts[1:])
        else:
            _expand(account, noun, thing, parts)
    return thing


def _expand(account: Account, noun: str, thing: Json, parts: list[str]) -> None:
    if not parts:
        return
    kind = _FIELDS[noun][parts[0]]
    if (noun, parts[0]) == (CHARGE, "refunds"):
        thing.setdefault("refunds", _refunds(account, thing["id"]))
        return
    value = thing.get(parts[0])
    if kind is None or value is None:
        return
    if isinstance(value, str):
        value = thing[parts[0]] = account.get(kind, value)
    if value is not None:
        _expand(account, kind, value, parts[1:])


def _refunds(account: Account, charge_id: str) -> Json:
    """The ten newest, and only when asked for (Stripe: since 2022-11-15)."""
    found, more = account.shelves[REFUND].page(limit=10, among=account.refunds_of.get(charge_id, ()))
    return {"object": "list", "data": found, "has_more": more, "url": f"/v1/charges/{charge_id}/refunds"}
