"""A rival that meets a row lock: whether it waits for us, or has had its way."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from django.db import connection

T = TypeVar("T")


def with_own_connection(act: Callable[[], T]) -> T:
    """For a thread of a pool: its connection goes back with it."""
    try:
        return act()
    finally:
        connection.close()


def until_it_waits(rival: Future[Any], seconds: float = 30) -> None:
    """Until the rival waits for a lock, or is done. Asked on our own connection, whatever transaction that is in."""
    end = time.monotonic() + seconds
    while not rival.done():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        assert time.monotonic() < end, "the rival neither waits nor is done"
        time.sleep(0.01)
