"""Failpoints on the seams around the money code, which itself has none: the web edge, the Redis lock, the transport to
Stripe, the database's commits, and Celery's messages. Loaded by tests.crashes.settings_failpoints alone.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from celery.signals import before_task_publish, task_postrun, task_prerun
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from urllib3.connectionpool import HTTPConnectionPool

from payments.errors import NothingSent, Undecided
from payments.gateways import transport
from payments.gateways.stripe import StripeGateway
from payments.gateways.transport import Deadline
from payments.redis_lock import Held, redis_lock
from tests.crashes.crash_points import FOLDER, SETTINGS, armed

if settings.SETTINGS_MODULE != SETTINGS:
    raise ImproperlyConfigured(f"Failpoints are for tests: they load with {SETTINGS} alone.")

_ORDER_IN_PATH = re.compile(r"^/api/orders/([^/]+)/payments/$")


class _Press(threading.local):
    """What this thread is at work on: the order of a press, and the points whose every try is lost."""

    order: str | None = None
    lost: frozenset[str] = frozenset()


_now = _Press()


def _begin(order: str | None) -> None:
    _now.order, _now.lost = order, frozenset()


def reached(where: str, lost: Callable[[], Exception] | None = None) -> bool:
    """Carry out what is armed here. Inert without an armed point. Whether something was to be dropped.

    Raises:
        Exception: what `lost` makes, if the answer is to be lost.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return False
    dropped = where in _now.lost
    if not dropped and (found := armed(Path(folder), where, _now.order)):
        found.note_hit()
        match found.act:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "pause":
                found.wait_until_told()
            case "drop":
                dropped = True
            case "drop-all":
                dropped = True
                _now.lost |= {where}
    if dropped and lost is not None:
        raise lost()
    return dropped


# --- the web edge -----------------------------------------------------------------------------------------------------


class Edge:
    """The outermost middleware: before anything of a request is looked at, and after all of its answer is made."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        seen = _ORDER_IN_PATH.match(request.path)
        _begin(seen[1] if seen else None)
        reached("edge:request:before")
        response = self.get_response(request)
        reached("edge:answer:after")
        return response


# --- layer 4 ----------------------------------------------------------------------------------------------------------


@contextmanager
def failing_lock(order_id: str) -> Iterator[Held]:
    """payments.redis_lock; dropped at its release, it has been lost and raises."""
    reached("lock:take:before")
    with redis_lock(order_id) as held:
        yield held
        if reached("lock:release:before"):
            caches["default"].delete(f"lock:pay:{settings.PAYMENT_ENV}:{order_id}")


# --- layer 5 ----------------------------------------------------------------------------------------------------------


def _operation(method: str, path: str) -> str:
    if method == "GET":
        return "look"
    return "create" if path.endswith("/payment_intents") else path.rsplit("/", 1)[-1]


class _FailingConnection(transport._WatchedConnection):
    """`sent`: the request is out, nothing of the answer is read."""

    operation = ""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        self.operation = _operation(method, url.split("?")[0])
        super().request(method, url, *args, **kwargs)

    def getresponse(self) -> Any:
        reached(f"stripe:{self.operation}:sent")
        return super().getresponse()


class _FailingPool(HTTPConnectionPool):
    ConnectionCls = _FailingConnection


class _FailingTransport(transport.Transport):
    def __init__(self) -> None:
        super().__init__()
        self._manager.pool_classes_by_scheme = {"http": _FailingPool}

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, deadline: Deadline
    ) -> tuple[bytes, int, Mapping[str, str]]:
        operation = _operation(method, url.split("?")[0])
        reached(f"stripe:{operation}:before", lambda: NothingSent("failpoint"))
        answer = super().exchange(method, url, headers, body, deadline)
        reached(f"stripe:{operation}:after", lambda: Undecided("failpoint"))
        return answer


_one_at_a_time = threading.Lock()  # two first presses may both make a gateway


class FailingGateway(StripeGateway):
    def __init__(self) -> None:
        with _one_at_a_time, mock.patch("payments.gateways.stripe.Transport", _FailingTransport):
            super().__init__()


# --- Celery's messages ------------------------------------------------------------------------------------------------


def _before_publishing(sender: str, **_: Any) -> None:
    reached(f"nudge:{sender}:before")


def _task_begins(**_: Any) -> None:
    _begin(None)


def _task_done(task: Any, **_: Any) -> None:
    """Its work is committed, the broker has not heard so."""
    reached(f"task:{task.name}:after")


before_task_publish.connect(_before_publishing)
task_prerun.connect(_task_begins)
task_postrun.connect(_task_done)
