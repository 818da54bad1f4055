"""All state of the one Stripe account, and the change that writes itself into the book.

A `Change` is made under the account's lock. What it puts on the shelves, the events it tells of and the result kept
under the idempotency key become one line of the book; nobody is answered and no webhook leaves before it is synced.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import API_VERSION
from .book import Book
from .clock import Clock
from .errors import lock_timeout
from .freshness import Freshness
from .idempotency import KeyStore, Stored
from .ids import new_id, random_text
from .shelf import Render, Shelf, dump

Json = dict[str, Any]

INTENT, CHARGE, EVENT = "payment_intent", "charge", "event"
METHOD, TOKEN, BALANCE = "payment_method", "confirmation_token", "balance_transaction"
REFUND, DISPUTE, CUSTOMER = "refund", "dispute", "customer"
_NOUNS = (INTENT, CHARGE, EVENT, METHOD, TOKEN, BALANCE, REFUND, DISPUTE, CUSTOMER)
_SEARCHED = (INTENT, CUSTOMER)

LOCK_WAIT_SECONDS = 2.0  # how long a mutation waits for another one of the same object before lock_timeout
_CALLS_KEPT = 100_000
_FIRST_ID = "acct_1PayonceSandboxAA"  # of every sandbox, until a reset changes it


@dataclass
class Cause:
    """Who asked for a change: it ends up in `event.request`."""

    request_id: str | None = None
    idempotency_key: str | None = None
    peer: str = ""
    deliver: bool = True


@dataclass
class Account:
    book: Book
    clock: Clock = field(default_factory=Clock)
    base_url: str = ""
    renders: dict[str, Render] = field(default_factory=dict)  # how rows brought in by the thousand are written out
    place_rows: Callable[[Account, list[Any]], None] = lambda account, rows: None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.own_id = _FIRST_ID
        self.keys = KeyStore(self.clock)
        self.on_event: Callable[[str], None] = lambda event_id: None
        self.on_put: Callable[[str, str], None] = lambda noun, key: None
        self._object_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._empty()

    def _empty(self) -> None:
        self.freshness = Freshness(self.clock)
        self.shelves: dict[str, Shelf] = {noun: Shelf(self.renders.get(noun)) for noun in _NOUNS}
        self.charges_of: dict[str, list[str]] = defaultdict(list)
        self.intents_of: dict[str, list[str]] = defaultdict(list)  # by metadata.order
        self.refunds_of: dict[str, list[str]] = defaultdict(list)  # by charge
        self.disputes_of: dict[str, list[str]] = defaultdict(list)  # by charge
        self.taken: dict[str, set[str]] = defaultdict(set)  # the charges that took money, by metadata.order
        self.overcharged: set[str] = set()
        self.awaiting: set[tuple[str, str]] = set()  # of what the bank has more to say
        self.due: dict[str, None] = {}  # events whose webhook is not delivered yet
        self.failed: set[str] = set()  # events whose webhook never arrived
        self.calls: deque[Json] = deque(maxlen=_CALLS_KEPT)

    # Reading. Every answer is a copy.

    def get(self, noun: str, key: str) -> Json | None:
        return self.shelves[noun].get(key)

    def private(self, noun: str, key: str) -> Json:
        return self.shelves[noun].private(key)

    def order_of(self, intent_id: str | None) -> str | None:
        intent = self.get(INTENT, intent_id) if intent_id else None
        return intent["metadata"].get("order") if intent else None

    def intent_of(self, charge_id: str | None) -> str | None:
        charge = self.get(CHARGE, charge_id) if charge_id else None
        return charge["payment_intent"] if charge else None

    # Changing.

    @contextlib.contextmanager
    def only_one_on(self, object_id: str | None, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
        """Mutations of one object are serial (Stripe: object lock timeouts)."""
        if object_id is None:
            yield
            return
        with self.lock:
            lock = self._object_locks[object_id]
        if not lock.acquire(timeout=wait_seconds):
            raise lock_timeout()
        try:
            yield
        finally:
            lock.release()

    def begin(self, cause: Cause) -> Change:
        return Change(self, cause)

    def place(
        self, noun: str, thing: Json, private: Json | None, inner: str | None = None, at: float | None = None
    ) -> str:
        new = thing["id"] not in self.shelves[noun]
        if noun in _SEARCHED:
            self.freshness.note(noun, thing["id"], None if new else self.shelves[noun].text(thing["id"]), at)
        if noun == CHARGE and new and thing["payment_intent"]:
            self.charges_of[thing["payment_intent"]].append(thing["id"])
        if noun == CHARGE and thing["captured"] and thing["metadata"].get("order"):
            self.note_taken(thing["metadata"]["order"], thing["id"])
        if noun == REFUND and new:
            self.refunds_of[thing["charge"]].append(thing["id"])
        if noun == DISPUTE and new:
            self.disputes_of[thing["charge"]].append(thing["id"])
        if noun == INTENT:
            order = thing["metadata"].get("order")
            if order and thing["id"] not in self.intents_of[order]:
                self.intents_of[order].append(thing["id"])
        text = self.shelves[noun].put(thing, private, inner)
        if _awaits_bank(noun, thing, self.private(noun, thing["id"])):
            self.awaiting.add((noun, thing["id"]))
        else:
            self.awaiting.discard((noun, thing["id"]))
        return text

    def note_taken(self, order: str, charge_id: str) -> None:
        taken = self.taken[order]
        taken.add(charge_id)
        if len(taken) > 1:
            self.overcharged.add(order)

    def delivered(self, event_id: str, status: int) -> None:
        with self.lock:
            self._end_delivery(event_id, status)
        self.book.append({"kind": "delivered", "event": event_id, "status": status, "at": self.clock.now()})

    def _end_delivery(self, event_id: str, status: int) -> None:
        self.due.pop(event_id, None)
        if not 200 <= status < 300:
            self.failed.add(event_id)

    def attempted(self, event_id: str, status: int | str) -> None:
        self.book.append({"kind": "delivery", "event": event_id, "status": status, "at": self.clock.now()})

    # Calls.

    def begin_call(self, call: Json) -> None:
        with self.lock:
            self.calls.append(call)

    def end_call(self, call: Json) -> None:
        self.book.append({"kind": "call", **call})

    def advance(self, seconds: float) -> None:
        """Move the clock; a restart finds it moved."""
        with self.lock:
            self.clock.advance(seconds)
            written = self.book.append({"kind": "clock", "offset_seconds": self.clock.offset_seconds}, change=True)
        self.book.wait(written)

    # The book.

    def rebuild(self) -> None:
        for line in self.book.lines():
            kind = line["kind"]
            if kind == "change":
                self._redo(line)
            elif kind == "delivered":
                self._end_delivery(line["event"], line["status"])
            elif kind == "bulk":
                self.place_rows(self, line["rows"])
            elif kind == "account":
                self.own_id = line["id"]
            elif kind == "clock":
                self.clock.offset_seconds = line["offset_seconds"]
            elif kind == "call":
                self.calls.append({key: value for key, value in line.items() if key != "kind"})

    def _redo(self, line: Json) -> None:
        for noun, thing, private in line["objects"]:
            self.place(noun, thing, private, at=line["at"])
        for event, noun, inner, deliver in line["events"]:
            text = dump(inner) if inner is not None else self.shelves[noun].text(event["about"])
            self.place(EVENT, {key: value for key, value in event.items() if key != "about"}, None, text)
            if deliver:
                self.due[event["id"]] = None
        if line.get("result"):
            self.keys.load(line["result"])

    def reset(self, *, another: bool = False) -> None:
        """Empty. `another`: the same keys belong to another account from now on, as if the shop's had been changed."""
        with self.lock:
            self.book.start_anew()
            self.clock.offset_seconds = 0.0
            self.keys.clear()
            self._empty()
            if another:
                self.own_id = f"acct_1{random_text(16)}"
            written = self.book.append({"kind": "account", "id": self.own_id}, change=True)
        self.book.wait(written)


def _awaits_bank(noun: str, thing: Json, private: Json) -> bool:
    unsettled = noun == CHARGE and thing["captured"] and thing["balance_transaction"] is None
    return unsettled or private.get("then") is not None


class Change:
    """What one call changes; everything or nothing."""

    def __init__(self, account: Account, cause: Cause) -> None:
        self.account = account
        self.cause = cause
        self.clock = account.clock
        self._objects: dict[tuple[str, str], None] = {}
        self._events: list[tuple[Json, str, str, str]] = []  # event, noun, id of the object, its text
        self.result: Stored | None = None

    def get(self, noun: str, key: str) -> Json | None:
        return self.account.get(noun, key)

    def private(self, noun: str, key: str) -> Json:
        return self.account.private(noun, key)

    def put(self, noun: str, thing: Json, private: Json | None = None) -> None:
        self.account.place(noun, thing, private)
        self._objects[(noun, thing["id"])] = None

    def tell(self, kind: str, noun: str, object_id: str, previous: Json | None = None) -> None:
        """An event about an object as it is now (Stripe: the Event object)."""
        event = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.clock.seconds(),
            "data": {"object": None} | ({"previous_attributes": previous} if previous else {}),
            "livemode": False,
            "pending_webhooks": 1 if self.cause.deliver else 0,
            "request": {"id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key},
            "type": kind,
        }
        self._events.append((event, noun, object_id, self.account.shelves[noun].text(object_id)))

    def commit(self) -> int:
        """Write the line. The caller holds the account's lock, and waits for the line's number after letting it go."""
        account = self.account
        events = []
        for event, noun, object_id, text in self._events:
            account.place(EVENT, event, None, text)
            current = account.shelves[noun].text(object_id) == text
            inner = None if current else json.loads(text)
            events.append([{**event, "about": object_id}, noun, inner, self.cause.deliver])
            if self.cause.deliver:
                account.due[event["id"]] = None
        objects = [
            [noun, json.loads(account.shelves[noun].text(key)), account.shelves[noun].private(key)]
            for noun, key in self._objects
        ]
        if self.result is not None:
            account.keys.keep(self.result)
        if not objects and not events and self.result is None:
            return 0
        return account.book.append(
            {
                "kind": "change",
                "at": self.clock.now(),
                "request": self.cause.request_id,
                "key": self.cause.idempotency_key,
                "peer": self.cause.peer,
                "objects": objects,
                "events": events,
                "result": self.result.as_json() if self.result else None,
            },
            change=True,
        )

    def announce(self) -> None:
        """After the line is durable: webhooks may leave."""
        for noun, key in self._objects:
            self.account.on_put(noun, key)
        if self.cause.deliver:
            for event, *_ in self._events:
                self.account.on_event(event["id"])
