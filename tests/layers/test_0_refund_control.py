"""The control of a refund's layers: with all of them off the same storm gives back again and again."""

from collections import Counter

from tests.book import REFUND
from tests.layers.refunding import PART, a_clerk, give_back, give_back_at_once, given_back, paid
from tests.races.crowd import CROWD, meanwhile


def test_twenty_presses_of_one_key_give_back_twenty_times_when_every_layer_is_off(off_of_refunds, book):
    gone = off_of_refunds(1, 2, 3, 5)
    payment, clerk = paid(), a_clerk()
    book.rule("hold", REFUND, times=None, hold="bank", lock=False)

    with meanwhile(lambda: give_back_at_once(clerk, payment, ["one-key"] * CROWD)) as storm:
        book.wait_until_held("bank", CROWD)
        book.release("bank")

    assert [answer.status for answer in storm.result()] == [201] * CROWD
    assert given_back(book, payment) == [PART] * CROWD
    assert {"one_refund_per_key", "one_act_per_form", "refunds_stay_within_their_charge"} < set(gone)


def test_twenty_presses_one_after_the_other_give_back_twenty_times_too(off_of_refunds, book):
    """No luck of timing is needed: nothing stops the second press, nor the twentieth."""
    off_of_refunds(1, 2, 3, 5)
    payment, clerk = paid(), a_clerk()

    answers = [give_back(clerk, payment, "one-key") for _ in range(CROWD)]

    assert [answer.status for answer in answers] == [201] * CROWD
    assert given_back(book, payment) == [PART] * CROWD


def test_with_every_layer_on_the_same_storm_gives_back_once(book, transactional_db, wide_pool):
    payment, clerk = paid(), a_clerk()

    answers = give_back_at_once(clerk, payment, ["one-key"] * CROWD)

    assert given_back(book, payment) == [PART]
    assert Counter(answer.status for answer in answers).keys() <= {201, 202, 409}
    assert give_back(clerk, payment, "one-key").status == 201
    assert given_back(book, payment) == [PART]


def test_stripe_s_own_cap_is_left_when_everything_of_ours_is_off(off_of_refunds, book):
    """It is no layer of ours, and it knows only sums: what fits again goes back again."""
    off_of_refunds(1, 2, 3, 5)
    payment, clerk = paid(), a_clerk()
    most = payment.captured_minor * 6 // 10

    give_back_at_once(clerk, payment, [f"key-{n}" for n in range(CROWD)], most)

    assert book.refunded(payment.order_id) == most
