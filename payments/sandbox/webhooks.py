"""Signed webhooks (Stripe: receive events; verify signatures), delivered concurrently and retried with back-off.

Nothing orders the deliveries, and they may come before the API's own answer. Modes:

    normal     at once                           late      `seconds` later
    repeated   `times` times, simultaneously     never     lost: not delivered now nor when the mode changes back
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from .account import EVENT, Account
from .later import Later
from .shelf import dump

Json = dict[str, Any]

MODES = ("normal", "late", "repeated", "never")
_TIME_OUT_SECONDS = 20.0
_BACK_OFF_SECONDS = (1, 2, 5, 10, 30, 60, 120, 300)  # then every 300 s; Stripe itself goes on for three days
_GIVE_UP_SECONDS = 3 * 24 * 60 * 60


def sign(secret: str, timestamp: int, body: str) -> str:
    digest = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Webhooks:
    def __init__(self, account: Account, later: Later, url: str | None, secret: str) -> None:
        self._account = account
        self._later = later
        self.url = self._first_url = url
        self._secret = secret
        self.mode = "normal"
        self.seconds = 0.0
        self.times = 1
        account.on_event = self.announce

    def switch(self, wanted: Json) -> Json:
        unknown = set(wanted) - {"mode", "seconds", "times", "url"}
        if unknown or wanted.get("mode", "normal") not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, with seconds, times or url")
        self.mode = wanted.get("mode", "normal")
        if "url" in wanted:
            self.url = wanted["url"] or None
        self.seconds = float(wanted.get("seconds", 5.0 if self.mode == "late" else 0.0))
        self.times = int(wanted.get("times", 5 if self.mode == "repeated" else 1))
        return self.state()

    def reset(self) -> None:
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
        wait = self.seconds if self.mode == "late" else 0.0
        for _ in range(max(1, self.times) - 1 if self.mode == "repeated" else 0):
            self._later.do(lambda: self.send(event_id))
        self._later.do(lambda: self._deliver(event_id, 0, self._account.clock.elapsed()), wait)

    def resume(self) -> None:
        """After a restart: what was not delivered is due again."""
        for event_id in list(self._account.due):
            self.announce(event_id)

    def send(self, event_id: str, times: int = 1, simultaneous: bool = False) -> list[int]:
        """On demand, whatever the mode. Returns the statuses (0: no answer)."""
        statuses: list[int] = []
        if not simultaneous:
            return [self._send_once(event_id) for _ in range(times)]
        start = threading.Barrier(times)

        def one() -> None:
            start.wait()
            statuses.append(self._send_once(event_id))

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

    def _send_once(self, event_id: str) -> int:
        event = self._account.get(EVENT, event_id)
        if event is None or self.url is None:
            return 0
        body = dump(event)
        timestamp = int(time.time())  # the real time: the shop's clock does not move with ours
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(self._secret, timestamp, body),
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
