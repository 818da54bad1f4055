"""Layer 4 alone: the Redis lock. No key is known again, no constraint, no row lock, a forgetful gateway.

It is a courtesy, so much of this file is about what it does not stop.
"""

from payments import views
from payments.models import Attempt
from shop.redis_pause import end_redis_pause
from tests.book import CONFIRM
from tests.layers.pressing import new_keys, opened_order
from tests.races.crowd import CROWD, meanwhile, press, press_at_once, run_before


def test_while_one_press_is_at_stripe_nineteen_others_are_turned_away(off, book, redis_server):
    off(2, 3, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")

    with meanwhile(lambda: press(client, order)) as first:
        book.wait_until_held("bank")
        others = press_at_once(client, order, new_keys(CROWD - 1))
        book.release("bank")

    assert {(answer.status, answer.problem) for answer in others} == {(409, "payment-in-progress")}
    assert first.result().status == 201
    assert len(book.succeeded(order.pk)) == 1
    assert Attempt.objects.filter(order=order).count() == 1


def test_without_it_the_same_nineteen_charge_too(off, book):
    """The control of the test above."""
    off(2, 3, 4, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")

    with meanwhile(lambda: press(client, order)) as first:
        book.wait_until_held("bank")
        with meanwhile(lambda: press_at_once(client, order, new_keys(CROWD - 1))) as others:
            book.wait_until_held("bank", CROWD)
            book.release("bank")

    assert [answer.status for answer in (first.result(), *others.result())] == [201] * CROWD
    assert len(book.succeeded(order.pk)) == CROWD


def test_it_does_not_stop_a_second_press_once_redis_has_lost_the_lock(off, book, redis_server):
    """FLUSHALL, a restart, a fail-over (FAILURES 58)."""
    off(2, 3, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")

    with meanwhile(lambda: press(client, order)) as first:
        book.wait_until_held("bank")
        redis_server.flush()
        with meanwhile(lambda: press(client, order)) as second:
            book.wait_until_held("bank", 2)
            book.release("bank")

    assert (first.result().status, second.result().status) == (201, 201)  # and losing the lock is no error page
    assert len(book.succeeded(order.pk)) == 2


def test_it_does_not_stop_a_press_while_redis_is_down(off, book, redis_server):
    off(2, 3, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")
    redis_server.kill()

    with meanwhile(lambda: press_at_once(client, order, new_keys(2))) as presses:
        book.wait_until_held("bank", 2)
        book.release("bank")
    end_redis_pause()

    assert [answer.status for answer in presses.result()] == [201, 201]
    assert len(book.succeeded(order.pk)) == 2


def test_it_does_not_stop_a_press_that_finds_it_busy_and_no_attempt_in_the_rows(off, book, monkeypatch, redis_server):
    """A lock that a dead process left behind must not keep a shopper out; so the rows have the last word."""
    off(2, 3, 5)
    order, client = opened_order()
    between = run_before(monkeypatch, views, "claim", lambda: press(client, order))

    assert press(client, order).status == 201

    assert [answer.status for answer in between] == [201]
    assert len(book.succeeded(order.pk)) == 2
