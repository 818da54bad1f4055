"""Duplicates that a layer stopped are kept for the order's story: counted in memory, written in batches (RULES R19)."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from orders.models import Order
from orders.place import place_order
from payments.models import DuplicatesStopped
from payments.monitoring import blocked_requests
from shop.counters import count_duplicate
from shop.ids import new_id
from tests.book import Book
from tests.orders.making import make_cart, make_guest, make_order, make_product, wish_for
from tests.payments.paying import placed_order, press
from tests.payments.planting import paid_order, payment_of
from tests.races.crowd import at_once
from tests.races.over_http import Sender
from tests.services import Stack

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def kept(settings: Any) -> Any:
    """Counted, and written only when the test says so: the thread's turn never comes."""
    settings.DUPLICATES_KEPT_BY = "payments.monitoring.blocked_requests.keep"
    settings.DUPLICATES_FLUSH *= 10_000
    blocked_requests._tally.forget()
    blocked_requests._tally._writer = threading.current_thread()
    yield
    blocked_requests._tally.forget()


def counts(order: Order) -> dict[int, tuple[int, str]]:
    """Layer -> how many, and the last key, of what has been written."""
    rows = DuplicatesStopped.objects.filter(order=order)
    return {row.layer: (row.count, row.last_key) for row in rows}


def test_each_layer_counts_for_its_order_what_it_stopped(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    press(client, order, key, token="pm_card_threeDSecure2Required")
    press(client, order, "another-key")
    paid, paid_client = placed_order()
    for _ in range(4):
        press(paid_client, paid, paid.pay_key)
    press(paid_client, paid, "after-it-was-paid")
    assert DuplicatesStopped.objects.count() == 0
    assert blocked_requests.flush() == 3
    assert counts(order) == {3: (1, "another-key")}
    assert counts(paid) == {2: (3, paid.pay_key), 3: (1, "after-it-was-paid")}


def test_what_stripe_answers_from_its_memory_is_layer_5(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after")  # done, and the answer lost: the same call is sent again
    assert press(client, order).status_code == 201
    assert len(book.charges(order.pk)) == 1
    blocked_requests.flush()
    assert counts(order) == {5: (1, order.attempts.get().confirm_key)}


def test_placing_the_same_order_again_is_counted() -> None:
    shopper, cart = make_guest(), make_cart((make_product(), 1))
    wish = wish_for(cart, shopper, key="one-key")
    order = place_order(wish).order
    place_order(wish)
    place_order(wish_for(cart, shopper, key="other-tab", cart_version=wish.cart_version))
    blocked_requests.flush()
    assert counts(order) == {2: (1, "one-key"), 3: (1, "other-tab")}


def test_a_refund_sent_twice_is_counted(book: Book, admin_client: Client) -> None:
    order = paid_order()
    sent = {"amount": 100, "reason": "duplicate"}
    path = f"/api/payments/{payment_of(order).pk}/refunds/"
    for _ in range(2):
        admin_client.post(path, sent, content_type="application/json", headers={"Idempotency-Key": "give-it-back"})
    blocked_requests.flush()
    assert counts(order) == {2: (1, "give-it-back")}


def test_a_later_batch_adds_to_the_day_s_row() -> None:
    order = make_order()
    count_duplicate(2, order.pk, "first")
    blocked_requests.flush()
    before = DuplicatesStopped.objects.get()
    count_duplicate(2, order.pk, "second")
    count_duplicate(2, order.pk, "third")
    blocked_requests.flush()
    after = DuplicatesStopped.objects.get()
    assert (after.pk, after.count, after.last_key) == (before.pk, 3, "third")
    assert after.first_at == before.first_at < after.last_at


def test_two_processes_that_write_at_once_lose_nothing_and_do_not_deadlock() -> None:
    orders = [make_order() for _ in range(20)]

    def a_process(number: int) -> int:
        tally = blocked_requests.Tally()
        tally._writer = threading.current_thread()
        flushed = 0
        for _ in range(5):
            for order in orders if number % 2 else reversed(orders):
                for layer in (2, 3, 4, 5):
                    tally.note(layer, order.pk, f"key-{number}")
            flushed += tally.flush()
        return flushed

    assert at_once(8, a_process, connected=False) == [5 * 4 * 20] * 8
    assert set(DuplicatesStopped.objects.values_list("count", flat=True)) == {40}


def test_an_order_that_is_not_there_is_skipped_and_the_rest_is_written() -> None:
    order = make_order()
    count_duplicate(2, new_id(), "gone")
    count_duplicate(2, order.pk, "here")
    blocked_requests.flush()
    assert list(DuplicatesStopped.objects.values_list("order_id", "count")) == [(order.pk, 1)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_requests, "MOST", 3)
    for number in range(10):
        count_duplicate(2, f"order-{number}", "k")
    count_duplicate(2, "order-0", "k")
    assert sum(one.count for one in blocked_requests._tally._counts.values()) == 4


def test_what_could_not_be_written_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    order = make_order()
    count_duplicate(2, order.pk, "first")

    def down(_: Any) -> None:
        raise OSError("no database")

    with monkeypatch.context() as broken:
        broken.setattr(blocked_requests, "_write", down)
        assert blocked_requests.flush() == 0
    count_duplicate(2, order.pk, "second")
    assert blocked_requests.flush() == 1
    assert counts(order) == {2: (2, "second")}


def test_counting_asks_postgresql_nothing(book: Book, django_assert_num_queries: Any) -> None:
    order = make_order()
    with django_assert_num_queries(0):
        count_duplicate(2, order.pk, "k")


def test_the_thread_starts_by_itself_writes_gives_its_connection_back_and_ends(settings: Any) -> None:
    settings.DUPLICATES_FLUSH /= 1_000_000
    order = make_order()
    tally = blocked_requests.Tally()
    tally.note(2, order.pk, "k")
    writer: Any = tally._writer
    assert writer.daemon
    writer.join(30)
    assert not writer.is_alive()
    assert counts(order) == {2: (1, "k")}
    tally.note(2, order.pk, "again")  # another starts
    another: Any = tally._writer
    assert another is not writer
    another.join(30)
    assert counts(order) == {2: (2, "again")}


# --- a real server ---------------------------------------------------------------------------------------------------


def _pressed_five_times(stack: Callable[..., Stack]) -> tuple[Stack, Order]:
    running = stack(env={"KEEP_DUPLICATES": "1"})
    order, client = placed_order()
    with closing(Sender(running.urls[0], client)) as sender:
        answers = [sender.press(order.pk, order.pay_key, order.total_minor, order.currency) for _ in range(5)]
    assert [(answer.status, answer.replayed) for answer in answers] == [(201, False), *[(201, True)] * 4]
    return running, order


def _wait_for_counts(order: Order) -> dict[int, tuple[int, str]]:
    end = time.monotonic() + 60
    while not counts(order) and time.monotonic() < end:
        time.sleep(0.1)
    return counts(order)


def test_a_real_server_pressed_five_times_with_one_key_writes_four(book: Book, stack: Callable[..., Stack]) -> None:
    _, order = _pressed_five_times(stack)
    assert counts(order) == {}
    assert _wait_for_counts(order) == {2: (4, order.pay_key)}
    assert len(book.charges(order.pk)) == 1


def test_a_server_that_exits_writes_its_rest(book: Book, stack: Callable[..., Stack]) -> None:
    running, order = _pressed_five_times(stack)
    running.servers[0].stop()
    assert counts(order) == {2: (4, order.pay_key)}


def test_a_server_that_is_killed_loses_its_last_seconds_and_no_money(book: Book, stack: Callable[..., Stack]) -> None:
    running, order = _pressed_five_times(stack)
    running.servers[0].kill()
    connection.close()
    assert counts(order) == {}
    assert len(book.charges(order.pk)) == 1
