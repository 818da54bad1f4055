"""Layer 3 of 5 - database: the order's row lock. (`models.py` is its other half.)

Stops: two requests deciding about one order at once, however many servers there are and whatever Redis does.
Does not stop: anything once the transaction has committed; so what must hold longer is a row (an attempt, a lease).

Lock order everywhere: order -> payment -> attempt -> refund -> stock rows by id. Each block is one durable
transaction: it cannot be nested, forgotten, or stretched over a call to Stripe.
"""

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import psycopg.errors
from django.db import OperationalError, connections, transaction

from orders.models import Order
from payments.errors import RowBusy
from payments.models import Payment
from shop.database_clock import DatabaseClock

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def locked_order(order_id: str) -> Iterator[Order]:
    """The order, its row locked, in a durable transaction that commits when the block ends. Its `read_at` is the moment
    by the database's clock, for whatever is decided about it in there.

    FOR NO KEY UPDATE of the order alone, so that inserting rows that point at it is not held up (RULES R40).

    Raises:
        RowBusy: another transaction kept the row for longer than lock_timeout (2 s).
    """
    try:
        with transaction.atomic(durable=True):
            orders = Order.objects.annotate(read_at_now=DatabaseClock())
            yield orders.select_for_update(no_key=True, of=("self",)).get(pk=order_id)
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise RowBusy(order_id) from error
        raise


@contextmanager
def locked_payment(payment_id: str, order_id: str) -> Iterator[tuple[Order, Payment]]:
    """The order and its payment, both locked, order first: settling writes both."""
    with locked_order(order_id) as order:
        yield order, Payment.objects.select_for_update(no_key=True, of=("self",)).get(pk=payment_id)


def give_back_connections() -> None:
    """Return this thread's database connections to the pool. Before every call to Stripe: a shopper who waits for the
    bank must not hold one (DESIGN section 7)."""
    for connection in connections.all(initialized_only=True):
        connection.close()


def again_on_conflict(transaction_of_ours: Callable[P, R]) -> Callable[P, R]:
    """Run a whole local transaction again, at most 3 times, after a deadlock, a serialisation failure, a busy row or a
    lost connection (RULES R38, R76). Only for functions that call nobody outside."""

    @functools.wraps(transaction_of_ours)
    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        for wait_seconds in (0.1, 0.4, None):
            try:
                return transaction_of_ours(*args, **kwargs)
            except (OperationalError, RowBusy):
                if wait_seconds is None:
                    raise
                give_back_connections()
                time.sleep(wait_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret
        raise AssertionError("Bug! The last try either returns or raises.")

    return again
