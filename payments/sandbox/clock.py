"""The sandbox's own clock, in one place so that it can be moved."""

import time


class Clock:
    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.offset_seconds

    def seconds(self) -> int:
        return int(self.now())
