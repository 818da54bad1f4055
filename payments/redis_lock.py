"""Layer 4 of 5 - Redis lock, one per order.

Stops: two servers working on one order at once; a loser costs indexed reads only, no row lock and no write.
Does not stop: anything once the lock has expired or Redis has lost it. It is a courtesy: layers 2, 3 and 5 hold alone.

The only file that touches the lock.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import structlog
from django.conf import settings
from django.core.cache import caches
from redis.exceptions import LockError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.lock import Lock

from shop.redis_pause import pause_redis, redis_paused

log = structlog.get_logger(__name__)


class Held(Enum):
    BY_US = "by us"
    BY_ANOTHER = "by another"
    BY_NOBODY = "by nobody"  # Redis does not answer: go on without


@contextmanager
def redis_lock(order_id: str) -> Iterator[Held]:
    """Try once to hold the order's lock, without waiting, for REDIS_LOCK_TTL; never raises for Redis's sake.

    A release that fails (the lock expired, Redis is gone) changes nothing of the answer (RULES R70).
    """
    lock, held = _acquire(f"lock:pay:{settings.PAYMENT_ENV}:{order_id}")
    try:
        yield held
    finally:
        if lock is not None and held is Held.BY_US and not redis_paused():
            _release(lock)


def _acquire(name: str) -> tuple[Lock | None, Held]:
    if redis_paused():
        return None, Held.BY_NOBODY
    lock = None
    token = secrets.token_hex(16)
    try:
        # A lock without a TTL never ends after a crash (FAILURES 56); waiting for one would cost a thread.
        ttl_seconds = settings.REDIS_LOCK_TTL.total_seconds()
        # Its token belongs to no thread: another one may have to give it back.
        lock = caches["default"].lock(  # type: ignore[attr-defined]
            name, timeout=ttl_seconds, blocking=False, thread_local=False
        )
        return lock, Held.BY_US if lock.acquire(blocking=False, token=token) else Held.BY_ANOTHER
    except (RedisError, OSError) as error:
        pause_redis(error)
        if lock is not None and isinstance(error, RedisTimeout):
            # It may have taken the lock all the same: delete if ours, once, and nobody waits for that.
            lock.local.token = token.encode()
            threading.Thread(target=_release, args=(lock,), daemon=True).start()
        return None, Held.BY_NOBODY


def _release(lock: Lock) -> None:
    try:
        lock.release()
    except LockError:
        log.warning("redis_lock_lost", lock=str(lock.name))
    except (RedisError, OSError) as error:
        pause_redis(error)
