"""The book: an append-only file of JSON lines, fsynced before anyone hears of what is written in it.

Lines are gathered while the disk is busy and synced together (group commit), so many callers share one fsync. A line
is atomic: everything one call changed stands in one line, and a last line torn by `kill -9` counts as never written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class BookInUse(Exception):
    """Another sandbox writes in this book."""


class Book:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []
        self._appended = 0
        self._durable = 0
        self._last_change = 0
        self._turn = threading.Condition()
        self._file = -1
        self._open()
        threading.Thread(target=self._write_for_ever, name="book", daemon=True).start()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BookInUse(f"another sandbox writes in {self.path}") from None

    def lines(self) -> Iterator[Json]:
        """What is written so far. A torn last line is cut off; a torn line elsewhere is damage and raises."""
        sound = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    if file.read(1):
                        raise ValueError(f"{self.path} is damaged at byte {sound}")
                    break
                sound += len(line)
                yield entry
        if sound < self.path.stat().st_size:
            os.ftruncate(self._file, sound)

    def append(self, entry: Json, change: bool = False) -> int:
        """Returns the line's number, to be waited for. The order of calls is the order in the file."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self._turn:
            self._waiting.append(line)
            self._appended += 1
            if change:
                self._last_change = self._appended
            self._turn.notify_all()
            return self._appended

    def wait(self, number: int) -> None:
        with self._turn:
            while self._durable < number:
                self._turn.wait()

    def wait_for_changes(self) -> None:
        """Until all that a reader may have seen is durable: an answered GET is a promise too."""
        self.wait(self._last_change)

    def start_anew(self) -> None:
        """Put the book aside and begin an empty one."""
        with self._turn:
            while self._durable < self._appended:
                self._turn.wait()
            self.path.replace(self.path.with_name(f"{self.path.stem}.previous{self.path.suffix}"))
            old = self._file
            self._open()
            os.close(old)

    def close(self) -> None:
        self.wait(self._appended)
        with contextlib.suppress(OSError):
            os.close(self._file)

    def _write_for_ever(self) -> None:
        while True:
            with self._turn:
                while not self._waiting:
                    self._turn.wait()
                batch, upto = self._waiting, self._appended
                self._waiting = []
                file = self._file
            _write_whole(file, b"".join(batch))
            os.fsync(file)
            with self._turn:
                self._durable = upto
                self._turn.notify_all()


def _write_whole(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
