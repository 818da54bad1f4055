"""`make run`: every process of a development shop, and where to find it."""

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psycopg

from shop.env import BASE_DIR, STATE_DIR
from shop.stack import Refusal
from shop.stack.child import Child
from shop.stack.environment import development_environment, write_environment
from shop.stack.ports import refuse_busy
from shop.stack.postgres import Postgres
from shop.stack.redis import Redis
from shop.stack.supervisor import Supervisor, say, supervise

# 200 threads: a shopper waiting for Stripe holds one, and nothing else (DESIGN section 7).
WEB_WORKERS, WEB_THREADS = 2, 100
# gthread's time-out watches the worker's loop, not its requests: a press may take its 28 s.
WEB_TIMEOUT, WEB_ENDING_SECONDS = 60, 5
# What the log says once the program is there. Its broker may not be: it waits for that.
WORKER_IS_LOADED, BEAT_IS_UP = "[tasks]", "beat: Starting..."
WORKER_IS_UP = "ready."


def main() -> int:
    watches_make = "--under-make" in sys.argv[1:]
    return supervise(STATE_DIR.absolute(), start, wanted=_make_is_content if watches_make else lambda: True)


def start(supervisor: Supervisor) -> None:
    state = supervisor.state
    given = os.environ
    port = _port("PORT", 8000)
    sandbox_port = _port("SANDBOX_PORT", 8001)
    refuse_busy(port, "the shop", "PORT")
    if not given.get("STRIPE_API_BASE"):
        refuse_busy(sandbox_port, "the Stripe sandbox", "SANDBOX_PORT")

    database_url = _given_postgres(given) or _start_postgres(supervisor)
    redis_url, broker_url = _given_redis(given) or _start_redis(supervisor)
    values = development_environment(
        state,
        given,
        database_url=database_url,
        redis_url=redis_url,
        broker_url=broker_url,
        sandbox_port=sandbox_port,
    )
    write_environment(state / "env", values)
    env = dict(given) | values
    if not given.get("STRIPE_API_BASE"):
        _start_sandbox(supervisor, values, sandbox_port)

    manage = [sys.executable, str(BASE_DIR / "manage.py")]
    say("Migrating the database ...")
    supervisor.run("migrate", [*manage, "migrate", "--no-input"], env, BASE_DIR)
    say("Seeding the shop ...")
    supervisor.run("seed_shop", [*manage, "seed_shop"], env, BASE_DIR)

    say("Starting the worker, the beat and the shop ...")
    worker = supervisor.start("celery", worker_command(), env, BASE_DIR)
    beat = supervisor.start("beat", beat_command(), env, BASE_DIR)
    web = supervisor.start("web", web_command(port), env, BASE_DIR)
    wait_for_answer(web, f"http://127.0.0.1:{port}/livez")
    beat.wait_for_text(BEAT_IS_UP)
    worker.wait_for_text(WORKER_IS_LOADED)
    _say_where(values)


def web_command(port: int, *, workers: int = WEB_WORKERS, threads: int = WEB_THREADS) -> list[str]:
    """Port 0 takes a free one; the log says which."""
    return [
        *(sys.executable, "-m", "gunicorn", "shop.wsgi:application"),
        *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"),
        *("--workers", str(workers), "--threads", str(threads)),
        *("--timeout", str(WEB_TIMEOUT), "--graceful-timeout", str(WEB_ENDING_SECONDS)),
        "--no-control-socket",  # it would lie in the home folder
    ]


def worker_command(*, concurrency: int = 2) -> list[str]:
    return [
        *(sys.executable, "-m", "celery", "--app", "shop", "worker", "--loglevel", "INFO"),
        *("--concurrency", str(concurrency), "--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


def beat_command() -> list[str]:
    """A process of its own: within a worker nobody would notice its end. It keeps no file, which a `kill -9` might
    tear: all it would say is when each task was last sent, and a task that is sent once more is harmless."""
    return [
        *(sys.executable, "-m", "celery", "--app", "shop", "beat", "--loglevel", "INFO"),
        *("--scheduler", "celery.beat:Scheduler", "--pidfile", ""),
    ]


def sandbox_command(port: int, book: Path, env: Mapping[str, str], webhook_url: str) -> list[str]:
    book.parent.mkdir(parents=True, exist_ok=True)
    return [
        *(sys.executable, "-m", "payments.sandbox", "--port", str(port), "--book", str(book)),
        *("--webhook-url", webhook_url, "--webhook-secret", env["STRIPE_WEBHOOK_SECRET"]),
        *("--secret-key", env["STRIPE_SECRET_KEY"], "--publishable-key", env["STRIPE_PUBLISHABLE_KEY"]),
    ]


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Refusal(f"{variable}={text} is no port: a number from 1 to 65535.")
    return int(text)


def _given_postgres(given: Mapping[str, str]) -> str | None:
    url = given.get("DATABASE_URL")
    if url and url.startswith(("postgres://", "postgresql://")):
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            raise Refusal(f"DATABASE_URL does not answer: {str(error).splitlines()[0]}") from None
    return url


def _start_postgres(supervisor: Supervisor) -> str:
    say("Starting PostgreSQL ...")
    postgres = Postgres(supervisor.state / "postgres", log=supervisor.log("postgres"), hold=supervisor.hold)
    postgres.start()
    assert postgres.child is not None
    supervisor.add(postgres.child, again=postgres.begin, stop=lambda _: postgres.stop())
    return postgres.create_database("payonce")


def _given_redis(given: Mapping[str, str]) -> tuple[str, str] | None:
    url = given.get("REDIS_URL")
    return (url, given.get("CELERY_BROKER_URL") or url) if url else None


def _start_redis(supervisor: Supervisor) -> tuple[str, str]:
    """The addresses for cache and locks, and for the broker: flushing the one loses no task of the other."""
    say("Starting Redis ...")
    redis = Redis(supervisor.state / "redis", log=supervisor.log("redis"), hold=supervisor.hold)
    redis.start()
    assert redis.child is not None
    supervisor.add(redis.child, again=redis.begin, stop=lambda _: redis.stop())
    return redis.url(0), redis.url(1)


def _start_sandbox(supervisor: Supervisor, values: dict[str, str], port: int) -> None:
    say("Starting the Stripe sandbox ...")
    webhook_url = f"http://127.0.0.1:{values['PORT']}/webhooks/stripe/"
    command = sandbox_command(port, supervisor.state / "sandbox" / "book.jsonl", values, webhook_url)
    supervisor.start("sandbox", command, dict(os.environ), BASE_DIR).wait_for_text("listening on")


def wait_for_answer(child: Child, url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - our own address
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.1)
    how = "does not answer" if child.poll() is None else "ended before it answered"
    raise Refusal(f"{child.name} {how} at {url}. The end of {child.log}:\n{child.last_lines()}")


def _say_where(values: dict[str, str]) -> None:
    shop = f"http://127.0.0.1:{values['PORT']}"
    say("")
    say(f"  Shop     {shop}/")
    say(f"  Admin    {shop}/admin/   user {values['STAFF_USERNAME']}, password {values['STAFF_PASSWORD']}")
    say(f"  Sandbox  {values['STRIPE_API_BASE']}/")
    say("")
    say("Ctrl-C ends it all.")


def _make_is_content() -> bool:
    """make passes SIGTERM on to us, but waits for ever when it alone got a SIGINT, or dies without a word."""
    status = Path(f"/proc/{_MAKE}/status")
    if os.getppid() != _MAKE:
        return False
    if not status.exists():
        return True
    blocked = next(line for line in status.read_text().splitlines() if line.startswith("SigBlk:"))
    return not int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1)  # blocked while it deals with one


_MAKE = os.getppid()


if __name__ == "__main__":
    sys.exit(main())
