"""How long a sweep takes, how often it asks and how much memory it needs: `python -m tests.measure_sweep 10000 100000`.

Servers of its own, thrown away afterwards; both books filled in bulk, thirty days deep; then `manage.py sweep_payments`
as it is run from cron, in a process of its own, with the shop's own pace. docs/sweep.md has the figures.
"""

import datetime
import os
import re
import subprocess
import sys
import time

from shop.env import BASE_DIR
from tests.services import Services

_AT_ONCE = 5000
_DAYS = 30


def main(counts: list[int]) -> None:
    services = Services()
    try:
        services.start()
        print("payments | seconds | requests | peak memory | answer")  # noqa: T201 - a program for people
        for count in counts:
            os.environ["DATABASE_URL"] = services.postgres.create_database(f"measured_{count}")
            _manage("migrate", "--no-input", "--verbosity", "0")
            _fill(count, services.sandbox.url)
            print(f"{count:8,} | {_measured()}", flush=True)  # noqa: T201
    finally:
        services.stop()


def _manage(*words: str) -> None:
    subprocess.run([sys.executable, "manage.py", *words], cwd=BASE_DIR, check=True, capture_output=True)


def _fill(count: int, url: str) -> None:
    """In a process of its own, so that nothing of it stays in this one."""
    if os.fork() == 0:
        import django
        from django.test.utils import setup_test_environment
        from django.utils import timezone

        django.setup()
        setup_test_environment()
        from tests.book import Book
        from tests.payments.planting import bulk_paid

        book = Book(url)
        book.reset()
        book.webhooks("never")
        chunks = -(-count // _AT_ONCE)
        days = (_DAYS - 1) / chunks
        for number in range(chunks):
            until = timezone.now() - datetime.timedelta(days=number * days, minutes=5)
            bulk_paid(book, min(_AT_ONCE, count - number * _AT_ONCE) - 1, days * 24 * 60, until)  # and the template
        os._exit(0)
    _, status = os.wait()
    if status:
        raise SystemExit("the books could not be filled")


def _measured() -> str:
    """seconds | requests | peak memory, as the kernel kept it | what the command said"""
    command = [sys.executable, "manage.py", "sweep_payments", "--hours", str(_DAYS * 24), "--json"]
    env = os.environ | {"DEBUG": ""}  # as in production: with DEBUG Django keeps every query's text
    began = time.monotonic()
    child = subprocess.Popen(command, cwd=BASE_DIR, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    told, said = child.stderr.read(), child.stdout.read()
    _, _, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    requests = re.findall(r"(\d+) requests", told)[-1]
    return f"{seconds:7.1f} | {requests:>8} | {usage.ru_maxrss / 1024:8.1f} MB | {said.strip()}"


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [10_000, 100_000])
