"""A night of lost answers: many orders are paid while Stripe's answers get lost, no webhook comes, nobody presses twice
and nobody looks. In the morning the two books agree."""

import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import connections
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.models import Attempt, PaymentEvent
from tests.book import Book
from tests.crashes.dying import press_at, wait_until
from tests.oracles import assert_repaired
from tests.payments.paying import placed_order

LOST_EVERY = 5
_TRIES = 4  # of one call within a press


@dataclass
class Night:
    """What it came to."""

    orders: int
    answers: Counter[int] = field(default_factory=Counter)
    unknown: int = 0  # presses that ended without knowing
    paid: int = 0
    unpaid: int = 0  # nothing was charged: a create was lost as often as it was tried
    charges: int = 0
    receipts: int = 0
    lost: int = 0  # answers
    calls: int = 0
    by: Counter[str] = field(default_factory=Counter)  # who settled
    to_truth: list[float] = field(default_factory=list)  # seconds from the click, of the presses left without an answer
    seconds: float = 0.0

    def truth_after(self, share: float) -> float:
        ordered = sorted(self.to_truth) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def live_through(book: Book, urls: list[str], count: int, shoppers: int = 16, patience_seconds: float = 900) -> Night:
    """Place and press; wait, untouched, until nothing is open; and judge.

    Of every fifth order no answer to its confirm arrives at all; beside that, every fifth answer of any call is lost.
    """
    began = time.monotonic()
    night = Night(count)
    pairs = [placed_order() for _ in range(count)]
    book.webhooks("never")
    for order, _ in pairs[::LOST_EVERY]:
        book.rule("reset", when="after", metadata_order=order.pk, times=_TRIES)
    book.rule("reset", "*", method="*", when="after", every=LOST_EVERY, times=None)
    with ThreadPoolExecutor(shoppers) as crowd:
        night.answers.update(crowd.map(_press, itertools.cycle(urls), pairs))
    wait_until(_is_morning, patience_seconds)
    night.seconds = time.monotonic() - began
    book.clear_rules()
    _judge(book, night, [order for order, _ in pairs])
    return night


def _press(url: str, pair: tuple[Order, Client]) -> int:
    order, client = pair
    try:
        return press_at(url, client, order).status
    finally:
        connections.close_all()


def _is_morning() -> bool:
    """Nothing is open, and no mail is owed."""
    is_open = Attempt.objects.exclude(phase="finished").exists()
    return not is_open and not Mail.objects.exclude(state="sent").exists()


def _judge(book: Book, night: Night, orders: list[Order]) -> None:
    for order in orders:
        assert_repaired(book, order)
        night.paid += order.is_paid
        night.unpaid += not order.is_paid
        night.charges += len(book.charges(order.pk))
        night.by.update(_settled_by(order))
        if PaymentEvent.objects.filter(order=order, kind="settled", to_state="unknown").exists():
            night.unknown += 1
            finished = Attempt.objects.filter(order=order).latest("finished_at").finished_at or timezone.now()
            clicked = PaymentEvent.objects.filter(order=order, kind="claimed").earliest("at").at
            night.to_truth.append((finished - clicked).total_seconds())
    night.receipts = Mail.objects.filter(order__in=orders, kind="receipt", state="sent").count()
    calls = book.calls()
    night.calls, night.lost = len(calls), sum(bool(call["lost"]) for call in calls)
    assert night.charges == night.paid == night.receipts
    assert not Order.objects.filter(closing_since__isnull=False).exists()


def _settled_by(order: Order) -> list[str]:
    paid = PaymentEvent.objects.filter(order=order, kind="settled", to_state="succeeded")
    return list(paid.values_list("asked_by", flat=True))
