"""The servers behind one pytest process: a PostgreSQL, a Redis and a Stripe sandbox of its own, thrown away after it.

`-p tests.services` in pyproject.toml loads this before pytest-django reads the settings, so that they see the servers'
addresses in the environment. Each pytest-xdist worker has its own set. Nothing here outlives the process, not even
after `kill -9`: every server runs under a keeper (shop/stack/keeper.py).
"""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"  # before shop, whose Celery app would say shop.settings

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shop.env import BASE_DIR
from shop.stack import Refusal
from shop.stack.child import Child
from shop.stack.environment import development_environment
from shop.stack.ports import free_port, is_free
from shop.stack.postgres import Postgres
from shop.stack.redis import Redis
from shop.stack.run import (
    BEAT_IS_UP,
    WORKER_IS_UP,
    beat_command,
    sandbox_command,
    wait_for_answer,
    web_command,
    worker_command,
)


class Services:
    """What this pytest process runs on."""

    def __init__(self) -> None:
        _remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f"payonce-tests-{os.getpid()}-"))
        self.postgres = Postgres(self.folder / "postgres", durable=False)
        self.redis = Redis(self.folder / "redis")
        self.env: dict[str, str] = {}
        self._sandbox: Sandbox | None = None

    def start(self) -> None:
        with ThreadPoolExecutor(2) as together:
            for started in [together.submit(self.postgres.start), together.submit(self.redis.start)]:
                started.result()
        self.env = development_environment(
            self.folder,
            {"PAYMENT_ENV": "test", "PORT": str(free_port())},
            database_url=self.postgres.url("payonce"),  # pytest-django makes test_payonce beside it
            redis_url=self.redis.url(0),
            broker_url=self.redis.url(1),
            sandbox_port=free_port(),
        )
        self._sandbox = Sandbox(self.folder / "sandbox", self.env)
        os.environ |= self.env | {"PAYONCE_STATE": str(self.folder)}

    @property
    def sandbox(self) -> "Sandbox":
        assert self._sandbox is not None
        return self._sandbox

    def stop(self) -> None:
        if self._sandbox is not None:
            self._sandbox.child.kill()
        self.redis.kill()
        self.postgres.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """The folders of test runs that were killed."""
    for old in Path(tempfile.gettempdir()).glob("payonce-tests-*-*"):
        try:
            os.kill(int(old.name.split("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(old, ignore_errors=True)
        except (PermissionError, ValueError):
            pass  # somebody else's


class Sandbox:
    """One sandbox process with its own book. Its webhooks go to the first app server of a stack: the one on PORT."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.url = env["STRIPE_API_BASE"]
        self.book = folder / "book.jsonl"
        port = int(self.url.rsplit(":", 1)[-1])
        command = sandbox_command(port, self.book, env, f"{env['BASE_URL']}/webhooks/stripe/")
        self.child = Child("sandbox", command, log=folder / "log", env=os.environ, folder=BASE_DIR)
        self.child.wait_for_text("listening on")


class AppServer:
    """One gunicorn process tree on its own port: `kill` is `kill -9` of all of it, `start` starts it again."""

    def __init__(self, name: str, folder: Path, env: Mapping[str, str], *, port: int, threads: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{self.port}"
        self._name, self._log, self._threads = name, folder / f"{name}.log", threads
        self._env = dict(env) | {"PORT": str(self.port), "BASE_URL": self.url}
        self.start()

    def start(self) -> None:
        command = web_command(self.port, workers=1, threads=self._threads)
        self.child = Child(self._name, command, log=self._log, env=self._env, folder=BASE_DIR)

    def wait(self) -> None:
        """Until it answers."""
        wait_for_answer(self.child, f"{self.url}/livez")

    def kill(self) -> None:
        self.child.kill()

    def stop(self) -> None:
        self.child.stop()

    def pause(self) -> None:
        self.child.pause()

    def resume(self) -> None:
        self.child.resume()

    def log(self) -> str:
        return self.child.text()


@dataclass
class Stack:
    """Real processes that share one database, one Redis and one sandbox."""

    servers: list[AppServer]
    celery: Child | None = None
    beat: Child | None = None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    @property
    def repair(self) -> list[Child]:
        """Whoever finishes what a press has left: worker and beat, as far as they run."""
        return [child for child in (self.celery, self.beat) if child is not None]

    def kill(self) -> None:
        for child in [server.child for server in self.servers] + self.repair:
            child.kill()


def start_stack(
    folder: Path,
    env: Mapping[str, str],
    *,
    servers: int = 1,
    threads: int = 32,
    celery: bool = False,
    beat: bool = False,
) -> Stack:
    """App servers, and if wanted a Celery worker and a beat, with this environment. Whoever starts it kills it."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack([], env=dict(env))
    try:
        for number in range(1, servers + 1):
            port = int(env["PORT"])  # where the sandbox sends its webhooks: the first one takes it
            if number > 1 or not is_free(port):
                port = free_port()
            stack.servers.append(AppServer(f"web{number}", folder, env, port=port, threads=threads))
        if celery or beat:
            command = worker_command(concurrency=1)
            stack.celery = Child("celery", command, log=folder / "celery.log", env=env, folder=BASE_DIR)
        if beat:
            stack.beat = Child("beat", beat_command(), log=folder / "beat.log", env=env, folder=BASE_DIR)
        for server in stack.servers:
            server.wait()
        if stack.celery:
            stack.celery.wait_for_text(WORKER_IS_UP)
        if stack.beat:
            stack.beat.wait_for_text(BEAT_IS_UP)
    except BaseException:
        stack.kill()
        raise
    return stack


@dataclass
class Shop(Stack):
    """A stack with a database of its own, migrated and seeded, and a sandbox whose webhooks come."""

    sandbox: Sandbox = field(kw_only=True)

    @property
    def url(self) -> str:
        return self.servers[0].url

    @property
    def staff(self) -> tuple[str, str]:
        """User name and password for the admin."""
        return self.env["STAFF_USERNAME"], self.env["STAFF_PASSWORD"]

    def kill(self) -> None:
        super().kill()
        self.sandbox.child.kill()


def start_shop(folder: Path, *, servers: int = 1) -> Shop:
    """What `make run` runs, on this process's PostgreSQL and Redis but apart from the test database."""
    folder.mkdir(parents=True, exist_ok=True)
    base = services()
    values = development_environment(
        folder,
        {"PORT": str(free_port())},
        database_url=base.postgres.create_database(f"shop_{folder.name}"),
        redis_url=base.redis.url(2),
        broker_url=base.redis.url(3),
        sandbox_port=free_port(),
    )
    env = dict(os.environ) | values | {"PAYONCE_STATE": str(folder)}
    for words in (["migrate", "--no-input"], ["seed_shop"]):
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    sandbox = Sandbox(folder / "sandbox", env)
    try:
        stack = start_stack(folder, env, servers=servers, celery=True, beat=True)
    except BaseException:
        sandbox.child.kill()
        raise
    return Shop(stack.servers, stack.celery, stack.beat, stack.env, sandbox=sandbox)


_services: Services | None = None


def services() -> Services:
    assert _services is not None, "the servers start with pytest: run `python -m pytest`"
    return _services


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """A wrapper runs before pytest-django's own hook, which reads the settings."""
    global _services
    only_deals_out = getattr(early_config.known_args_namespace, "numprocesses", None)
    if "PYTEST_XDIST_WORKER" in os.environ or not only_deals_out:
        started = Services()
        try:
            started.start()
        except Refusal as refusal:
            started.stop()
            raise pytest.UsageError(str(refusal)) from None
        _services = started
    yield


def pytest_unconfigure() -> None:
    global _services
    if _services is not None:
        _services.stop()
        _services = None
