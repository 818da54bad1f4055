"""Many shoppers at one moment, and rivals at an exact point: threads that each give their connection back."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from django.db import connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.test import Client

from orders.models import Order
from tests.payments import paying

T = TypeVar("T")
CROWD = 20


@dataclass(frozen=True)
class Answer:
    """What a press was told."""

    status: int
    content: bytes
    replayed: bool

    @property
    def body(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.content)
        return read

    @property
    def problem(self) -> str:
        """The problem's name, or "" for a press that went well."""
        return str(self.body.get("type", "")).removeprefix("/problems/")


def at_once(count: int, act: Callable[[int], T], *, connected: bool = True) -> list[T]:
    """Run act(0), act(1), ... at the same moment, each in a thread with a connection of its own (see wide_pool)."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        try:
            if connected:
                connection.ensure_connection()
            barrier.wait(20)
            return act(number)
        finally:
            connection.close()

    connection.close()
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@contextmanager
def meanwhile(act: Callable[[], T]) -> Iterator[Future[T]]:
    """Run the act in a thread while the block goes on; its result may be asked for in the block or after it."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(_with_own_connection, act)


def apart(act: Callable[[], T]) -> T:
    """Run the act to its end in a thread of its own: a rival must not share our transaction."""
    with meanwhile(act) as rival:
        return rival.result(60)


def _with_own_connection(act: Callable[[], T]) -> T:
    try:
        return act()
    finally:
        connection.close()


def run_before(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rival: Callable[[], T]) -> list[T]:
    """The first call of owner.name lets the rival run to its end first. What the rival returned, once it has run."""
    return _run_at(monkeypatch, owner, name, rival, after=False)


def run_after(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rival: Callable[[], T]) -> list[T]:
    """The first call of owner.name returns only when the rival has run to its end."""
    return _run_at(monkeypatch, owner, name, rival, after=True)


def _run_at(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rival: Callable[[], T], *, after: bool
) -> list[T]:
    real, first = getattr(owner, name), threading.Lock()
    said: list[T] = []

    def with_rival(*args: Any, **kwargs: Any) -> Any:
        mine = first.acquire(blocking=False)  # never released: the rival itself comes through here too
        if mine and not after:
            said.append(apart(rival))
        answer = real(*args, **kwargs)
        if mine and after:
            said.append(apart(rival))
        return answer

    monkeypatch.setattr(owner, name, with_rival)
    return said


def all_look_before_any_writes(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """Nobody passes before all of the crowd are there: what each has read is out of date for all but one."""
    gate, real = threading.Barrier(CROWD), getattr(owner, name)

    def write(*args: Any, **kwargs: Any) -> Any:
        gate.wait(20)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, write)


def loiter_between_look_and_write(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    real = getattr(owner, name)

    def write(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.1)  # widens the gap; with the lock nobody else is in it
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, write)


def same_browser(client: Client, count: int = CROWD) -> list[Client]:
    """So many connections of one browser: the same session."""
    twins = [Client(headers={"Accept": "application/json"}, raise_request_exception=False) for _ in range(count)]
    for twin in twins:
        twin.cookies = client.cookies
    return twins


def press(client: Client, order: Order, key: str | None = None, **body: Any) -> Answer:
    answer = paying.press(client, order, key, **body)
    return Answer(answer.status_code, answer.content, answer.headers.get("Idempotent-Replayed") == "true")


def press_at_once(client: Client, order: Order, keys: list[str]) -> list[Answer]:
    """One press for each key, all at the same moment and from one browser."""
    twins = same_browser(client, len(keys))
    return at_once(len(keys), lambda number: press(twins[number], order, keys[number]))


@pytest.fixture
def wide_pool() -> Iterator[None]:
    """A connection for every one of the crowd, so that all can be at the same point at the same time."""
    options = connection.settings_dict["OPTIONS"]["pool"]
    usual = options["max_size"]
    _close_pool()
    options["max_size"] = 60
    yield
    _close_pool()
    options["max_size"] = usual


def _close_pool() -> None:
    ours = connections["default"]
    assert isinstance(ours, DatabaseWrapper)
    ours.close()
    ours.close_pool()
