"""Children and their ends: Ctrl-C, a child's death, `kill -9` of the supervisor, a second start. Real processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.env import BASE_DIR
from shop.stack.child import Child
from shop.stack.supervisor import LIVED_SECONDS, Member

# Leaves a grandchild of its own, as gunicorn and Celery do. Each writes its pid down.
LASTING = 'echo $$ >> "{pids}"; sleep 300 & echo $! >> "{pids}"; wait'
# What it does the first time alone: `{{ mkdir ... && {{` has made the folder.
FIRST = 'mkdir "{pids}.once" 2>/dev/null && {{ echo $$ >> "{pids}"; '
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

    def log(self, number: int) -> Path:
        return self.state / "logs" / f"child{number}.log"

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
    wait_for_line(running, "started")
    running.program.send_signal(signal.SIGINT)
    wait_for_line(running, "Ending.")
    running.program.send_signal(signal.SIGINT)
    assert running.end()[0] == 0
    assert alive(pids) == []


def test_a_child_that_ends_by_itself_is_named_and_started_again_and_the_others_go_on(run: Callable[..., Run]) -> None:
    running = run(LASTING, FIRST + "exit 7; }}; " + LASTING)
    pids = running.wait_until_started(5)
    line = wait_for_line(running, "child2")
    assert line == f"child2 ended by itself (exit 7). It is started again in 1 s. Its log: {running.log(2)}\n"
    assert len(alive(pids)) == 4
    running.program.send_signal(signal.SIGINT)
    assert running.end()[0] == 0
    assert alive(pids) == []


def test_a_child_that_was_killed_is_named_with_the_signal(run: Callable[..., Run]) -> None:
    running = run(LASTING, FIRST + "kill -9 $$; }}; " + LASTING)
    assert "child2 ended by itself (signal 9). It is started again in 1 s." in wait_for_line(running, "child2")
    running.wait_until_started(5)


def test_a_child_that_dies_again_and_again_is_tried_less_and_less_often_and_its_log_is_kept(
    run: Callable[..., Run],
) -> None:
    running = run(LASTING, "echo here I am; exec no-such-program")
    for seconds in (1, 2, 4):
        line = wait_for_line(running, "child2")
        assert "child2 ended by itself (exit 127)" in line and f"in {seconds} s." in line
    assert running.log(2).read_text().count("here I am") == 3
    running.program.send_signal(signal.SIGINT)
    assert running.end() == (0, "Ending.\n")


def test_the_wait_is_half_a_minute_at_most_and_short_again_after_a_long_life(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Child("dies", ["/bin/true"], log=tmp_path / "log")
    ended.wait()
    member = Member(ended, Child.stop, lambda: ended)
    for _ in range(7):
        member.look()
        assert member.starts_at is not None
        member.starts_at = None  # as if it had been started, and had died
    member.began_at -= LIVED_SECONDS
    member.look()
    said = re.findall(r"in (\d+) s\.", capsys.readouterr().out)
    assert said == ["1", "2", "4", "8", "16", "30", "30", "1"]


def test_a_child_that_cannot_be_started_again_is_tried_until_it_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, away = tmp_path / "program", tmp_path / "away"
    program.write_text("#!/bin/sh\nsleep 300\n")
    program.chmod(0o700)

    def begin() -> Child:
        return Child("gone", [program], log=tmp_path / "log")

    member = Member(begin(), Child.stop, begin)
    program.rename(away)
    member.child.kill()
    member.look()
    for _ in range(2):
        member.starts_at = 0
        member.look()
        assert member.starts_at
    said = capsys.readouterr().out
    assert "gone could not be started again: gone did not start: " in said and "in 4 s." in said
    away.rename(program)
    member.starts_at = 0
    member.look()
    again = member.child
    assert again.poll() is None
    member.end()
    assert again.poll() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_while_a_child_is_down(run: Callable[..., Run], number: signal.Signals) -> None:
    running = run(LASTING, "exit 7", LASTING)
    pids = running.wait_until_started(4)
    for _ in range(3):
        wait_for_line(running, "child2")  # it is down for four seconds now
    running.program.send_signal(number)
    assert running.end() == (0, "Ending.\n")
    assert alive(pids) == []


def test_kill_9_of_the_supervisor_leaves_nothing_of_a_child_that_was_started_again(run: Callable[..., Run]) -> None:
    running = run(LASTING, FIRST + "exit 7; }}; " + STUBBORN)
    pids = running.wait_until_started(5)
    running.program.kill()
    wait_for(lambda: alive(pids) == [])


def test_kill_9_of_the_supervisor_leaves_nothing_behind(run: Callable[..., Run]) -> None:
    running = run(LASTING, STUBBORN)
    pids = running.wait_until_started(4)
    assert alive(pids) == pids
    running.program.kill()
    wait_for(lambda: alive(pids) == [])


def test_a_killed_keeper_takes_its_child_with_it_and_both_are_started_again(run: Callable[..., Run]) -> None:
    running = run(LASTING, LASTING)
    pids = running.wait_until_started(4)
    wait_for_line(running, "started")
    os.kill(parent_of(pids[0]), signal.SIGKILL)
    assert "ended by itself (signal 9)" in wait_for_line(running, "child")
    assert len(running.wait_until_started(6)) == 6
    wait_for(lambda: len(alive(pids)) == 2)


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


def child_of(supervisor: int, state: Path, name: str) -> int:
    """The pid of the supervisor's child of this name; 0 while it is down. Its keeper is known by the log it writes."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [
        (int(pid), int(parent), args) for pid, parent, args in (line.split(None, 2) for line in listed.splitlines())
    ]
    log = f"{state}/logs/{name}.log"
    keepers = [pid for pid, parent, args in rows if parent == supervisor and log in args]
    return next((pid for pid, parent, _ in rows if parent in keepers), 0)


def kill_child_of(supervisor: int, state: Path, name: str) -> int:
    """`kill -9` of it alone; the pid that it had."""
    pid = child_of(supervisor, state, name)
    assert pid > 0, f"{name} does not run"  # 0 would be ourselves
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def wait_for_line(running: Run, text: str) -> str:
    assert running.program.stdout is not None
    while line := running.program.stdout.readline():
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")
