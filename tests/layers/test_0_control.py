"""The control: with all layers off the same storm charges again and again. If it did not, it would prove nothing."""

from tests.book import CONFIRM
from tests.layers.pressing import opened_order
from tests.races.crowd import CROWD, meanwhile, press, press_at_once


def test_twenty_presses_of_one_key_charge_twenty_times_when_every_layer_is_off(off, book):
    gone = off(2, 3, 4, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")

    with meanwhile(lambda: press_at_once(client, order, [order.pay_key] * CROWD)) as storm:
        book.wait_until_held("bank", CROWD)
        book.release("bank")

    assert len(book.succeeded(order.pk)) == CROWD
    assert [answer.status for answer in storm.result()] == [201] * CROWD
    assert {"one_live_attempt_per_order", "one_payment_per_order", "one_attempt_per_key"} < set(gone)


def test_twenty_presses_one_after_the_other_charge_twenty_times_too(off, book):
    """No luck of timing is needed: nothing stops the second press, nor the twentieth."""
    off(2, 3, 4, 5)
    order, client = opened_order()

    answers = [press(client, order, order.pay_key) for _ in range(CROWD)]

    assert [answer.status for answer in answers] == [201] * CROWD
    assert len(book.succeeded(order.pk)) == CROWD


def test_with_every_layer_on_the_same_storm_charges_once(book, transactional_db, wide_pool):
    order, client = opened_order()

    answers = press_at_once(client, order, [order.pay_key] * CROWD)

    assert len(book.succeeded(order.pk)) == 1
    assert {answer.status for answer in answers} <= {201, 409}
