"""Pace: how fast repair may ask Stripe, so that shoppers' own calls always fit beside it."""

import time
from collections.abc import Iterator
from typing import TypeVar

from django.conf import settings

from payments.row_lock import give_back_connections

T = TypeVar("T")


class Pace:
    """At most SWEEP_REQUESTS_PER_SECOND, counted; and no database connection in hand at any of them."""

    def __init__(self) -> None:
        self.requests = 0
        self._next_at = 0.0

    def step(self) -> None:
        """Before each request."""
        give_back_connections()
        now = time.monotonic()
        if now < self._next_at:
            time.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + 1 / settings.SWEEP_REQUESTS_PER_SECOND
        self.requests += 1

    def pages(self, listed: Iterator[T]) -> Iterator[T]:
        """The pages of a list, each of which is one request, made when it is asked for."""
        self.step()
        for page in listed:
            yield page
            self.step()
        self.requests -= 1  # after the last page nothing was asked for
