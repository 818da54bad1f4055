"""Things to be done at a time: one thread keeps the appointments, others do the work."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .clock import Clock

Work = Callable[[], object]


class Later:
    def __init__(self, clock: Clock, workers: int = 64) -> None:
        self._clock = clock
        self._agenda: list[tuple[float, int, Work]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="later")
        threading.Thread(target=self._keep_appointments, name="agenda", daemon=True).start()

    def do(self, work: Work, after_seconds: float = 0.0) -> None:
        with self._changed:
            heapq.heappush(self._agenda, (self._clock.elapsed() + after_seconds, next(self._numbers), work))
            self._changed.notify()

    def look_again(self) -> None:
        """After the clock was moved: what was to come later may be due."""
        with self._changed:
            self._changed.notify()

    def clear(self) -> None:
        with self._changed:
            self._agenda.clear()

    def _keep_appointments(self) -> None:
        while True:
            with self._changed:
                while not self._agenda or self._agenda[0][0] > self._clock.elapsed():
                    wait = self._agenda[0][0] - self._clock.elapsed() if self._agenda else None
                    self._changed.wait(wait)
                _, _, work = heapq.heappop(self._agenda)
            self._pool.submit(work)
