"""The crash points C1 to C30 (RULES, "Crash points"): where each lies on the seams around the money code, and how a
test arms one. The seams themselves are in failpoints.py, which only a server with `SETTINGS` loads.

An armed point is a file in the folder that the environment names, so a server's children inherit it, and so does a
worker that is started again: `C12.kill.<order>` is carried out once, by whoever gets to rename it first.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

SETTINGS = "tests.crashes.settings_failpoints"
FOLDER = "PAYONCE_FAILPOINTS"
ANY = "any"

# kill: SIGKILL to oneself. pause: wait there. drop: the answer is lost, once. drop-all: so is that of every further try
# of this press.
ACTS = ("kill", "pause", "drop", "drop-all")

# seam : what : moment
WHERE = {
    "C1": "edge:request:before",
    "C2": "lock:take:before",
    "C3": "rows:claim:written",
    "C4": "commit:claim:after",
    "C5": "stripe:create:before",
    "C6": "stripe:create:before",
    "C7": "stripe:create:sent",
    "C8": "stripe:create:after",
    "C9": "commit:intent:before",
    "C10": "commit:confirming:before",
    "C11": "stripe:confirm:before",
    "C12": "stripe:confirm:sent",
    "C13": "stripe:confirm:after",
    "C14": "sandbox:500:after",
    "C15": "sandbox:500:before",
    "C16": "stripe:confirm:sent",
    "C17": "stripe:confirm:after",
    "C18": "commit:outcome:before",
    "C19": "commit:outcome:before",
    "C20": "commit:outcome:after",
    "C21": "commit:outcome:after",
    "C22": "commit:outcome:after",
    "C23": "edge:answer:after",
    "C24": "nudge:orders.send_mails:before",
    "C25": "task:orders.send_mails:after",
    "C26": "stripe:confirm:after",
    "C27": "lock:release:before",
    "C28": "stripe:confirm:after",
    "C29": "stripe:look:after",
    "C30": "stripe:confirm:after",
}
POINTS = tuple(WHERE)


@dataclass(frozen=True)
class Failpoint:
    """One that is armed, or was: a file that moves from armed to taken, and a note in hit."""

    folder: Path
    point: str
    act: str
    order: str = ANY

    @property
    def name(self) -> str:
        return f"{self.point}.{self.act}.{self.order}"

    def arm(self) -> "Failpoint":
        assert self.act in ACTS and self.point in WHERE
        for folder in ("armed", "taken", "hit", "gone-on"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
            (self.folder / folder / self.name).unlink(missing_ok=True)
        (self.folder / "armed" / self.name).touch()
        return self

    def take(self) -> bool:
        """Whether it is ours to carry out: rename is the judge between threads and processes."""
        try:
            (self.folder / "armed" / self.name).rename(self.folder / "taken" / self.name)
        except FileNotFoundError:
            return False
        return True

    def note_hit(self) -> None:
        note = self.folder / "taken" / f"{self.name}.{os.getpid()}"
        note.write_text(str(os.getpid()))
        note.rename(self.folder / "hit" / self.name)

    def wait_until_hit(self, seconds: float = 30) -> int:
        """The id of the process that is there."""
        note = self.folder / "hit" / self.name
        _wait_for(note, seconds, f"nobody came to {self.name}")
        return int(note.read_text())

    def go_on(self) -> None:
        """Whoever is paused there goes on."""
        (self.folder / "gone-on" / self.name).touch()

    def wait_until_told(self) -> None:
        _wait_for(self.folder / "gone-on" / self.name, 300, f"{self.name} was never told to go on")


def armed(folder: Path, where: str, order: str | None) -> Failpoint | None:
    """The failpoint that is armed here for this order, taken; None nearly always."""
    for name in os.listdir(folder / "armed") if (folder / "armed").is_dir() else ():
        point, act, wanted = name.split(".", 2)
        found = Failpoint(folder, point, act, wanted)
        if WHERE[point] == where and wanted in (ANY, order) and found.take():
            return found
    return None


def kill_at(*paused: Failpoint) -> None:
    """`kill -9` of the process in whose hands they all are."""
    pids = {each.wait_until_hit() for each in paused}
    assert len(pids) == 1, pids
    os.kill(pids.pop(), signal.SIGKILL)


def _wait_for(file: Path, seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > end:
            raise AssertionError(f"{otherwise} within {seconds:g} s")
        time.sleep(0.005)
