"""Runs the children, and starts again whichever ends by itself.

A child that cannot be started at first ends the whole start. After that, one that ends is started again after a
back-off, with a line that says so, however often: what it does comes back without anybody. Ctrl-C or SIGTERM ends them
in order, last started first. When we are killed, their keepers see to it, also for those that were started again. One
folder of state has one supervisor: a lock, which the keepers share, so that a free lock means that nothing of the last
run is left.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

from shop.stack import Refusal
from shop.stack.child import Child

ENDING_SECONDS = 15  # how long the children of a killed supervisor may take to go
# Between the end of a child and its next start: doubled each time, until it has lived for a while.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1, 30
LIVED_SECONDS = 60


class Stop(BaseException):
    """Somebody asked us to end."""


@dataclass
class Member:
    """One child of the whole, and how it is ended and started again.

    Attributes:
        child: the process that runs, or the last one that did.
        again: starts it anew, and does not wait until it is ready.
        starts_at: of the next start (monotonic clock); None while it runs.
    """

    child: Child
    stop: Callable[[Child], object]
    again: Callable[[], Child]
    began_at: float = field(default_factory=time.monotonic)
    wait_seconds: float = FIRST_WAIT_SECONDS
    starts_at: float | None = None

    def look(self) -> None:
        """Start it again when it is time; see whether it has ended."""
        now = time.monotonic()
        if self.starts_at is not None and now >= self.starts_at:
            self._start_again()
        elif self.starts_at is None and (code := self.child.poll()) is not None:
            if now - self.began_at >= LIVED_SECONDS:
                self.wait_seconds = FIRST_WAIT_SECONDS
            self._wait(f"ended by itself ({_reason(code)})")

    def end(self) -> None:
        if self.child.poll() is None:
            self.stop(self.child)

    def _start_again(self) -> None:
        self.began_at, self.starts_at = time.monotonic(), None
        try:
            self.child = self.again()
        except (Refusal, OSError) as error:
            self._wait(f"could not be started again: {error}")

    def _wait(self, why: str) -> None:
        say(f"{self.child.name} {why}. It is started again in {self.wait_seconds} s. Its log: {self.child.log}")
        self.starts_at = time.monotonic() + self.wait_seconds
        self.wait_seconds = min(2 * self.wait_seconds, LONGEST_WAIT_SECONDS)


class Supervisor:
    def __init__(self, state: Path, hold: Sequence[int] = ()) -> None:
        self.state = state
        self.logs = state / "logs"
        self.hold = hold
        self._members: list[Member] = []

    def add(self, child: Child, *, again: Callable[[], Child], stop: Callable[[Child], object] = Child.stop) -> Child:
        """From now on it belongs to the whole. `stop` ends it in its own way."""
        self._members.append(Member(child, stop, again))
        return child

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str], folder: Path | None = None
    ) -> Child:
        log = self.log(name)

        def begin() -> Child:
            return Child(name, command, log=log, env=env, folder=folder, hold=self.hold)

        return self.add(begin(), again=begin)

    def run(self, name: str, command: Sequence[str | Path], env: Mapping[str, str], folder: Path | None = None) -> None:
        """Run a command to its end. It must succeed."""
        child = Child(name, command, log=self.log(name), env=env, folder=folder, hold=self.hold)
        try:
            code = child.wait()
        except BaseException:
            child.kill()
            raise
        if code != 0:
            raise Refusal(_obituary(child, "failed", code))

    def log(self, name: str) -> Path:
        """An empty log file; the last run's is kept beside it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with suppress(FileNotFoundError):
            log.replace(log.with_suffix(".log.1"))
        return log

    def watch(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Keep the children running until we are not wanted any more."""
        while wanted():
            for member in self._members:
                member.look()
            time.sleep(0.2)

    def stop(self) -> None:
        if self._members:
            say("Ending.")
        while self._members:
            self._members[-1].end()
            self._members.pop()

    def hurry(self) -> None:
        for member in reversed(self._members):
            member.child.hurry()


def supervise(state: Path, start: Callable[[Supervisor], None], wanted: Callable[[], bool] = lambda: True) -> int:
    """Start the children, watch them, end them. Our exit code."""
    _on_stop(_raise_stop)
    held = False
    code = 0
    try:
        with _only_one(state) as lock:
            held = True
            supervisor = Supervisor(state, hold=[lock])
            try:
                start(supervisor)
                supervisor.watch(wanted)
            except Refusal as refusal:
                say(str(refusal), sys.stderr)
                code = 1
            finally:
                _on_stop(lambda number, frame: supervisor.hurry())
                supervisor.stop()
    except Stop:
        pass
    except (Refusal, PermissionError) as error:
        say(str(error), sys.stderr)
        code = 1
    if held:
        _wait_for_the_last(state)
    return code


def say(text: str, stream: TextIO | None = None) -> None:
    """Whoever listened may be gone: a closed terminal or pipe is no reason to stop half-way."""
    with suppress(OSError):
        print(text, flush=True, file=stream or sys.stdout)


@contextmanager
def _only_one(state: Path) -> Iterator[int]:
    """Two locks: the first is ours alone, the second is shared by the keepers and so outlives us by a moment."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "supervisor.lock").open("a+") as ours, (state / "children.lock").open("a") as shared:
        if not _locked(ours):
            ours.seek(0)
            raise Refusal(f"It is already running here: pid {ours.read().strip()}, state in {state}.")
        ours.truncate(0)
        ours.write(f"{os.getpid()}\n")
        ours.flush()
        if not _locked(shared):
            say("Waiting for what the last run started to end.")
            deadline = time.monotonic() + ENDING_SECONDS
            while not _locked(shared):
                if time.monotonic() > deadline:
                    raise Refusal(f"What the last run left in {state} does not end.")
                time.sleep(0.1)
        yield shared.fileno()


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_the_last(state: Path) -> None:
    """A child whose start was cut short was nobody's to stop: its keeper ends it."""
    with suppress(Refusal), _only_one(state):
        pass


def _on_stop(act: Callable[[int, FrameType | None], object]) -> None:
    # Set always: a shell ignores SIGINT for what it starts with `&`. Only nohup's wish is kept.
    signal.signal(signal.SIGINT, act)
    signal.signal(signal.SIGTERM, act)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, act)


def _raise_stop(number: int, frame: FrameType | None) -> None:
    raise Stop


def _obituary(child: Child, how: str, code: int) -> str:
    return f"{child.name} {how} ({_reason(code)}). The end of {child.log}:\n{child.last_lines()}"


def _reason(code: int) -> str:
    number = -code if code < 0 else code - 128
    return f"signal {number}" if number > 0 else f"exit {code}"
