"""Duplicates that a layer has stopped, kept for the order's story: counted in memory, written in batches (RULES R19).

A duplicate itself costs no write. A few seconds later one thread of this process writes all that has been counted
since, in one statement, and ends when there is nothing left to write. A process that exits writes its rest; one that is
killed loses the last DUPLICATES_FLUSH of its counts, and one that cannot reach PostgreSQL keeps them and tries again.
So the numbers are approximate, and nothing rests on them: /metrics counts the same, and money is guarded elsewhere.
"""

import atexit
import datetime
import os
import threading
import time
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone

from payments.gateways.base import Call
from shop.counters import count_duplicate

log = structlog.get_logger(__name__)

MOST = 2000  # counts kept in memory; what comes beyond them is at /metrics only
_CHANGING = ("create", "confirm", "cancel", "refund")  # calls to the gateway that carry a key of ours

What = tuple[str, int, datetime.date]  # order, layer, day


@dataclass
class Count:
    count: int
    first_at: datetime.datetime
    last_at: datetime.datetime
    last_key: str

    def add(self, other: "Count") -> None:
        self.count += other.count
        self.first_at = min(self.first_at, other.first_at)
        if other.last_at >= self.last_at:
            self.last_at, self.last_key = other.last_at, other.last_key


class Tally:
    """What has been counted and is not written yet. One for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[What, Count] = {}
        self._writer: threading.Thread | None = None

    def note(self, layer: int, order_id: str, key: str) -> None:
        """Never raises, never waits for anything but this process's own lock."""
        now = timezone.now()
        with self._lock:
            self._add((order_id, layer, now.date()), Count(1, now, now, key[:255]))
            if self._writer is None:
                self._start()

    def _add(self, what: What, count: Count) -> None:
        if what in self._counts:
            self._counts[what].add(count)
        elif len(self._counts) < MOST:
            self._counts[what] = count

    def _start(self) -> None:
        writer = threading.Thread(target=self._write_on, name="duplicates", daemon=True)
        try:
            writer.start()
        except RuntimeError:  # no thread to be had: the next duplicate tries again
            return
        self._writer = writer

    def _write_on(self) -> None:
        while True:
            time.sleep(settings.DUPLICATES_FLUSH.total_seconds())
            self.flush()
            with self._lock:
                if not self._counts:
                    self._writer = None
                    return

    def flush(self) -> int:
        """Write what has been counted: how many rows. What cannot be written is kept for the next time."""
        with self._lock:
            taken, self._counts = self._counts, {}
        if not taken:
            return 0
        try:
            _write(taken)
        except Exception as error:  # noqa: BLE001 - whatever it is, a count must break nothing
            log.warning("duplicates_not_written", counts=len(taken), error=type(error).__name__)
            with self._lock:
                for what, count in taken.items():
                    self._add(what, count)
            return 0
        finally:
            connections.close_all()
        return len(taken)

    def forget(self) -> None:
        """In a forked child: what the parent has counted, the parent writes."""
        self._lock, self._counts, self._writer = threading.Lock(), {}, None


_tally = Tally()
os.register_at_fork(after_in_child=_tally.forget)


def keep(layer: int, order_id: str, key: str) -> None:
    """DUPLICATES_KEPT_BY: one request about this order was stopped by this layer."""
    _tally.note(layer, order_id, key)


def count_replay(order_id: str, calls: list[Call]) -> None:
    """The call just made, if Stripe answered it from its memory: it had done it before, and did nothing twice."""
    if calls and calls[-1].note == "replayed" and calls[-1].operation in _CHANGING:
        count_duplicate(5, order_id, calls[-1].gateway_key)


def flush() -> int:
    """Write now what this process has counted; at a clean exit, and for tests."""
    return _tally.flush()


atexit.register(flush)


def _write(counts: dict[What, Count]) -> None:
    """One statement. An order that is not there has no story; written in one order, so that writers cannot deadlock."""
    rows = list(counts.items())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO payments_duplicatesstopped AS kept
                (order_id, layer, day, count, first_at, last_at, last_key)
            SELECT counted.* FROM unnest(
                %s::text[], %s::smallint[], %s::date[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::text[]
            ) AS counted (order_id, layer, day, count, first_at, last_at, last_key)
            JOIN orders_order ON orders_order.id = counted.order_id
            ORDER BY counted.order_id, counted.layer, counted.day
            ON CONFLICT ON CONSTRAINT one_count_per_order_layer_and_day DO UPDATE SET
                count = kept.count + EXCLUDED.count,
                first_at = LEAST(kept.first_at, EXCLUDED.first_at),
                last_at = GREATEST(kept.last_at, EXCLUDED.last_at),
                last_key = CASE WHEN EXCLUDED.last_at >= kept.last_at THEN EXCLUDED.last_key ELSE kept.last_key END
            """,
            [
                [what[0] for what, _ in rows],
                [what[1] for what, _ in rows],
                [what[2] for what, _ in rows],
                [count.count for _, count in rows],
                [count.first_at for _, count in rows],
                [count.last_at for _, count in rows],
                [count.last_key for _, count in rows],
            ],
        )
