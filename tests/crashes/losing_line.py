"""A line to PostgreSQL that loses one answer: a small TCP proxy that knows a COMMIT when it sees one."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # the simple query, as libpq sends it
BEGIN = b"Q\x00\x00\x00\x0aBEGIN\x00"

CLAIM = b'INSERT INTO "payments_attempt"'
CONFIRMING = b'"latest_charge_before" = '
LEASE = b"UPDATE payments_attempt AS leased"
OUTCOME = b'"answer_status" = '


@dataclass
class _Loss:
    """The COMMIT of the first transaction that has written `sql` is not answered, and its connection is cut."""

    sql: bytes
    carried_out: bool
    then_refuse: bool
    happened: threading.Event = field(default_factory=threading.Event)


class LosingLine:
    """Listens on a port of its own and passes everything on. Ended by `close`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        address = f"{parts.username}:{parts.password}@127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(parts._replace(netloc=address))
        self._loss: _Loss | None = None
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        self._refusing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, sql: bytes, *, carried_out: bool, then_refuse: bool = False) -> threading.Event:
        """Once. The event is set when it has happened. `then_refuse`: from then on nobody gets through, until told."""
        self._loss = _Loss(sql, carried_out, then_refuse)
        return self._loss.happened

    def let_through(self) -> None:
        self._refusing.clear()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        self._listener.close()
        for pair in self._pairs:
            pair.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing.is_set():
                client.close()
                continue
            pair = _Pair(self, client, socket.create_connection(self._server))
            self._pairs.append(pair)
            pair.start()

    def take_loss(self, written: bytes) -> _Loss | None:
        with self._lock:
            loss = self._loss
            if loss is None or loss.sql not in written:
                return None
            self._loss = None
            return loss

    def happened(self, loss: _Loss) -> None:
        if loss.then_refuse:
            self._refusing.set()
            for pair in self._pairs:
                pair.hang_up()
        loss.happened.set()


class _Pair:
    """One connection: a thread for each direction."""

    def __init__(self, line: LosingLine, client: socket.socket, server: socket.socket) -> None:
        self._line, self._client, self._server = line, client, server
        self._written = b""  # what the client has sent since its last BEGIN
        self._loss: _Loss | None = None

    def start(self) -> None:
        for direction in (self._to_server, self._to_client):
            threading.Thread(target=direction, daemon=True).start()

    def _to_server(self) -> None:
        with suppress(OSError):
            while sent := self._client.recv(65536):
                self._written = (self._written + sent).rpartition(BEGIN)[2]
                if sent.endswith(COMMIT) and (loss := self._line.take_loss(self._written)):
                    if not loss.carried_out:
                        self._cut(loss)
                        return
                    self._loss = loss  # before the server can answer
                self._server.sendall(sent)
        self.hang_up()

    def _to_client(self) -> None:
        with suppress(OSError):
            while answer := self._server.recv(65536):
                if self._loss is not None:
                    self._cut(self._loss)
                    return
                self._client.sendall(answer)
        self.hang_up()

    def _cut(self, loss: _Loss) -> None:
        self._line.happened(loss)
        self.hang_up()

    def hang_up(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
