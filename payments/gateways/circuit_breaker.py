"""Circuit breaker: while Stripe does not answer, a press is told so at once, before it claims anything (RULES R65).

Per process, by consecutive presses whose confirm was not answered. After BREAKER_PAUSE one press is let through to try;
the others keep hearing 503. It never stands before replays, webhooks, looks or the completer.
"""

import threading
import time

import structlog
from django.conf import settings

from shop.problems import Problem

log = structlog.get_logger(__name__)

_lock = threading.Lock()
_failures = 0
_try_again_at = 0.0  # time.monotonic(); 0: closed


def refuse_while_broken(order_id: str) -> None:
    """Let a new press go on, or say that nothing can be charged right now. Asked only where nothing of this order is
    under way, so that "you were not charged" is true.

    Raises:
        Problem: unavailable, same key; nothing was claimed and nothing was sent.
    """
    global _try_again_at
    with _lock:
        if not _try_again_at:
            return
        wait = _try_again_at - time.monotonic()
        if wait <= 0:
            # This press tries it for all; the next try is due later, unless this one closes the breaker.
            _try_again_at = time.monotonic() + settings.BREAKER_PAUSE.total_seconds()
            return
    raise Problem(
        "unavailable",
        "Our payment provider does not answer at the moment. Nothing was sent and you were not charged.",
        max(1, round(wait)),
        {"order": order_id},
    )


def note_answer(*, answered: bool) -> None:
    """A press heard from Stripe, whatever it said, or did not."""
    global _failures, _try_again_at
    with _lock:
        if answered:
            _failures, _try_again_at = 0, 0.0
            return
        _failures += 1
        if _failures < settings.BREAKER_FAILURES or _try_again_at > time.monotonic():
            return
        _try_again_at = time.monotonic() + settings.BREAKER_PAUSE.total_seconds()
    log.error("breaker_open", failures=_failures, seconds=settings.BREAKER_PAUSE.total_seconds())


def close_breaker() -> None:
    """For tests and drills: as if Stripe had just answered."""
    note_answer(answered=True)


def is_open() -> bool:
    """Whether presses are refused at once now. Of this process alone: another one may know better or worse."""
    with _lock:
        return bool(_try_again_at)
