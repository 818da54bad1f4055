"""Rules that lose, delay or spoil answers.

    {"method": "POST", "path": "/v1/payment_intents/*/confirm", "when": "after", "act": "reset", "times": 1}

`when` is before or after the effect. The first rule that matches and has times left is applied, one per call. The
book's entry of the call names the fault, so a test can tell what its shop lived through.

    reset         the connection is closed with RST           hang         no answer until the caller hangs up
    delay         `seconds` late                              drip         the answer, a byte every `seconds`
    429           rate limited, nothing done or stored        lock_timeout, 409_in_use, 401 likewise
    403           a restricted key that may not, likewise
    500           before: stored under the key without effect; after: effect, yet stored and answered as 500
    502, 503      a proxy's answer: before, nothing done; after, done and stored, but the caller hears 502
    decline       the bank says no (`decline_code`)           processing   the bank will say later
    refund_pending, refund_requires_action, refund_failed     how a refund begins; POST /_sandbox/refunds/ID/end
    hold          blocks until POST /_sandbox/release/NAME; `hold` may also be added to any other act

`lock` (default true): a delay, hold or hang before the effect keeps the object locked, as a slow bank does, so that
another mutation of it meets lock_timeout. `metadata_order` limits a rule to one order's objects. `drop_webhooks`: the
events of this call are never delivered. `every`: apply to each n-th matching call only.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .cards import DECLINES

Json = dict[str, Any]

REFUSALS = ("429", "lock_timeout", "409_in_use", "401", "403")
WIRE = ("reset", "hang", "delay", "drip", "502", "503", "hold")
ASKING = {
    "decline": "confirm",
    "processing": "confirm",
    "refund_pending": "refund",
    "refund_requires_action": "refund",
    "refund_failed": "refund",
}  # what the bank says, and what it must have been asked
EXECUTION = ("500", *ASKING)
ACTS = (*REFUSALS, *WIRE, *EXECUTION, "none")
_NUMBERS = itertools.count(1)


@dataclass
class Rule:
    act: str
    method: str = "POST"
    path: str = "*"
    when: str = "before"
    seconds: float = 0.0
    times: int | None = None
    metadata_order: str | None = None
    hold: str | None = None
    drop_webhooks: bool = False
    decline_code: str | None = None
    lock: bool = True
    every: int = 1
    id: int = field(default_factory=lambda: next(_NUMBERS))
    hits: int = 0
    seen: int = 0
    holding: int = 0

    def __post_init__(self) -> None:
        if self.act not in ACTS:
            raise ValueError(f"act must be one of {', '.join(ACTS)}")
        if self.when not in ("before", "after"):
            raise ValueError("when must be before or after")
        if self.decline_code is not None and self.decline_code not in DECLINES:
            raise ValueError(f"decline_code must be one of {', '.join(sorted(str(code) for code in DECLINES))}")
        if self.act == "hold" and not self.hold:
            raise ValueError("act hold needs a name in hold")

    def matches(self, method: str, path: str, order: str | None) -> bool:
        return (
            self.method in ("*", method)
            and fnmatchcase(path, self.path)
            and (self.metadata_order is None or self.metadata_order == order)
        )

    @property
    def slow_before(self) -> bool:
        return self.when == "before" and (self.act in ("delay", "hang", "hold") or self.hold is not None)


class Rules:
    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._holds: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def add(self, wanted: Json) -> Json:
        known = {name for name in Rule.__dataclass_fields__ if name not in ("id", "hits", "seen", "holding")}
        unknown = set(wanted) - known
        if unknown:
            raise ValueError(f"unknown in a rule: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        if "act" not in wanted:
            wanted = {**wanted, "act": "hold" if wanted.get("hold") else "none"}
        rule = Rule(**wanted)
        with self._lock:
            self._rules.append(rule)
            if rule.hold:
                self._holds[rule.hold] = threading.Event()
        return asdict(rule)

    def list(self) -> list[Json]:
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def clear(self) -> None:
        """Also lets go of whoever is held."""
        with self._lock:
            self._rules.clear()
            for hold in self._holds.values():
                hold.set()

    def pick(self, method: str, path: str, order: str | None, replaying: bool, asked: str | None) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if replaying and rule.act in EXECUTION:
                    continue
                if rule.act in ASKING and ASKING[rule.act] != asked:
                    continue
                if rule.times is not None and rule.hits >= rule.times:
                    continue
                if rule.matches(method, path, order):
                    rule.seen += 1
                    if rule.seen % rule.every:
                        continue
                    rule.hits += 1
                    return rule
        return None

    def wait(self, rule: Rule) -> None:
        if not rule.hold:
            return
        with self._lock:
            hold = self._holds[rule.hold]
            rule.holding += 1
        hold.wait()
        with self._lock:
            rule.holding -= 1

    def release(self, name: str) -> bool:
        with self._lock:
            hold = self._holds.get(name)
        if hold is None:
            return False
        hold.set()
        return True
