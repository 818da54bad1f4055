"""One HTTP exchange with the gateway that ends by its deadline, whatever the other side does.

A library's time-out is per read: a body that drips a byte a second never ends. Here a timer cuts the connection at the
deadline, on the monotonic clock. Proxy variables of the environment are ignored: a proxy that repeats a POST is one of
the ways to charge twice (FAILURES 125).
"""

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from payments.errors import NothingSent, Undecided

CONNECT_SECONDS = 2.0
LARGEST_BODY = 4 * 1024 * 1024  # bytes


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(seconds, self.seconds_left))


class _Cutter:
    """Knows the connection in use, to cut it when time is up."""

    connection: HTTPConnection | None = None

    def cut(self) -> None:
        connection = self.connection
        sock = connection.sock if connection else None
        if sock is not None:
            with contextlib.suppress(OSError):  # it may have ended by itself just now
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


_this_thread = threading.local()


class _WatchedConnection(HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _this_thread.cutter.connection = self
        super().request(*args, **kwargs)


class _WatchedTLSConnection(HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _this_thread.cutter.connection = self
        super().request(*args, **kwargs)


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLSConnection


def _pools() -> urllib3.PoolManager:
    manager = urllib3.PoolManager(maxsize=64, block=False, retries=False)
    manager.pool_classes_by_scheme = {"http": _WatchedPool, "https": _WatchedTLSPool}
    return manager


class Transport:
    """Keeps connections to the gateway alive between calls; safe to share between threads."""

    def __init__(self) -> None:
        self._manager = _pools()

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, deadline: Deadline
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request and read the whole answer: (body, status, headers).

        Raises:
            NothingSent: name resolution, refusal or connect time-out, and nothing else: nothing can have arrived.
            Undecided: any other failure on the wire, or the deadline: it may have arrived.
        """
        if deadline.seconds_left <= 0:
            raise NothingSent("no time left for this call")
        cutter = _this_thread.cutter = _Cutter()
        timer = threading.Timer(deadline.seconds_left, cutter.cut)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(method, url, headers, body, deadline)
        except HTTPError as error:
            if _never_connected(error):
                raise NothingSent(f"{type(error).__name__}") from error
            raise Undecided(f"{type(error).__name__}") from error
        except OSError as error:
            raise Undecided(f"{type(error).__name__}") from error
        finally:
            timer.cancel()
            cutter.connection = None

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, deadline: Deadline
    ) -> tuple[bytes, int, Mapping[str, str]]:
        seconds = deadline.seconds_left
        response = self._manager.request(
            method,
            url,
            body=body,
            headers=dict(headers),
            timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds),
            redirect=False,
            preload_content=False,
        )
        try:
            content = response.read(LARGEST_BODY)
            complete = response.length_remaining in (0, None)
        except BaseException:
            response.close()
            raise
        if deadline.seconds_left <= 0 or not complete:
            response.close()
            raise Undecided("the answer was cut short")
        response.release_conn()
        return content, response.status, response.headers


def _never_connected(error: HTTPError) -> bool:
    """The closed list of causes after which nothing can have been sent (DESIGN section 6)."""
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return True
    if not isinstance(error, NewConnectionError):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | ConnectionRefusedError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
