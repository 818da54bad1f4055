"""The late words of the bank and of the shopper at the bank, when told.

POST intents/ID/challenge        {"outcome": "pass" or "fail"}
POST intents/ID/processing-end   {"outcome": "succeed" or "fail"}
POST refunds/ID/end              {"outcome": "succeeded", "failed" or "canceled", "reason"}
    POST charges/ID/dispute          {"reason", "status": "needs_response" or "warning_needs_response", "amount"}
    POST disputes/ID/move            {"status": "under_review", "won", "lost", ...}
"""

from __future__ import annotations

from typing import Any

from . import disputes, intents, refunds
from .account import Account
from .switches import Ask, Switches, chosen, from_bank, from_dashboard, make_change, only

Json = dict[str, Any]


def switches(account: Account) -> Switches:
    def challenge(ask: Ask) -> Json:
        passed = chosen(ask.body, "outcome", "pass", "fail") == "pass"
        return make_change(
            account, ask.name, lambda change: intents.answer_challenge(change, ask.name, passed), from_dashboard()
        )

    def end_processing(ask: Ask) -> Json:
        succeeds = chosen(ask.body, "outcome", "succeed", "fail") == "succeed"
        return make_change(
            account, ask.name, lambda change: intents.end_processing(change, ask.name, succeeds), from_bank()
        )

    def end_refund(ask: Ask) -> Json:
        outcome = chosen(ask.body, "outcome", "succeeded", "failed", "canceled")
        locked = refunds.intent_to_lock(account, [ask.name], {})
        reason = ask.body.get("reason")
        return make_change(account, locked, lambda change: refunds.end(change, ask.name, outcome, reason), from_bank())

    def dispute(ask: Ask) -> Json:
        given = only(ask.body, "reason", "status", "amount")
        locked = account.intent_of(ask.name)
        return make_change(
            account, locked, lambda change: disputes.open_dispute(change, ask.name, **given), from_bank()
        )

    def move_dispute(ask: Ask) -> Json:
        status = chosen(only(ask.body, "status"), "status", *disputes.STATUSES)
        locked = disputes.intent_to_lock(account, [ask.name], {})
        return make_change(account, locked, lambda change: disputes.move(change, ask.name, status), from_bank())

    return {
        ("POST", "charges", "*", "dispute"): dispute,
        ("POST", "disputes", "*", "move"): move_dispute,
        ("POST", "intents", "*", "challenge"): challenge,
        ("POST", "intents", "*", "processing-end"): end_processing,
        ("POST", "refunds", "*", "end"): end_refund,
    }
