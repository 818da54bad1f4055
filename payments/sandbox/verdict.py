"""What the book says: the verdict of every test that touches money.

GET charges?order=ID    GET intents?order=ID    GET refunds?order=ID    GET disputes?order=ID
GET events?intent=ID    GET calls?order=ID&path=GLOB
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from .account import CHARGE, DISPUTE, EVENT, INTENT, REFUND, Account
from .switches import Ask, Switches

Json = dict[str, Any]


def switches(account: Account) -> Switches:
    def charges(ask: Ask) -> list[Json]:
        order = ask.query.get("order")
        return _with_keys(account, CHARGE, None if order is None else charges_of_order(account, order))

    def intents(ask: Ask) -> list[Json]:
        order = ask.query.get("order")
        with account.lock:
            ids = None if order is None else account.intents_of.get(order, ())
            return list(_things(account, INTENT, ids))

    def refunds(ask: Ask) -> list[Json]:
        order = ask.query.get("order")
        ids = None if order is None else _on_charges(account.refunds_of, charges_of_order(account, order))
        return _with_keys(account, REFUND, ids)

    def disputes(ask: Ask) -> list[Json]:
        order = ask.query.get("order")
        with account.lock:
            ids = None if order is None else _on_charges(account.disputes_of, charges_of_order(account, order))
            return list(_things(account, DISPUTE, ids))

    def calls(ask: Ask) -> list[Json]:
        order, path = ask.query.get("order"), ask.query.get("path")
        with account.lock:
            calls = list(account.calls)
        return [
            dict(call)
            for call in calls
            if (order is None or call["order"] == order) and (path is None or fnmatchcase(call["path"], path))
        ]

    return {
        ("GET", "charges"): charges,
        ("GET", "intents"): intents,
        ("GET", "refunds"): refunds,
        ("GET", "disputes"): disputes,
        ("GET", "calls"): calls,
        ("GET", "events"): lambda ask: events(account, ask.query.get("intent")),
    }


def events(account: Account, intent_id: str | None) -> list[Json]:
    return [event for event in account.shelves[EVENT] if intent_id is None or _about(event) == intent_id]


def charges_of_order(account: Account, order: str) -> list[str]:
    return _on_charges(account.charges_of, account.intents_of.get(order, ()))


def _on_charges(index: dict[str, list[str]], keys: Iterable[str]) -> list[str]:
    return [found for key in list(keys) for found in list(index.get(key, ()))]


def _things(account: Account, noun: str, ids: Iterable[str] | None) -> Iterable[Json]:
    """All of them, when no ids are given."""
    if ids is None:
        return account.shelves[noun]
    return [thing for key in ids if (thing := account.get(noun, key)) is not None]


def _with_keys(account: Account, noun: str, ids: Iterable[str] | None) -> list[Json]:
    """Each with `idempotency_key`: the key of the request that made it, or None."""
    with account.lock:
        found = [
            {**thing, "idempotency_key": account.private(noun, thing["id"]).get("idempotency_key")}
            for thing in _things(account, noun, ids)
        ]
    account.book.wait_for_changes()
    return found


def _about(event: Json) -> str | None:
    thing = event["data"]["object"]
    return str(thing["id"]) if thing["object"] == "payment_intent" else thing.get("payment_intent")
