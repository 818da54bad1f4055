"""Runs the children: all of them, or none.

Ctrl-C or SIGTERM ends them in order, last started first. When one ends by itself, all end, and the exit code is 1. When
we are killed, their keepers see to it. One folder of state has one supervisor: a lock, which the keepers share, so that
a free lock means that nothing of the last run is left.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from shop.stack import Refusal
from shop.stack.child import Child

ENDING_SECONDS = 15  # how long the children of a killed supervisor may take to go


class Stop(BaseException):
    """Somebody asked us to end."""


class Supervisor:
    def __init__(self, state: Path, hold: Sequence[int] = ()) -> None:
        self.state = state
        self.logs = state / "logs"
        self.hold = hold
        self._running: list[tuple[Child, Callable[[], object]]] = []

    def add(self, child: Child, stop: Callable[[], object] | None = None) -> Child:
        """From now on it belongs to the whole. `stop` ends it in its own way."""
        self._running.append((child, stop or child.stop))
        return child

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str], folder: Path | None = None
    ) -> Child:
        return self.add(Child(name, command, log=self.log(name), env=env, folder=folder, hold=self.hold))

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
        """Return when we are not wanted any more; raise when a child has ended by itself."""
        while wanted():
            for child, _ in self._running:
                code = child.poll()
                if code is not None:
                    raise Refusal(_obituary(child, "ended by itself", code))
            time.sleep(0.2)

    def stop(self) -> None:
        if self._running:
            say("Ending.")
        while self._running:
            child, stop = self._running[-1]
            if child.poll() is None:
                stop()
            self._running.pop()

    def hurry(self) -> None:
        for child, _ in reversed(self._running):
            child.hurry()


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
    number = -code if code < 0 else code - 128
    reason = f"signal {number}" if number > 0 else f"exit {code}"
    return f"{child.name} {how} ({reason}). The end of {child.log}:\n{child.last_lines()}"
