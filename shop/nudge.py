"""Tell a worker that a row has work due. Only a courtesy: the beat finds the row anyway (RULES R97)."""

import functools
from typing import Any

import structlog
from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import KombuError, OperationalError
from kombu.pools import producers
from redis.exceptions import RedisError

from shop.redis_pause import pause_redis, redis_paused

log = structlog.get_logger(__name__)

# For this process's publishing only; workers keep the longer time-outs of the settings. Connecting and one answer
# stay within the half second that a dead Redis may cost a shopper (DESIGN section 6). A live one takes a millisecond.
_IN_A_HURRY = {"socket_connect_timeout": 0.2, "socket_timeout": 0.25, "retry_on_timeout": False, "max_retries": 0}
_WAIT_SECONDS = 0.1  # for one of the few kept connections, while other threads publish


def nudge(task: str, *ids: Any) -> None:
    """Send the task by name, after the commit that made the work. Never raises, never waits for a dead broker."""
    if redis_paused():
        return
    try:
        with producers[_connection()].acquire(block=True, timeout=_WAIT_SECONDS) as producer:
            current_app.send_task(task, ids, producer=producer, retry=False, ignore_result=True)
    except (OperationalError, KombuError, RedisError, OSError) as error:
        pause_redis(error)
        log.warning("nudge_not_sent", task=task, error=type(error).__name__)


@functools.cache
def _connection() -> Connection:
    """Names the pool of kept connections; nothing is opened here. The pool mends one that a restart has cut."""
    options = {**current_app.conf.broker_transport_options, **_IN_A_HURRY}
    connection: Connection = current_app.connection_for_write(transport_options=options)
    return connection
