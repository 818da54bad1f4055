"""python -m tests.night --orders 500: a full night of lost answers, through two app servers, a Celery worker, a
beat, PostgreSQL, Redis and the sandbox, with the times of production. Prints what it came to; fails if a book is wrong.
"""

import argparse
import datetime
import os
import sys
import tempfile
from pathlib import Path

import django

from tests import services


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=500)
    count = options.parse_args().orders
    services._services = base = services.Services()
    base.start()
    shop = None
    try:
        with tempfile.TemporaryDirectory(prefix="payonce-night-") as folder:
            shop = services.start_shop(Path(folder) / "night", servers=2)
            os.environ |= shop.env
            django.setup()
            _live_through(shop, count)
    finally:
        if shop is not None:
            shop.kill()
        base.stop()


def _live_through(shop: services.Shop, count: int) -> None:
    from tests.book import Book
    from tests.crashes.a_night import live_through

    night = live_through(Book(shop.sandbox.url), shop.urls, count)
    figures = {
        "orders": night.orders,
        "answers by status": dict(sorted(night.answers.items())),
        "calls at Stripe, of which without an answer": f"{night.calls}, {night.lost}",
        "presses that ended unknown": night.unknown,
        "paid, charges, receipts": f"{night.paid}, {night.charges}, {night.receipts}",
        "not charged, and not paid": night.unpaid,
        "settled by": dict(night.by),
        "from the click to the truth, of the unknown: p50, p95, max": ", ".join(
            f"{night.truth_after(share):.0f} s" for share in (0.5, 0.95, 1)
        ),
        "the night took": f"{night.seconds:.0f} s",
        "machine": f"{os.cpu_count()} CPUs, {sys.platform}, Python {sys.version.split()[0]}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    for name, figure in figures.items():
        sys.stdout.write(f"{name}: {figure}\n")


if __name__ == "__main__":
    main()
