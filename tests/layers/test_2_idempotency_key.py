"""Layer 2 alone: the key and its record. No row lock, no other constraint, no Redis lock, a forgetful gateway."""

from collections import Counter

from payments.models import Attempt
from tests.book import CONFIRM
from tests.layers.pressing import new_keys, opened_order
from tests.races.crowd import CROWD, meanwhile, press, press_at_once


def test_twenty_presses_with_one_key_charge_once(off, book):
    gone = off(3, 4, 5)
    assert "one_attempt_per_key" not in gone
    order, client = opened_order()
    key = order.pay_key
    book.rule("hold", CONFIRM, hold="bank")

    with meanwhile(lambda: press_at_once(client, order, [key] * CROWD)) as storm:
        book.wait_until_held("bank")
        meets_the_first = press(client, order, key)
        book.release("bank")

    assert (meets_the_first.status, meets_the_first.problem) == (409, "request-in-progress")
    assert len(book.succeeded(order.pk)) == 1
    assert Attempt.objects.filter(order=order).count() == 1
    statuses = Counter(answer.status for answer in storm.result())
    assert statuses[201] >= 1 and set(statuses) <= {201, 409}
    first = next(answer for answer in storm.result() if answer.status == 201)
    again = press(client, order, key)
    assert (again.status, again.content, again.replayed) == (201, first.content, True)
    assert len(book.succeeded(order.pk)) == 1


def test_another_body_under_the_key_is_refused(off, book):
    off(3, 4, 5)
    order, client = opened_order()
    key = order.pay_key
    press(client, order, key)

    other = press(client, order, key, token="pm_card_mastercard")

    assert (other.status, other.problem) == (422, "idempotency-key-reused")
    assert len(book.succeeded(order.pk)) == 1


def test_it_does_not_stop_twenty_presses_with_twenty_keys(off, book):
    off(3, 4, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")

    with meanwhile(lambda: press_at_once(client, order, new_keys())) as storm:
        book.wait_until_held("bank", CROWD)
        book.release("bank")

    assert len(book.succeeded(order.pk)) == CROWD
    assert [answer.status for answer in storm.result()] == [201] * CROWD
