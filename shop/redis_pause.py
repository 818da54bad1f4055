"""After a failure this process asks no Redis for REDIS_PAUSE: a dead Redis costs one shopper half a second, not each.

Lock, throttle and nudge share the pause, each on its own way to Redis. Threads share it too; a race between two of
them costs at most one more time-out.
"""

import time

import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

_paused_until = 0.0  # time.monotonic(); one float, so that reading and writing need no lock


def redis_paused() -> bool:
    """Whether to go on without Redis, and without trying."""
    return time.monotonic() < _paused_until


def pause_redis(error: BaseException) -> None:
    """Redis has failed: leave it alone for REDIS_PAUSE. Logged once a pause."""
    global _paused_until
    was_paused = redis_paused()
    _paused_until = time.monotonic() + settings.REDIS_PAUSE.total_seconds()
    if not was_paused:
        log.warning("redis_paused", seconds=settings.REDIS_PAUSE.total_seconds(), error=type(error).__name__)


def end_redis_pause() -> None:
    """For tests and for a drill: ask Redis again at once."""
    global _paused_until
    _paused_until = 0.0
