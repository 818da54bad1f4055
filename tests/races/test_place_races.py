"""Placing at the same moment: one order per key and per cart version, no oversell, no deadlock."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from orders import place as placing
from orders.ends import end_unpaid, mark_paid
from orders.models import Mail, Order
from orders.place import How, place_order
from shop.database_clock import DatabaseClock
from shop.models import Cart, Product
from shop.problems import Problem
from tests.orders.making import fill, make_cart, make_guest, make_product, place, wish_for

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")
CROWD = 20
POOL = 8  # connections of this process: so many transactions run at once


def together(*acts: Callable[[], T]) -> list[T | str]:
    """Run the acts at the same moment, in threads of their own. What each returned, or the problem's name."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], T]) -> T | str:
        try:
            barrier.wait()
            return act()
        except Problem as problem:
            return problem.name
        finally:
            connection.close()

    connection.close()
    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def placed_by(wish) -> Callable[[], tuple[str, str]]:
    def act():
        placed = place_order(wish)
        return placed.order.pk, placed.how.name

    return act


@pytest.mark.parametrize("round_", range(5))
def test_one_key_many_times_is_one_order(round_):
    product = make_product(stock=20)
    wish = wish_for(make_cart((product, 2)), make_guest())

    answers = together(*[placed_by(wish)] * CROWD)

    order = Order.objects.get()
    assert {answer[0] for answer in answers} == {order.pk}
    assert Counter(answer[1] for answer in answers) == {"NEW": 1, "REPLAY": CROWD - 1}
    assert order.lines.count() == 1
    assert Product.objects.get().stock == 18


@pytest.mark.parametrize("round_", range(5))
def test_one_cart_version_by_many_keys_is_one_order(round_):
    product = make_product(stock=20)
    cart, guest = make_cart((product, 2)), make_guest()

    answers = together(*[placed_by(wish_for(cart, guest)) for _ in range(CROWD)])

    order = Order.objects.get()
    assert {answer[0] for answer in answers} == {order.pk}
    assert Counter(answer[1] for answer in answers) == {"NEW": 1, "SAME_CART": CROWD - 1}
    assert Product.objects.get().stock == 18


@pytest.mark.parametrize("wishes", ["one key", "many keys"])
def test_the_constraints_alone_are_enough_without_the_carts_lock(wishes, monkeypatch):
    """The lock patched out (FAILURES 19): the unique constraints make the losers find the winner."""
    carts = Cart.objects.annotate(read_at_now=DatabaseClock())
    monkeypatch.setattr(placing, "locked_cart", lambda cart_id: carts.get(pk=cart_id))
    slow_down(monkeypatch)
    product = make_product(stock=20)
    cart, guest = make_cart((product, 2)), make_guest()
    one = wish_for(cart, guest)

    answers = together(*[placed_by(one if wishes == "one key" else wish_for(cart, guest)) for _ in range(CROWD)])

    order = Order.objects.get()
    assert {answer[0] for answer in answers} == {order.pk}
    assert Product.objects.get().stock == 18


def test_one_key_with_two_equal_carts_is_one_order_by_its_constraint(monkeypatch):
    """A log-in may swap the cart between two tries: no cart's lock and no cart's version joins them, only the key."""
    slow_down(monkeypatch)
    product, guest = make_product(stock=20), make_guest()
    wishes = [wish_for(make_cart((product, 2)), guest, key="K1") for _ in range(CROWD)]

    answers = together(*[placed_by(wish) for wish in wishes])

    order = Order.objects.get()
    assert {answer[0] for answer in answers} == {order.pk}
    assert Counter(answer[1] for answer in answers) == {"NEW": 1, "REPLAY": CROWD - 1}
    assert Product.objects.get().stock == 18


def slow_down(monkeypatch) -> None:
    """As many as the pool lets in have looked before any of them inserts."""
    gate = threading.Barrier(POOL)
    real = placing._insert

    def insert(*args):
        with suppress(threading.BrokenBarrierError):  # the second wave finds the gate open
            gate.wait(timeout=1)
        return real(*args)

    monkeypatch.setattr(placing, "_insert", insert)


@pytest.mark.parametrize("round_", range(3))
def test_a_hot_product_is_never_oversold(round_):
    product = make_product(stock=5)
    wishes = [wish_for(make_cart((product, 1)), make_guest()) for _ in range(CROWD)]

    answers = together(*[placed_by(wish) for wish in wishes])

    assert Counter(answer if isinstance(answer, str) else answer[1] for answer in answers) == {
        "NEW": 5,
        "out-of-stock": CROWD - 5,
    }
    assert Order.objects.count() == 5
    assert Product.objects.get().stock == 0


@pytest.mark.parametrize("round_", range(3))
def test_carts_with_the_same_goods_put_in_in_opposite_order_never_deadlock(round_):
    before = deadlocks()
    a, b, c = make_product(stock=90), make_product(stock=90), make_product(stock=90)
    wishes = []
    for n in range(CROWD):
        goods = [(a, 1), (b, 1), (c, 1)]
        random.shuffle(goods)
        wishes.append(wish_for(make_cart(*(goods if n % 2 else goods[::-1])), make_guest()))

    answers = together(*[placed_by(wish) for wish in wishes])

    assert [answer[1] for answer in answers] == ["NEW"] * CROWD
    assert {product.stock for product in Product.objects.all()} == {90 - CROWD}
    assert deadlocks() == before


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_placing_against_ends_of_other_orders_of_the_same_goods_never_deadlocks():
    a, b = make_product(stock=90), make_product(stock=90)
    olds = [place(make_cart((b, 1), (a, 1))).order for _ in range(CROWD // 2)]
    news = [wish_for(make_cart((a, 1), (b, 1)), make_guest()) for _ in range(CROWD // 2)]

    def end(order):
        def act():
            with transaction.atomic():
                return end_unpaid(
                    Order.objects.select_for_update(no_key=True).get(pk=order.pk), Order.Status.EXPIRED, timezone.now()
                )

        return act

    answers = together(*[end(order) for order in olds], *[placed_by(wish) for wish in news])

    assert answers[: CROWD // 2] == [True] * (CROWD // 2)
    assert {product.stock for product in Product.objects.all()} == {90 - CROWD // 2}


@pytest.mark.parametrize("round_", range(3))
def test_of_paid_and_canceled_at_the_same_moment_one_wins_and_only_its_effects_happen(round_):
    order = place(make_cart((make_product(stock=9), 2))).order

    def move(act, *args):
        def run():
            with transaction.atomic():
                return act(Order.objects.select_for_update(no_key=True).get(pk=order.pk), *args, timezone.now())

        return run

    won = together(*[move(mark_paid)] * 4, *[move(end_unpaid, "canceled")] * 4)

    order.refresh_from_db()
    assert won.count(True) == 1
    assert order.status == ("paid" if True in won[:4] else "canceled")
    assert Product.objects.get().stock == (7 if order.status == "paid" else 9)
    assert [mail.kind for mail in Mail.objects.all()] == ["receipt" if order.status == "paid" else "canceled"]


def test_placing_while_the_cart_changes_orders_one_whole_version():
    a, b = make_product(stock=99), make_product(stock=99)
    cart, guest = make_cart((a, 1), (b, 1)), make_guest()
    wish = wish_for(cart, guest)

    def change():
        with transaction.atomic():
            locked = Cart.objects.select_for_update(no_key=True).get(pk=cart.pk)
            fill(locked, (a, 5), (b, 5))
        return "changed"

    answers = together(placed_by(wish), change)

    if answers[0] == "cart-changed":
        assert not Order.objects.exists()
    else:
        assert sorted(line.quantity for line in Order.objects.get().lines.all()) == [1, 1]


def test_a_deadlock_victim_is_retried_whole(monkeypatch):
    product = make_product(stock=9)
    wish = wish_for(make_cart((product, 1)), make_guest())
    real, tries = placing._hold, []

    def deadlocked_twice(lines):
        real(lines)
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError from psycopg.errors.DeadlockDetected()

    monkeypatch.setattr(placing, "_hold", deadlocked_twice)

    assert place_order(wish).how is How.NEW
    assert len(tries) == 3
    assert Order.objects.count() == 1
    assert Product.objects.get().stock == 8


def test_after_three_deadlocks_the_shopper_is_asked_to_try_again_and_nothing_is_held(monkeypatch):
    product = make_product(stock=9)
    wish = wish_for(make_cart((product, 1)), make_guest())
    tries = []

    def always(lines):
        tries.append(1)
        raise OperationalError from psycopg.errors.SerializationFailure()

    monkeypatch.setattr(placing, "_hold", always)
    with pytest.raises(Problem) as raised:
        place_order(wish)
    assert (raised.value.name, len(tries)) == ("unavailable", 3)
    assert not Order.objects.exists()
    assert Product.objects.get().stock == 9


def test_a_cart_that_another_request_keeps_locked_is_request_in_progress():
    product = make_product(stock=9)
    cart, guest = make_cart((product, 1)), make_guest()
    wish = wish_for(cart, guest)
    locked, done = threading.Event(), threading.Event()

    def keep():
        try:
            with transaction.atomic():
                Cart.objects.select_for_update().get(pk=cart.pk)
                locked.set()
                done.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        assert locked.wait(30)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(Problem) as raised:
            place_order(wish)
        assert raised.value.name == "request-in-progress"
    finally:
        done.set()
        thread.join()
        connection.close()
    assert not Order.objects.exists()
