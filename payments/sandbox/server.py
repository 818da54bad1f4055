"""The HTTP edge: one thread a connection, HTTP/1.1 keep-alive, no delay of its own (TCP_NODELAY, one write an answer).

The faults that live on the wire are done here: a connection closed with RST, one that never answers, and an answer
that drips.
"""

from __future__ import annotations

import json
import os
import select
import socket
import socketserver
import struct
import sys
import threading
import time
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .answers import Answer
from .control import Control
from .gateway import Gateway, HungUp, Request
from .pages import Pages
from .switches import Refused

_LARGEST_BODY = 1 << 20
_LARGEST_CONTROL_BODY = 1 << 26
_STACK_BYTES = 512 * 1024


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, port: int) -> None:
        threading.stack_size(_STACK_BYTES)
        super().__init__(("127.0.0.1", port), Connection)
        self.gateway: Gateway
        self.control: Control
        self.pages: Pages

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller who went away is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Connection(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one write
    timeout = 3600

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - the names that http.server looks for

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        path = urlsplit(self.path).path
        if length > (_LARGEST_CONTROL_BODY if path.startswith("/_sandbox/") else _LARGEST_BODY):
            self.close_connection = True
            self._write(Answer(413, "", {"Content-Type": "text/plain", "Connection": "close"}))
            return
        body = self.rfile.read(length)
        if path.startswith("/v1/"):
            self._answer_api(body)
        elif self._is_foreign():
            self._write(Answer(403, "Only for this machine's own pages and tests.", {"Content-Type": "text/plain"}))
        elif path.startswith("/_sandbox/"):
            self._answer_control(path.removeprefix("/_sandbox/"), body)
        else:
            query = dict(parse_qsl(urlsplit(self.path).query))
            form = dict(parse_qsl(body.decode(errors="replace")))
            try:
                answer = self.server.pages.answer(self.command, path, query, form)
            except Exception as error:  # noqa: BLE001 - a 500 says more than a closed connection
                answer = self._broken(error)
            self._write(answer)

    def _broken(self, error: Exception) -> Answer:
        """A bug of the sandbox's own must not look as if no sandbox were there."""
        traceback.print_exception(error)
        said = f"The sandbox could not answer this: {type(error).__name__}. Its log says where."
        return Answer(500, said, {"Content-Type": "text/plain"})

    def _is_foreign(self) -> bool:
        """A page of another site in the developer's browser must not turn the switches."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        own = {f"http://{name}:{self.server.server_address[1]}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin")
        return host not in ("127.0.0.1", "localhost") or (self.command != "GET" and origin not in (None, *own))

    def _answer_api(self, body: bytes) -> None:
        if self.command == "OPTIONS":
            self._write(Answer(204, "", self._cors() | {"Access-Control-Max-Age": "600"}))
            return
        request = Request(
            self.command,
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            body,
            "{}:{}".format(*self.client_address[:2]),
            self._wait_until_closed,
        )
        try:
            answer = self.server.gateway.answer(request)
        except HungUp as hung:
            answer = Answer(0, "", wire=hung.how if hung.how == "reset" else "closed")
        answer.headers |= self._cors()
        if answer.wire in ("reset", "closed"):
            self._close(reset=answer.wire == "reset")
        elif answer.wire == "hang":
            self._wait_until_closed()
            self._close(reset=False)
        elif answer.wire == "drip":
            self._drip(answer)
        else:
            self._write(answer)

    def _answer_control(self, path: str, body: bytes) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query))
        status = 200
        try:
            wanted = self._read_json(body)
            if not isinstance(wanted, dict):
                raise Refused(400, "the body must be a JSON object")
            result = self.server.control.answer(self.command, path, query, wanted)
        except json.JSONDecodeError as error:
            status, result = 400, {"error": str(error)}
        except Refused as refused:
            status, result = refused.status, {"error": str(refused)}
        except Exception as error:  # noqa: BLE001 - a 500 says more than a closed connection
            self._write(self._broken(error))
            return
        self._write(Answer(status, json.dumps(result), {"Content-Type": "application/json"}))

    def _read_json(self, body: bytes) -> Any:
        """One object, or many, one on each line."""
        if "ndjson" in (self.headers.get("Content-Type") or ""):
            return {"rows": [json.loads(line) for line in body.splitlines() if line.strip()]}
        return json.loads(body) if body else {}

    def _cors(self) -> dict[str, str]:
        """The browser's stand-in for Stripe.js calls from its own frame; a shop's page may too."""
        origin = self.headers.get("Origin")
        if not origin:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Version, Idempotency-Key",
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Expose-Headers": "Request-Id",
            "Vary": "Origin",
        }

    def _head(self, answer: Answer, length: int) -> None:
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = ""
        self.send_response_only(answer.status, phrase)
        self.send_header("Date", self.date_time_string())
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _write(self, answer: Answer) -> None:
        content = answer.body.encode()
        self._head(answer, len(content))
        self.wfile.write(content)
        self.wfile.flush()

    def _drip(self, answer: Answer) -> None:
        content = answer.body.encode()
        self._head(answer, len(content))
        self.wfile.flush()
        for position in range(len(content)):
            self.wfile.write(content[position : position + 1])
            self.wfile.flush()
            time.sleep(answer.seconds)

    def _wait_until_closed(self) -> None:
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        poll.poll()

    def _close(self, reset: bool) -> None:
        """With RST: what a caller sees when a machine dies on it."""
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as in http.server
        """The book is the log."""
