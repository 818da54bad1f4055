"""/_sandbox/*: the switches and the verdict, JSON, for tests and for the human page. Loopback only, no key.

GET  health                         GET  charges?order=ID     GET intents?order=ID
GET  calls?order=ID&path=GLOB       GET|POST|DELETE rules     POST release/NAME
GET|PUT webhooks                    POST webhooks/send        GET  deliveries?event=ID
POST intents/ID/challenge           POST intents/ID/processing-end
GET  refunds?order=ID               POST refunds/ID/end       {"outcome": "succeeded|failed|canceled", "reason": ...}
POST reset

As if done in the dashboard: without an idempotency key.

POST charges/ID/refund              {"amount", "reason", "metadata"}, all optional
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from . import API_VERSION, intents, refunds
from .account import CHARGE, EVENT, INTENT, REFUND, Account, Cause, Change
from .errors import StripeError
from .faults import Rules
from .ids import new_request_id
from .later import Later
from .webhooks import Webhooks

Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Ask:
    query: dict[str, str]
    body: Json
    name: str


Switch = Callable[[Ask], Any]


class Control:
    def __init__(self, account: Account, rules: Rules, webhooks: Webhooks, later: Later) -> None:
        self.account = account
        self.rules = rules
        self.webhooks = webhooks
        self.later = later

        self._switches: dict[tuple[str, ...], Switch] = {
            ("GET", "health"): lambda ask: self.health(),
            ("GET", "charges"): lambda ask: self.charges(ask.query.get("order")),
            ("GET", "intents"): lambda ask: self.intents(ask.query.get("order")),
            ("GET", "calls"): lambda ask: self.calls(ask.query.get("order"), ask.query.get("path")),
            ("GET", "events"): lambda ask: self.events(ask.query.get("intent")),
            ("GET", "rules"): lambda ask: self.rules.list(),
            ("POST", "rules"): lambda ask: self.rules.add(ask.body),
            ("DELETE", "rules"): lambda ask: self.rules.clear(),
            ("POST", "release", "*"): lambda ask: self.release(ask.name),
            ("GET", "webhooks"): lambda ask: self.webhooks.state(),
            ("PUT", "webhooks"): lambda ask: self.webhooks.switch(ask.body),
            ("POST", "webhooks", "send"): lambda ask: self.send(ask.body),
            ("POST", "intents", "*", "challenge"): lambda ask: self.challenge(ask.name, ask.body),
            ("POST", "intents", "*", "processing-end"): lambda ask: self.end_processing(ask.name, ask.body),
            ("GET", "refunds"): lambda ask: self.refunds(ask.query.get("order")),
            ("POST", "refunds", "*", "end"): lambda ask: self.end_refund(ask.name, ask.body),
            ("POST", "charges", "*", "refund"): lambda ask: self.refund(ask.name, ask.body),
            ("POST", "reset"): lambda ask: self.reset(),
        }

    def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> Any:
        parts = path.strip("/").split("/")
        for pattern, switch in self._switches.items():
            wanted = [method, *parts]
            if len(wanted) == len(pattern) and all(a in ("*", b) for a, b in zip(pattern, wanted, strict=True)):
                try:
                    return switch(Ask(query, body, parts[1] if len(parts) > 1 else ""))
                except (ValueError, TypeError) as error:
                    raise Refused(400, str(error)) from None
        raise Refused(404, f"no such switch: {method} /_sandbox/{path}")

    def health(self) -> Json:
        return {"ok": True, "api_version": API_VERSION, "pid": os.getpid(), "book": str(self.account.book.path)}

    def release(self, name: str) -> Json:
        if not self.rules.release(name):
            raise Refused(404, f"nothing is held by the name {name}")
        return {"released": name}

    def challenge(self, intent_id: str, body: Json) -> Json:
        passed = _choice(body, "pass", "fail")
        return self.change(intent_id, lambda change: intents.answer_challenge(change, intent_id, passed))

    def end_processing(self, intent_id: str, body: Json) -> Json:
        succeeds = _choice(body, "succeed", "fail")
        return self.change(intent_id, lambda change: intents.end_processing(change, intent_id, succeeds))

    def charges(self, order: str | None) -> list[Json]:
        """Each with `idempotency_key`: the key of the request that made it."""
        with self.account.lock:
            found = []
            if order is None:
                charges = list(self.account.shelves[CHARGE])
            else:
                ids = [
                    ch for pi in self.account.intents_of.get(order, ()) for ch in self.account.charges_of.get(pi, ())
                ]
                charges = [charge for key in ids if (charge := self.account.get(CHARGE, key)) is not None]
            for charge in charges:
                private = self.account.private(CHARGE, charge["id"])
                found.append({**charge, "idempotency_key": private.get("idempotency_key")})
        self.account.book.wait_for_changes()
        return found

    def intents(self, order: str | None) -> list[Json]:
        with self.account.lock:
            if order is None:
                return list(self.account.shelves[INTENT])
            ids = list(self.account.intents_of.get(order, ()))
            return [intent for key in ids if (intent := self.account.get(INTENT, key)) is not None]

    def refunds(self, order: str | None) -> list[Json]:
        """Each with `idempotency_key`: the key of the request that made it."""
        account = self.account
        with account.lock:
            ids = (
                [
                    refund
                    for intent in account.intents_of.get(order, ())
                    for charge in account.charges_of.get(intent, ())
                    for refund in account.refunds_of.get(charge, ())
                ]
                if order is not None
                else [refund["id"] for refund in account.shelves[REFUND]]
            )
            found = [refund for key in ids if (refund := account.get(REFUND, key)) is not None]
            keys = [account.private(REFUND, refund["id"]).get("idempotency_key") for refund in found]
        account.book.wait_for_changes()
        return [{**refund, "idempotency_key": key} for refund, key in zip(found, keys, strict=True)]

    def refund(self, charge_id: str, body: Json) -> Json:
        _known(body, "amount", "reason", "metadata")
        return self.change(
            self.account.intent_of(charge_id), lambda change: refunds.create(change, {"charge": charge_id, **body})
        )

    def end_refund(self, refund_id: str, body: Json) -> Json:
        _known(body, "outcome", "reason")
        outcome = str(body.get("outcome", "succeeded"))
        locked = refunds.intent_to_lock(self.account, [refund_id], {})
        cause = Cause()  # the bank, not a request
        return self.change(locked, lambda change: refunds.end(change, refund_id, outcome, body.get("reason")), cause)

    def calls(self, order: str | None, path: str | None) -> list[Json]:
        with self.account.lock:
            calls = list(self.account.calls)
        return [
            dict(call)
            for call in calls
            if (order is None or call["order"] == order) and (path is None or fnmatchcase(call["path"], path))
        ]

    def events(self, intent_id: str | None) -> list[Json]:
        return [event for event in self.account.shelves[EVENT] if intent_id is None or _about(event) == intent_id]

    def send(self, body: Json) -> Json:
        event_id = body.get("event")
        if event_id is None:
            event_id = self._newest_event(body.get("intent", ""), body.get("type"))
        if event_id not in self.account.shelves[EVENT]:
            raise Refused(404, f"no such event: {event_id}")
        statuses = self.webhooks.send(event_id, int(body.get("times", 1)), bool(body.get("simultaneous", False)))
        return {"event": event_id, "statuses": statuses}

    def _newest_event(self, intent_id: str, kind: str | None) -> str:
        for event in reversed(self.events(intent_id)):
            if kind is None or event["type"] == kind:
                return str(event["id"])
        raise Refused(404, f"no event {kind} for the intent {intent_id}")

    def change(self, intent_id: str | None, work: Callable[[Change], Json], cause: Cause | None = None) -> Json:
        """By default as the dashboard does it: a request with an id, and without a key."""
        change = self.account.begin(cause or Cause(request_id=new_request_id()))
        try:
            with self.account.only_one_on(intent_id), self.account.lock:
                changed = work(change)
                written = change.commit()
        except StripeError as error:
            raise Refused(409 if error.status == 400 else error.status, str(error)) from None
        self.account.book.wait(written)
        change.announce()
        return changed

    def reset(self) -> Json:
        self.rules.clear()
        self.later.clear()
        self.webhooks.reset()
        self.account.reset()
        return {"reset": True}


def _about(event: Json) -> str | None:
    thing = event["data"]["object"]
    return str(thing["id"]) if thing["object"] == "payment_intent" else thing.get("payment_intent")


def _known(body: Json, *names: str) -> None:
    unknown = set(body) - set(names)
    if unknown:
        raise Refused(400, f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}")


def _choice(body: Json, yes: str, no: str) -> bool:
    outcome = body.get("outcome")
    if outcome not in (yes, no):
        raise Refused(400, f"outcome must be {yes} or {no}")
    return bool(outcome == yes)
