"""Signed webhooks (Stripe: receive events; verify signatures), delivered concurrently and retried with back-off.

Nothing orders the deliveries, and they may come before the API's own answer. Modes:

    normal     at once                           late      `seconds` later
    repeated   `times` times, simultaneously     never     lost: not delivered now nor when the mode changes back
    reordered  gathered for `seconds`, then delivered one by one, `times` each, in an order drawn from `seed`

POST /_sandbox/webhooks/send delivers one event now, whatever the mode: {"event": ID} or {"intent": ID, "type": ...},
with `times`, `simultaneous`, and what shall be wrong with it: `forged`, `secret`, `age_seconds`, `livemode`, `account`.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import random
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .account import EVENT, Account
from .later import Later
from .shelf import dump

Json = dict[str, Any]

MODES = ("normal", "late", "repeated", "never", "reordered")
_SECONDS = {"late": 5.0, "reordered": 1.0}
_TIME_OUT_SECONDS = 20.0
_BACK_OFF_SECONDS = (1, 2, 5, 10, 30, 60, 120, 300)  # then every 300 s; Stripe itself goes on for three days
_GIVE_UP_SECONDS = 3 * 24 * 60 * 60


def sign(secret: str, timestamp: int, body: str) -> str:
    digest = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


@dataclass(frozen=True)
class Disguise:
    """What is wrong with a delivery. Without any of it, it is right."""

    forged: bool = False  # signed with a secret that is not ours
    secret: str | None = None  # signed with this one, as during a change of secrets
    age_seconds: float = 0.0  # how old the signature is; negative: from the future
    livemode: bool | None = None  # of the account's other mode
    account: str | None = None  # of another account (Stripe: Connect webhooks)

    def worn_by(self, event: Json) -> Json:
        if self.livemode is not None:
            event = {**event, "livemode": self.livemode}
            if "livemode" in event["data"]["object"]:
                changed = {**event["data"]["object"], "livemode": self.livemode}
                event["data"] = {**event["data"], "object": changed}
        return event if self.account is None else {**event, "account": self.account}


_PLAIN = Disguise()


class Webhooks:
    def __init__(self, account: Account, later: Later, url: str | None, secret: str) -> None:
        self._account = account
        self._later = later
        self.url = self._first_url = url
        self._secret = secret
        self.mode = "normal"
        self.seconds = 0.0
        self.times = 1
        self._order = random.Random()
        self._gathered: list[str] = []
        self._gathering = threading.Lock()
        account.on_event = self.announce

    def switch(self, wanted: Json) -> Json:
        unknown = set(wanted) - {"mode", "seconds", "times", "url", "seed"}
        if unknown or wanted.get("mode", "normal") not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, with seconds, times, seed or url")
        self.mode = wanted.get("mode", "normal")
        if "url" in wanted:
            self.url = wanted["url"] or None
        self.seconds = float(wanted.get("seconds", _SECONDS.get(self.mode, 0.0)))
        self.times = int(wanted.get("times", 5 if self.mode == "repeated" else 1))
        self._order = random.Random(wanted.get("seed"))
        return self.state()

    def reset(self) -> None:
        with self._gathering:
            self._gathered = []
        self.switch({"url": self._first_url})

    def state(self) -> Json:
        return {
            "mode": self.mode,
            "seconds": self.seconds,
            "times": self.times,
            "url": self.url,
            "undelivered": len(self._account.due),
        }

    def announce(self, event_id: str) -> None:
        if self.mode == "never" or self.url is None:
            self._account.delivered(event_id, 0)
            return
        if self.mode == "reordered":
            self._gather(event_id)
            return
        wait = self.seconds if self.mode == "late" else 0.0
        for _ in range(max(1, self.times) - 1 if self.mode == "repeated" else 0):
            self._later.do(lambda: self.send(event_id))
        self._later.do(lambda: self._deliver(event_id, 0, self._account.clock.elapsed()), wait)

    def _gather(self, event_id: str) -> None:
        with self._gathering:
            self._gathered += [event_id] * max(1, self.times)
            first = len(self._gathered) <= max(1, self.times)
        if first:
            self._later.do(self._scatter, self.seconds)

    def _scatter(self) -> None:
        """One after the other, so that the order is the drawn one; what fails is tried again like any other."""
        with self._gathering:
            events, self._gathered = self._gathered, []
            self._order.shuffle(events)
        for event_id in events:
            if event_id in self._account.due:
                self._deliver(event_id, 0, self._account.clock.elapsed())
            else:
                self.send(event_id)

    def resume(self) -> None:
        """After a restart: what was not delivered is due again."""
        for event_id in list(self._account.due):
            self.announce(event_id)

    def send(self, event_id: str, times: int = 1, simultaneous: bool = False, disguise: Disguise = _PLAIN) -> list[int]:
        """On demand, whatever the mode. Returns the statuses (0: no answer)."""
        statuses: list[int] = []
        if not simultaneous:
            return [self._send_once(event_id, disguise) for _ in range(times)]
        start = threading.Barrier(times)

        def one() -> None:
            start.wait()
            statuses.append(self._send_once(event_id, disguise))

        threads = [threading.Thread(target=one, daemon=True) for _ in range(times)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statuses

    def _deliver(self, event_id: str, failures: int, since: float) -> None:
        if event_id not in self._account.due:
            return  # reset, or delivered on demand
        status = self._send_once(event_id)
        if 200 <= status < 300 or self._account.clock.elapsed() - since > _GIVE_UP_SECONDS:
            self._account.delivered(event_id, status)
            return
        wait = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
        self._later.do(lambda: self._deliver(event_id, failures + 1, since), wait)

    def _send_once(self, event_id: str, disguise: Disguise = _PLAIN) -> int:
        event = self._account.get(EVENT, event_id)
        if event is None or self.url is None:
            return 0
        body = dump(disguise.worn_by(event))
        timestamp = int(time.time() - disguise.age_seconds)  # the real time: the shop's clock does not move with ours
        secret = "whsec_of_somebody_else" if disguise.forged else disguise.secret or self._secret
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(secret, timestamp, body),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Connection": "close",
        }
        status = self._post(body.encode(), headers)
        self._account.attempted(event_id, status)
        return status

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        assert self.url is not None
        target = urlsplit(self.url)
        secure = target.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(target.hostname or "127.0.0.1", target.port, timeout=_TIME_OUT_SECONDS)
        try:
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()
