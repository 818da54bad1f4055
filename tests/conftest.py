"""Fixtures for every test: the services of this process, and the rule that no test may be skipped."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from xdist.scheduler import LoadFileScheduling

from payments.gateways.circuit_breaker import close_breaker
from shop.redis_pause import end_redis_pause
from shop.stack import Refusal, chromium
from shop.stack.postgres import Postgres
from shop.stack.redis import Redis
from tests.book import Book
from tests.emptying import empty_by_deleting
from tests.services import Stack, services, start_stack

empty_by_deleting()


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Iterator[None]:
    """What this process remembers of servers that did not answer, another test's Stripe or Redis, is forgotten."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    close_breaker()
    end_redis_pause()
    if "payments.accounts" in sys.modules:  # it needs Django's apps, which not every run has
        sys.modules["payments.accounts"].forget()


@pytest.fixture
def book() -> Iterator[Book]:
    """The sandbox's book and its switches. A test starts with an empty book, no fault rules, and no webhooks."""
    book = Book(services().sandbox.url)
    book.reset()
    book.webhooks("never")
    yield book
    book.clear_rules()
    book.webhooks("never")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """This process's PostgreSQL, to restart or kill. It is up again when the test ends."""
    server = services().postgres
    yield server
    assert server.child is not None
    if server.child.poll() is not None:
        server.restart()
    connection.close()


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """This process's Redis, to kill, pause or flush: empty at the start, up at the end."""
    server = services().redis
    server.flush()
    yield server
    assert server.child is not None
    server.resume()
    if server.child.poll() is not None:
        server.restart()


@pytest.fixture
def stack(transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start real app servers on this test's database: `stack(servers=2, celery=True, env={...})`.

    They see what the test commits, so nothing of it may sit in a transaction. All are killed when the test ends.
    """
    started: list[Stack] = []
    database_url = services().postgres.url(connection.settings_dict["NAME"])

    def start(*, env: dict[str, str] | None = None, **options: Any) -> Stack:
        folder = tmp_path / f"stack{len(started)}"
        whole = dict(os.environ) | {"DATABASE_URL": database_url} | (env or {})
        started.append(start_stack(folder, whole, **options))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A test that is left out proves nothing, and nobody would notice."""
    for kind in _LEFT_OUT:
        for report in terminalreporter.stats.get(kind, []):
            terminalreporter.write_line(f"LEFT OUT ({kind}): {report.nodeid}", red=True)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Several workers are to find one browser, not to install one each: the process that starts them looks for it."""
    if not getattr(session.config.option, "numprocesses", None) or os.environ.get("BROWSER") == "0":
        return
    try:
        os.environ["CHROMIUM"] = str(chromium.find())
    except Refusal as refusal:
        pytest.exit(str(refusal), returncode=pytest.ExitCode.TESTS_FAILED)


class OneBrowser(LoadFileScheduling):  # type: ignore[misc]  # it ships no types
    """A file is one worker's; and so are all browser tests, which share a shop that takes long to start."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "browser" if "/browser/" in file else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneBrowser | None:
    return OneBrowser(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    terminal: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and any(terminal.stats.get(kind) for kind in _LEFT_OUT):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    if os.environ.get("BROWSER") == "0" and "PYTEST_XDIST_WORKER" not in os.environ:
        print("The browser tests were left out (BROWSER=0).")  # noqa: T201 - the last line of the run


_LEFT_OUT = ("skipped", "xfailed", "xpassed", "rerun")
