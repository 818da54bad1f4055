"""One process that we started, under a keeper: it dies with us even if we are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from shop.stack import Refusal
from shop.stack.unprivileged import Account

KEEPER = Path(__file__).with_name("keeper.py")


class Child:
    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        account: Account | None = None,
        last_signal: int = signal.SIGKILL,
        hold: Sequence[int] = (),
    ) -> None:
        """`last_signal` is what it gets if we vanish; `hold` are file descriptors that its keeper shares (a lock)."""
        account = account or Account()
        uid, gid = account.ids or ("", "")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self.name = name
        self.log = log
        self._last_signal = last_signal
        self._log_start = log.stat().st_size
        keeper = [sys.executable, "-I", "-S", str(KEEPER), str(int(last_signal)), str(uid), str(gid), str(log)]
        self._keeper = subprocess.Popen(
            [*keeper, *account.prefix, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=env,
            cwd=folder,
            pass_fds=hold,
            start_new_session=True,  # Ctrl-C in a terminal reaches only us; we end the children in order
        )
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        pid = self._keeper.stdout.readline()
        if not pid:
            self.wait()
            raise Refusal(f"{name} did not start: {self.last_lines(1)}")
        self.pid = int(pid)

    def poll(self) -> int | None:
        """None while it runs; else its exit code, or 128 + the signal that killed it."""
        code = self._keeper.poll()
        return None if code is None else self._ended(code)

    def wait(self, seconds: float | None = None) -> int:
        return self._ended(self._keeper.wait(seconds))

    def send(self, number: int) -> None:
        """Pass a signal on, and return when it is sent. One that is too late is no error."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        with suppress(BrokenPipeError, ValueError):
            self._keeper.stdin.write(bytes([number]))
            self._keeper.stdout.read(1)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 10) -> int:
        """Ask it to end; kill it when it does not."""
        self.send(number)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """`kill -9` for it and all that it started."""
        self.send(signal.SIGKILL)
        return self.wait(10)

    def hurry(self) -> None:
        """As if we had vanished, without waiting."""
        self.send(self._last_signal)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)
        time.sleep(0.05)  # a process that runs on another core stops a moment after the signal

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def text(self) -> str:
        """What it has written since it started."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def last_lines(self, count: int = 20) -> str:
        return "\n".join(self.text().rstrip().splitlines()[-count:])

    def wait_for_text(self, text: str, seconds: float = 30) -> str:
        """The first whole line of its log that has `text` in it."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self.poll() is not None  # before reading: a last line written just now still counts
            for line in self.text().splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line.strip()
            if ended:
                raise Refusal(f"{self.name} ended (exit {self.poll()}):\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise Refusal(f"{self.name} did not say {text!r} within {seconds:g} s:\n{self.last_lines()}")
            time.sleep(0.02)

    def _ended(self, code: int) -> int:
        if code < 0:
            # Somebody killed the keeper; nobody else looks after its child now.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        return code
