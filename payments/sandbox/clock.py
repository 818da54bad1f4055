"""The sandbox's own clock, in one place so that it can be moved forward.

`created`, the age of idempotency keys and tokens, and whatever is to be done later follow it.
"""

import time


class Clock:
    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.offset_seconds

    def seconds(self) -> int:
        return int(self.now())

    def elapsed(self) -> float:
        """For waiting: nothing but an advance makes it jump."""
        return time.monotonic() + self.offset_seconds

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        self.offset_seconds += seconds
