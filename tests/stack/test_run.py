"""`make run` itself: the whole shop, once, with what people do to it."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from shop.env import BASE_DIR
from shop.stack.ports import free_port, is_free
from tests.services import services
from tests.stack.test_supervisor import child_of, is_running, kill_child_of, wait_for

RUN = [sys.executable, "-m", "shop.stack.run"]
# What this pytest process has set for its own servers must not reach the shop under test.
OURS = ("DATABASE", "REDIS", "CELERY", "STRIPE", "PAYMENT", "EMAIL", "STAFF", "SECRET_KEY", "BASE_URL", "DJANGO")


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class MakeRun:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.port, self.sandbox_port = free_port(), free_port()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.env |= {
            "PAYONCE_STATE": str(state),
            "PORT": str(self.port),
            "SANDBOX_PORT": str(self.sandbox_port),
            "STAFF_PASSWORD": "a given one wins",
        }

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=BASE_DIR,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A suite that runs in the background of a script ignores Ctrl-C, and so would `make`.
            preexec_fn=_hear_ctrl_c,
        )

    def output_until_up(self, program: "subprocess.Popen[str]") -> str:
        assert program.stdout is not None
        lines = []
        for line in program.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                return "".join(lines)
        raise AssertionError("it ended: " + "".join(lines))

    def ports(self) -> list[int]:
        kept = [int((self.state / name / "port").read_text()) for name in ("postgres", "redis")]
        return [self.port, self.sandbox_port, *kept]

    def has_ended(self) -> bool:
        return all(is_free(port) for port in self.ports())


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    made = MakeRun(tmp_path / "state")
    yield made
    lock = made.state / "supervisor.lock"
    if lock.exists() and is_running(int(lock.read_text())):
        os.kill(int(lock.read_text()), signal.SIGKILL)


def test_the_whole_shop_runs_dies_by_kill_9_and_runs_again(make_run: MakeRun) -> None:
    first = make_run.start(*RUN)
    output = make_run.output_until_up(first)
    shop = f"http://127.0.0.1:{make_run.port}"
    for progress in ("Starting PostgreSQL", "Migrating the database", "Seeding the shop"):
        assert progress in output
    assert f"  Shop     {shop}/\n" in output
    assert f"  Admin    {shop}/admin/   user staff, password a given one wins\n" in output
    assert f"  Sandbox  http://127.0.0.1:{make_run.sandbox_port}/\n" in output
    assert answer(f"{shop}/readyz") == answer(f"{shop}/admin/") == 200
    assert answer(f"http://127.0.0.1:{make_run.sandbox_port}/") == 200

    count = "from shop.models import Product; print('products:', Product.objects.count())"
    manage = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", count],
        cwd=BASE_DIR,
        env={"PATH": os.environ["PATH"], "PAYONCE_STATE": str(make_run.state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert int(manage.stdout.partition("products:")[2]) >= 12, manage.stderr

    first.kill()
    first.communicate()
    wait_for(make_run.has_ended, seconds=20)

    second = make_run.start("make", "run")
    make_run.output_until_up(second)
    second.send_signal(signal.SIGINT)  # to make alone, which would wait for ever
    second.communicate(timeout=60)
    assert make_run.has_ended()
    assert not is_running(int((make_run.state / "supervisor.lock").read_text()))


def test_every_child_that_is_killed_comes_back_on_its_port_and_with_its_rows(make_run: MakeRun) -> None:
    program = make_run.start(*RUN)
    make_run.output_until_up(program)
    assert program.stdout is not None
    ports = make_run.ports()
    for name in ("postgres", "redis", "sandbox", "web", "celery", "beat"):
        killed = kill_child_of(program.pid, make_run.state, name)
        line = program.stdout.readline()
        assert line.startswith(f"{name} ended by itself (signal 9). It is started again in 1 s. Its log: "), line
        wait_for(partial(is_back, program.pid, make_run.state, name, killed))
        wait_for(partial(is_up, make_run), seconds=60)
    assert make_run.ports() == ports
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=60)[0] == "Ending.\n"
    assert program.returncode == 0
    assert make_run.has_ended()


def is_back(supervisor: int, state: Path, name: str, killed: int) -> bool:
    return child_of(supervisor, state, name) not in (0, killed)


def is_up(make_run: MakeRun) -> bool:
    """Migrated, seeded and answering, as `/readyz` says; and so does the sandbox."""
    try:
        return all(
            answer(f"http://127.0.0.1:{port}{path}") == 200
            for port, path in ((make_run.port, "/readyz"), (make_run.sandbox_port, "/"))
        )
    except OSError:
        return False


@pytest.mark.parametrize("variable", ["PORT", "SANDBOX_PORT"])
def test_a_port_in_use_is_said_before_anything_starts(make_run: MakeRun, variable: str) -> None:
    with socket.create_server(("127.0.0.1", int(make_run.env[variable]))):
        program = make_run.start(*RUN)
        output, _ = program.communicate(timeout=30)
    assert program.returncode == 1
    assert output.startswith(f"Port {make_run.env[variable]} (the ")
    assert output.endswith(f"`make run {variable}={int(make_run.env[variable]) + 100}`.\n")
    assert not (make_run.state / "postgres").exists()


def test_a_given_database_that_does_not_answer_is_named_and_none_is_started_instead(make_run: MakeRun) -> None:
    make_run.env["DATABASE_URL"] = f"postgresql://nobody@127.0.0.1:{free_port()}/x"
    program = make_run.start(*RUN)
    output, _ = program.communicate(timeout=30)
    assert program.returncode == 1
    assert output.startswith("DATABASE_URL does not answer: connection failed: connection to server at")
    assert output.count("\n") == 1
    assert not (make_run.state / "postgres").exists()


def test_given_servers_are_used_and_a_command_that_fails_is_named_with_its_last_lines(make_run: MakeRun) -> None:
    make_run.env["DATABASE_URL"] = services().postgres.create_database("given")
    make_run.env["REDIS_URL"] = services().redis.url(5)
    make_run.env["STAFF_USERNAME"] = "x" * 200  # longer than a user name may be
    program = make_run.start(*RUN)
    output, _ = program.communicate(timeout=120)
    assert program.returncode == 1
    assert f"seed_shop failed (exit 1). The end of {make_run.state}/logs/seed_shop.log:" in output
    assert "value too long" in output
    assert not (make_run.state / "postgres").exists()
    assert not (make_run.state / "redis").exists()


def test_a_child_that_cannot_be_started_at_first_ends_the_start_with_the_end_of_its_log(make_run: MakeRun) -> None:
    make_run.env["DATABASE_URL"] = services().postgres.create_database("first")
    make_run.env["REDIS_URL"] = services().redis.url(5)
    make_run.env["GUNICORN_CMD_ARGS"] = "--no-such-option"
    program = make_run.start(*RUN)
    output, _ = program.communicate(timeout=120)
    assert program.returncode == 1
    assert f"web ended before it answered at http://127.0.0.1:{make_run.port}/livez. The end of " in output
    assert "unrecognized arguments: --no-such-option" in output and "started again" not in output
    assert is_free(make_run.sandbox_port)


def answer(url: str) -> int:
    with urllib.request.urlopen(url, timeout=20) as response:
        status: int = response.status
        return status
