"""The embedded PostgreSQL and Redis: what tests do to them, and what a crash leaves behind."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from shop.env import BASE_DIR
from shop.stack import Refusal, ports, unprivileged
from shop.stack.child import Child
from shop.stack.postgres import Postgres
from shop.stack.redis import Redis
from tests.stack.test_supervisor import is_running, wait_for


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "postgres", durable=False)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def test_postgres_is_18_on_loopback_with_a_password_and_statistics(cluster: Postgres) -> None:
    with psycopg.connect(cluster.url()) as connection:
        assert connection.info.server_version // 10000 == 18
        assert ask(cluster, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(cluster, "SHOW shared_preload_libraries") == "pg_stat_statements"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.url().replace(cluster.password, "wrong"))


def test_immediate_restart_cuts_connections_and_keeps_what_was_committed(cluster: Postgres) -> None:
    port = cluster.port
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        cluster.restart(immediate=True)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert cluster.port == port
    assert ask(cluster, "SELECT n FROM kept") == 7


def test_postgres_comes_back_after_kill_9(cluster: Postgres) -> None:
    cluster.create_database("kept")
    cluster.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.url())
    cluster.restart()
    cluster.create_database("kept")  # as every start does
    assert ask(cluster, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1


def test_a_lock_file_whose_pid_is_now_another_process_is_no_obstacle(cluster: Postgres) -> None:
    cluster.stop()
    lock = cluster.folder / "cluster" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{cluster.folder}/cluster\n0\n{cluster.port}\n\n127.0.0.1\n0 0\nready\n")
    cluster.start()
    assert ask(cluster, "SELECT 1") == 1


def test_a_server_that_outlived_its_keeper_is_ended_first(cluster: Postgres) -> None:
    assert cluster.child is not None
    keeper = int(Path(f"/proc/{cluster.child.pid}/stat").read_text().split()[3])
    os.kill(keeper, signal.SIGKILL)
    orphan = cluster.child.pid
    assert is_running(orphan)
    again = Postgres(cluster.folder, durable=False)
    again.start()
    assert not is_running(orphan)
    assert ask(again, "SELECT 1") == 1
    again.kill()


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "cluster.new" / "base").mkdir(parents=True)
    server = Postgres(tmp_path, durable=False)
    server.start()
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_a_port_taken_meanwhile_is_replaced(cluster: Postgres, tmp_path: Path) -> None:
    other = Postgres(tmp_path / "other", durable=False)
    other.folder.mkdir()
    (other.folder / "port").write_text(str(cluster.port))
    other.start()
    assert other.port != cluster.port
    assert ask(other, "SELECT 1") == 1
    other.kill()


def test_killing_its_owner_ends_postgres(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from shop.stack.postgres import Postgres\n"
        "server = Postgres(Path(sys.argv[1]), durable=False); server.start(); print(server.child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert is_running(pid)
    owner.kill()
    owner.communicate()
    wait_for(lambda: not is_running(pid))


def test_redis_keeps_nothing(store: Redis) -> None:
    assert store.command("SET", "a", "1") == "+OK"
    assert store.command("EXISTS", "a") == ":1"
    store.flush()
    assert store.command("EXISTS", "a") == ":0"
    store.command("SET", "a", "1")
    store.kill()
    with pytest.raises(ConnectionRefusedError):
        store.command("PING")
    store.restart()
    assert store.command("EXISTS", "a") == ":0"
    assert [file.name for file in store.folder.iterdir() if file.suffix in (".rdb", ".aof")] == []


def test_a_paused_redis_takes_connections_and_answers_nobody(store: Redis) -> None:
    store.pause()
    with pytest.raises(TimeoutError):
        store.command("PING", seconds=0.3)
    store.resume()
    assert store.command("PING") == "+PONG"


def test_a_port_in_use_names_the_port_and_the_variable(store: Redis) -> None:
    with pytest.raises(Refusal) as refused:
        ports.refuse_busy(store.port, "the shop", "PORT")
    assert str(refused.value) == (
        f"Port {store.port} (the shop) is in use: end what listens there, or `make run PORT={store.port + 100}`."
    )


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="web did not start: /no/such: No such file or directory"):
        Child("web", ["/no/such"], log=tmp_path / "log")


def test_root_runs_postgres_in_a_user_namespace_or_as_nobody_and_changes_no_other_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        assert unprivileged.account_for(TRUE, BASE_DIR) == unprivileged.Account()
        return
    folder = Path(tempfile.mkdtemp(prefix="payonce-open-"))
    inner = folder / "postgres"
    inner.mkdir()
    try:
        monkeypatch.setattr(unprivileged, "_user_namespace", lambda: ("false",))
        with pytest.raises(Refusal, match=r"PostgreSQL does not run as root.*closed to it.*or set DATABASE_URL"):
            unprivileged.account_for(TRUE, inner)  # a new temporary folder is closed to nobody
        folder.chmod(0o755)
        nobody = pwd.getpwnam("nobody")
        assert unprivileged.account_for(TRUE, inner).ids == (nobody.pw_uid, nobody.pw_gid)
        assert inner.stat().st_uid == nobody.pw_uid
        assert folder.stat().st_uid == 0
    finally:
        shutil.rmtree(folder)


def ask(server: Postgres, query: LiteralString) -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


TRUE = Path("/bin/true")
