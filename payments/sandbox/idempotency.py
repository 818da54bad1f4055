"""Stripe's idempotency layer (Stripe: idempotent requests; advanced error handling).

* The status and body of the first execution are kept and replayed, 500s included.
* Kept only once execution has begun: what validation refused, 401, 429 and 409 leave the key free.
* Another endpoint or other parameters under the same key: 400 `idempotency_error`.
* The same key while the first still runs: 409 `idempotency_key_in_use`.
* Keys are forgotten after 24 hours; then the request is a new one, and charges again.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from typing import Any

from .clock import Clock
from .errors import invalid_request, key_in_use, key_reused

KEPT_SECONDS = 24 * 60 * 60
_LONGEST_KEY = 255


@dataclass(frozen=True)
class Stored:
    key: str
    path: str
    params: str
    status: int
    body: str
    request_id: str
    created: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class KeyStore:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stored: dict[str, Stored] = {}
        self._running: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def claim(self, key: str, path: str, params: dict[str, Any]) -> Stored | None:
        """The result to replay; or None, and the key is claimed until `keep` or `release`."""
        if len(key) > _LONGEST_KEY:
            raise invalid_request(f"Idempotency keys can be at most {_LONGEST_KEY} characters long.", stored=False)
        written = _written(params)
        with self._lock:
            stored = self._stored.get(key)
            if stored is not None and self._clock.now() - stored.created >= KEPT_SECONDS:
                del self._stored[key]
                stored = None
            known = (stored.path, stored.params) if stored is not None else self._running.get(key)
            if known is not None and known[0] != path:
                raise key_reused(key, f"for the same endpoint they were first used for ('{path}' vs '{known[0]}')")
            if known is not None and known[1] != written:
                raise key_reused(key, "with the same parameters they were first used with")
            if stored is None and known is not None:
                raise key_in_use(key)
            if stored is None:
                self._running[key] = (path, written)
            return stored

    def result(self, key: str, path: str, params: dict[str, Any], status: int, body: str, request_id: str) -> Stored:
        return Stored(key, path, _written(params), status, body, request_id, self._clock.now())

    def keep(self, stored: Stored) -> None:
        with self._lock:
            self._running.pop(stored.key, None)
            self._stored[stored.key] = stored

    def release(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)

    def load(self, entry: dict[str, Any]) -> None:
        stored = Stored(**entry)
        if self._clock.now() - stored.created < KEPT_SECONDS:
            self._stored[stored.key] = stored

    def entries(self) -> list[Stored]:
        with self._lock:
            return list(self._stored.values())

    def clear(self) -> None:
        with self._lock:
            self._stored.clear()
            self._running.clear()


def _written(params: dict[str, Any]) -> str:
    """Their order makes no difference."""
    return json.dumps(params, sort_keys=True, separators=(",", ":"))
