"""/_sandbox/*: the switches and the verdict, JSON, for tests and for the human page. Loopback only, no key.

    GET  health              POST reset               GET|POST clock {"advance_seconds": n}
    GET|POST|DELETE rules    POST release/NAME        (faults.py)
    GET|PUT webhooks         POST webhooks/send       (webhooks.py)

    GET|PUT search           {"lag_seconds": n}       (freshness.py)
    POST bulk                                         (bulk.py)

    POST reset               {"account": "keep"}: the account's id stays; "change": the keys are another account's

verdict.py, dashboard.py and bank.py say what theirs are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import API_VERSION, bank, bulk, dashboard, verdict
from .account import EVENT, Account, Change
from .faults import Rules
from .freshness import LAG_SECONDS
from .later import Later
from .switches import Ask, Refused, Switches, chosen, from_dashboard, make_change, only
from .webhooks import Disguise, Webhooks

Json = dict[str, Any]


class Control:
    def __init__(self, account: Account, rules: Rules, webhooks: Webhooks, later: Later) -> None:
        self.account = account
        self.rules = rules
        self.webhooks = webhooks
        self.later = later
        self._switches: Switches = {
            ("GET", "health"): lambda ask: self.health(),
            ("GET", "clock"): lambda ask: self.clock(),
            ("POST", "clock"): lambda ask: self.advance(ask.body),
            ("GET", "rules"): lambda ask: self.rules.list(),
            ("POST", "rules"): lambda ask: self.rules.add(ask.body),
            ("DELETE", "rules"): lambda ask: self.rules.clear(),
            ("POST", "release", "*"): lambda ask: self.release(ask.name),
            ("GET", "webhooks"): lambda ask: self.webhooks.state(),
            ("PUT", "webhooks"): lambda ask: self.webhooks.switch(ask.body),
            ("POST", "webhooks", "send"): lambda ask: self.send(ask.body),
            ("GET", "search"): lambda ask: self.search(),
            ("PUT", "search"): lambda ask: self.lag(ask.body),
            ("POST", "reset"): lambda ask: self.reset(ask.body),
            **verdict.switches(account),
            **dashboard.switches(account),
            **bank.switches(account),
            ("POST", "bulk"): lambda ask: bulk.bring_in(account, ask.body),
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

    def clock(self) -> Json:
        return {"now": self.account.clock.now(), "offset_seconds": self.account.clock.offset_seconds}

    def advance(self, body: Json) -> Json:
        self.account.advance(float(only(body, "advance_seconds").get("advance_seconds", 0)))
        self.later.look_again()
        return self.clock()

    def search(self) -> Json:
        return {"lag_seconds": self.account.freshness.lag_seconds}

    def lag(self, body: Json) -> Json:
        self.account.freshness.lag_seconds = float(only(body, "lag_seconds").get("lag_seconds", LAG_SECONDS))
        return self.search()

    def release(self, name: str) -> Json:
        if not self.rules.release(name):
            raise Refused(404, f"nothing is held by the name {name}")
        return {"released": name}

    def send(self, body: Json) -> Json:
        wrong = {name: value for name, value in body.items() if name in Disguise.__dataclass_fields__}
        only(body, "event", "intent", "type", "times", "simultaneous", *wrong)
        event_id = body.get("event")
        if event_id is None:
            event_id = self._newest_event(body.get("intent", ""), body.get("type"))
        if event_id not in self.account.shelves[EVENT]:
            raise Refused(404, f"no such event: {event_id}")
        times, simultaneous = int(body.get("times", 1)), bool(body.get("simultaneous", False))
        statuses = self.webhooks.send(event_id, times, simultaneous, Disguise(**wrong))
        return {"event": event_id, "statuses": statuses}

    def _newest_event(self, intent_id: str, kind: str | None) -> str:
        for event in reversed(verdict.events(self.account, intent_id)):
            if kind is None or event["type"] == kind:
                return str(event["id"])
        raise Refused(404, f"no event {kind} for the intent {intent_id}")

    def change(self, intent_id: str, work: Callable[[Change], Json]) -> Json:
        return make_change(self.account, intent_id, work, from_dashboard())

    def reset(self, body: Json) -> Json:
        another = chosen({"account": "keep"} | only(body, "account"), "account", "keep", "change") == "change"
        self.later.clear()
        self.webhooks.reset()
        self.account.reset(another=another)
        self.rules.clear()  # last: whoever is held here and let go must find nothing left to charge
        return {"reset": True, "account": self.account.own_id}
