"""python -m tests.crashes.measure: how long repair takes at each crash point, with the times of production.

At every point two presses come to grief: one order is left to the shop, the other's shopper sends the same key every
two seconds. Prints the table of docs/crashes.md. Webhooks are off, but for C28 and C29. Takes a quarter of an hour: of
C22 the sweep's own beat is waited for.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django

from tests import services
from tests.crashes.crash_points import FOLDER, POINTS, SETTINGS, Failpoint, kill_at

KILLED = ("C1", "C2", "C3", "C5", "C7", "C9", "C10", "C11", "C12", "C16", "C18", "C21", "C22", "C23", "C24")
LOST = {"C4": "drop", "C6": "drop-all", "C8": "drop-all", "C13": "drop-all", "C14": "after", "C15": "before"}
LOST |= {"C19": "drop-all", "C20": "drop", "C27": "drop", "C30": "drop-all"}
PAUSED = ("C17", "C26", "C28")
GIVE_UP_AFTER = 15 * 60.0  # seconds: the promise for a row that our own database lost (C22)


@dataclass
class Broken:
    """One order at one point, from the moment it broke."""

    point: str
    order: Any
    client: Any
    retried: bool
    running: Any = None
    failpoint: Failpoint | None = None
    broke: float = 0.0
    left: str = "no row"
    seconds: float | None = None
    by: str = ""
    state: str = ""


def main() -> None:
    services._services = base = services.Services()
    base.start()
    with tempfile.TemporaryDirectory(prefix="payonce-measure-") as folder:
        os.environ |= {FOLDER: f"{folder}/failpoints", "DATABASE_POOL": "60"}
        usual, os.environ["DJANGO_SETTINGS_MODULE"] = os.environ["DJANGO_SETTINGS_MODULE"], SETTINGS
        shop = services.start_shop(Path(folder) / "shop", servers=2)
        try:
            os.environ |= shop.env | {"DJANGO_SETTINGS_MODULE": usual}
            os.environ.pop(FOLDER)
            os.environ["ALLOWED_HOSTS"] += ",testserver"  # Django's test client
            django.setup()
            _write(_measure(shop, Path(folder) / "failpoints"))
        finally:
            shop.kill()
            base.stop()


def _measure(shop: services.Shop, folder: Path) -> list[Broken]:
    from tests.book import Book
    from tests.crashes.dying import lose_rows

    book = Book(shop.sandbox.url)
    book.webhooks("never")
    found = [_worker_dies(shop, book, folder, point) for point in ("C25", "C29")]
    lost = [
        _press(shop.urls[1], book, folder, point, act, retried) for point, act in LOST.items() for retried in (0, 1)
    ]
    killed = [_press(shop.urls[0], book, folder, point, "pause", retried) for point in KILLED for retried in (0, 1)]
    paused = [_press(shop.urls[1], book, folder, point, "pause", False) for point in PAUSED]
    kill_at(*[each.failpoint for each in killed if each.failpoint])
    for each in paused:
        assert each.failpoint is not None
        each.failpoint.wait_until_hit()
    now = time.monotonic()
    for each in killed + paused:
        each.broke = now
    for each in killed:
        lose_rows(each.order, *{"C21": ("outcome",), "C22": ("outcome", "claim")}.get(each.point, ()))
    for each in lost:
        each.running.result(60)
        each.broke = time.monotonic()
    found += lost + killed + paused
    for each in found:
        each.left = each.left if each.seconds is not None else _left(each)
    _let_paused_go(book, paused)
    _watch(found)
    assert [each.running.result(60).status for each in paused[1:]] == [201] * 2  # C17's shopper has long hung up
    return sorted(found, key=lambda each: (POINTS.index(each.point), each.retried))


def _press(url: str, book: Any, folder: Path, point: str, act: str, retried: object) -> Broken:
    from tests.crashes.dying import in_background, press_at
    from tests.payments.paying import placed_order

    order, client = placed_order()
    each = Broken(point, order, client, bool(retried), broke=time.monotonic())
    if point in ("C14", "C15"):
        book.rule("500", when=act, metadata_order=order.pk)
    else:
        each.failpoint = Failpoint(folder, point, act, order.pk).arm()
    each.running = in_background(press_at, url, client, order)
    return each


def _worker_dies(shop: services.Shop, book: Any, folder: Path, point: str) -> Broken:
    """C25: in the mail task of a paid order. C29: in the look that a webhook asked for."""
    each = _press(shop.urls[1], book, folder, "C13", "drop-all", False)
    each.point = point
    if point == "C25":
        assert each.failpoint is not None
        (folder / "armed" / each.failpoint.name).unlink(missing_ok=True)
    armed = Failpoint(folder, point, "kill").arm()
    each.running.result(60)
    if point == "C29":
        intent = book.intents(each.order.pk)[0]["id"]
        book.send_webhook(intent=intent, type="payment_intent.succeeded")
    armed.wait_until_hit(60)
    each.broke = time.monotonic()
    return each


def _let_paused_go(book: Any, paused: list[Broken]) -> None:
    _, redis, webhook = paused
    services.services().redis.flush()
    intent = book.intents(webhook.order.pk)[0]["id"]
    book.send_webhook(intent=intent, type="payment_intent.succeeded")
    for each in (redis, webhook):
        assert each.failpoint is not None
        each.failpoint.go_on()


def _left(each: Broken) -> str:
    from payments.models import Attempt

    rows = Attempt.objects.filter(order=each.order).values_list("phase", "outcome", "payment__phase")
    return "; ".join(f"attempt {outcome or phase}, payment {payment}" for phase, outcome, payment in rows) or "no row"


def _watch(found: list[Broken]) -> None:
    """Until every order has come to rest, or it has taken too long."""
    began, pressed = time.monotonic(), 0.0
    while any(each.seconds is None for each in found) and time.monotonic() - began < GIVE_UP_AFTER:
        now = time.monotonic()
        presses = now - pressed > 2
        pressed = now if presses else pressed
        for each in [each for each in found if each.seconds is None]:
            _look_at(each, presses)
        time.sleep(0.2)


def _look_at(each: Broken, presses: bool) -> None:
    from orders.models import Mail, Order
    from payments.models import Attempt, PaymentEvent
    from tests.payments.paying import press

    if each.retried and presses and press(each.client, each.order, each.order.pay_key).status_code in (201, 402):
        each.by, each.seconds = "the same key", time.monotonic() - each.broke
    elif not each.retried and not Attempt.objects.filter(order=each.order).exclude(phase="finished").exists():
        status = Order.objects.values_list("status", flat=True).get(pk=each.order.pk)
        owed = status == "paid" and not Mail.objects.filter(order=each.order, state="sent").exists()
        if owed or (each.point == "C22" and status != "paid"):
            return
        settled = PaymentEvent.objects.filter(order=each.order, kind="settled").order_by("-at").first()
        each.by = settled.asked_by if settled else "nobody had to"
        each.seconds = time.monotonic() - each.broke
    if each.seconds is not None:
        each.state = Order.objects.values_list("status", flat=True).get(pk=each.order.pk)


def _write(found: list[Broken]) -> None:
    sys.stdout.write(
        "| point | what was left | nobody comes: then | settled by | after | same key again: then | after |\n"
    )
    sys.stdout.write("| --- | --- | --- | --- | --- | --- | --- |\n")
    for point in POINTS:
        alone, *again = [each for each in found if each.point == point]
        with_key = [again[0].state, _time(again[0])] if again else ["-", "-"]
        cells = [point, alone.left, alone.state, alone.by, _time(alone), *with_key]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")


def _time(each: Broken) -> str:
    return "not within the run" if each.seconds is None else f"{each.seconds:.0f} s"


if __name__ == "__main__":
    main()
