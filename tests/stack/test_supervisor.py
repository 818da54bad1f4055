"""All children or none: Ctrl-C, a child's death, `kill -9` of the supervisor, a second start. Real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.env import BASE_DIR

# Leaves a grandchild of its own, as gunicorn and Celery do. Each writes its pid down.
LASTING = 'echo $$ >> "{pids}"; sleep 300 & echo $! >> "{pids}"; wait'
# One that takes no notice of being asked.
STUBBORN = 'trap "" TERM INT; ' + LASTING + "; wait; wait"


class Run:
    def __init__(self, folder: Path, *commands: str, last: int = signal.SIGKILL) -> None:
        self.pids_file = folder / "pids"
        self.state = folder / "state"
        filled = [command.format(pids=self.pids_file) for command in commands]
        self.program = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.dummies", self.state, str(int(last)), *filled],
            cwd=BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_until_started(self, pids: int) -> list[int]:
        """The pids of all children and grandchildren."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = self.pids_file.read_text().split() if self.pids_file.exists() else []
            if len(found) >= pids:
                return [int(pid) for pid in found]
            time.sleep(0.02)
        raise AssertionError(f"not started: {self.end()}")

    def end(self) -> tuple[int, str]:
        output, _ = self.program.communicate(timeout=30)
        return self.program.returncode, output


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*commands: str, last: int = signal.SIGKILL) -> Run:
        runs.append(Run(tmp_path, *commands, last=last))
        return runs[-1]

    yield start
    for one in runs:
        if one.program.poll() is None:
            one.program.kill()
        one.program.communicate()


def test_ctrl_c_ends_every_child_and_their_children(run: Callable[..., Run]) -> None:
    running = run(LASTING, LASTING)
    pids = running.wait_until_started(4)
    wait_for_line(running, "started")
    running.program.send_signal(signal.SIGINT)
    assert running.end() == (0, "Ending.\n")
    assert alive(pids) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_ends_it(run: Callable[..., Run], number: signal.Signals) -> None:
    running = run(LASTING)
    pids = running.wait_until_started(2)
    os.killpg(running.program.pid, number)
    assert running.end()[0] == 0
    assert alive(pids) == []


def test_ctrl_c_works_although_a_shell_ignores_it_for_background_jobs(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m tests.stack.dummies {tmp_path} 9 'sleep 30' > {tmp_path}/out & echo $!; wait $!"
    (tmp_path / "out").touch()
    program = subprocess.Popen(["/bin/sh", "-c", shell], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    wait_for(lambda: "started" in (tmp_path / "out").read_text())
    os.kill(pid, signal.SIGINT)
    program.communicate(timeout=20)
    assert program.returncode == 0


def test_a_second_ctrl_c_does_not_wait_for_a_stubborn_child(run: Callable[..., Run]) -> None:
    running = run(STUBBORN)
    pids = running.wait_until_started(2)
    running.program.send_signal(signal.SIGINT)
    wait_for_line(running, "Ending.")
    running.program.send_signal(signal.SIGINT)
    assert running.end()[0] == 0
    assert alive(pids) == []


def test_a_child_that_ends_by_itself_is_named_with_its_last_lines_and_ends_the_rest(run: Callable[..., Run]) -> None:
    running = run(LASTING, "sleep 0.5; seq 1 30; exit 7")
    pids = running.wait_until_started(2)
    code, output = running.end()
    assert code == 1
    assert f"child2 ended by itself (exit 7). The end of {running.state}/logs/child2.log:\n11\n12\n" in output
    assert output.endswith("30\nEnding.\n")
    assert alive(pids) == []


def test_a_child_that_was_killed_is_named_with_the_signal(run: Callable[..., Run]) -> None:
    running = run(LASTING, "sleep 0.5; kill -9 $$")
    code, output = running.end()
    assert code == 1
    assert "child2 ended by itself (signal 9)." in output


def test_a_command_that_cannot_start_is_named(run: Callable[..., Run]) -> None:
    running = run(LASTING, "exec no-such-program")
    code, output = running.end()
    assert code == 1
    assert "child2 ended by itself (exit 127)" in output
    assert "no-such-program" in output


def test_kill_9_of_the_supervisor_leaves_nothing_behind(run: Callable[..., Run]) -> None:
    running = run(LASTING, STUBBORN)
    pids = running.wait_until_started(4)
    assert alive(pids) == pids
    running.program.kill()
    wait_for(lambda: alive(pids) == [])


def test_a_killed_keeper_takes_its_child_and_the_rest_with_it(run: Callable[..., Run]) -> None:
    running = run(LASTING, LASTING)
    pids = running.wait_until_started(4)
    os.kill(parent_of(pids[0]), signal.SIGKILL)
    code, output = running.end()
    assert code == 1
    assert "child1 ended by itself (signal 9)" in output
    wait_for(lambda: alive(pids) == [])


def test_a_second_start_says_that_one_runs_and_leaves_it_alone(run: Callable[..., Run]) -> None:
    first = run(LASTING)
    pids = first.wait_until_started(2)
    code, output = run(LASTING).end()
    assert code == 1
    assert output == f"It is already running here: pid {first.program.pid}, state in {first.state}.\n"
    assert alive(pids) == pids


def test_a_second_start_works_right_after_kill_9(run: Callable[..., Run]) -> None:
    first = run(STUBBORN, last=signal.SIGTERM)  # its keeper gives it some seconds
    pids = first.wait_until_started(2)
    first.program.kill()
    second = run(LASTING)
    wait_for_line(second, "Waiting for what the last run started to end.")
    wait_for_line(second, "started")
    assert alive(pids) == []  # what the first one left is gone before the second begins


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_running(pid)]


def is_running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def parent_of(pid: int) -> int:
    return int(subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True).stdout)


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def wait_for_line(running: Run, text: str) -> None:
    assert running.program.stdout is not None
    while line := running.program.stdout.readline():
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}")
