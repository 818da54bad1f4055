"""The small night, in which repair runs fifteen times as often. The full one: `python -m tests.night --orders 500`."""

from collections.abc import Callable

import pytest

from shop.stack.redis import Redis
from tests.book import Book
from tests.crashes.a_night import LOST_EVERY, live_through
from tests.services import Stack

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_small_night(book: Book, stack: Callable[..., Stack], redis_server: Redis) -> None:
    night = "tests.crashes.settings_night"
    shop = stack(servers=2, celery=True, beat=True, env={"DJANGO_SETTINGS_MODULE": night})
    found = live_through(book, shop.urls, 30, patience_seconds=120)
    assert found.unknown > 0
    # By the completer, or by Stripe's events, which the worker reads as if they were webhooks.
    assert found.by["completer"] + found.by["webhook"] >= 30 // LOST_EVERY
    assert found.paid + found.unpaid == 30
