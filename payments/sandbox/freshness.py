"""What a search sees: everything as it was a while ago (Stripe: search, data freshness: usually under a minute).

Lists and retrievals are never behind; only search is.
"""

from __future__ import annotations

from collections import deque

from .clock import Clock

LAG_SECONDS = 60.0


class Freshness:
    def __init__(self, clock: Clock) -> None:
        self.lag_seconds = LAG_SECONDS
        self._clock = clock
        self._changes: deque[tuple[float, str, str, str | None]] = deque()  # when, kind, id, what it was before

    def note(self, noun: str, key: str, before: str | None, at: float | None = None) -> None:
        self._changes.append((self._clock.now() if at is None else at, noun, key, before))
        while self._changes and self._changes[0][0] <= self._clock.now() - self.lag_seconds:
            self._changes.popleft()

    def unseen(self, noun: str) -> dict[str, str | None]:
        """What changed too lately, as it was before that: None if it was not there yet."""
        since = self._clock.now() - self.lag_seconds
        seen: dict[str, str | None] = {}
        for at, kind, key, before in list(self._changes):
            if at > since and kind == noun:
                seen.setdefault(key, before)
        return seen
