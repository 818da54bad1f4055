"""Layer 4 of a refund: there is none. A refund takes no lock of Redis, and so none can be lost.

With Redis gone, or emptied while a refund is at Stripe, everything holds that holds with it.
"""

from collections import Counter

from payments.models import Refund
from shop.redis_pause import end_redis_pause
from tests.book import REFUND
from tests.layers.refunding import PART, a_clerk, give_back, give_back_at_once, given_back, more_than_half, paid, sent
from tests.races.crowd import CROWD, meanwhile


def test_while_redis_is_down_one_key_gives_back_once(book, transactional_db, wide_pool, redis_server):
    payment, clerk = paid(), a_clerk()
    redis_server.kill()

    answers = give_back_at_once(clerk, payment, ["one-key"] * CROWD)
    end_redis_pause()

    assert Counter(answer.status for answer in answers).keys() <= {201, 202, 409}
    assert {answer.body["id"] for answer in answers if answer.status < 300} == {Refund.objects.get().pk}
    assert given_back(book, payment) == [PART]


def test_while_redis_is_down_twenty_clerks_give_back_what_fits_once(book, transactional_db, wide_pool, redis_server):
    payment, clerk = paid(), a_clerk()
    redis_server.kill()

    answers = give_back_at_once(clerk, payment, [f"key-{n}" for n in range(CROWD)], more_than_half(payment))
    end_redis_pause()

    assert Counter(answer.status for answer in answers) == {201: 1, 409: CROWD - 1}
    assert len(sent(book)) == 1


def test_what_redis_forgets_while_a_refund_is_at_stripe_changes_nothing(
    book, transactional_db, wide_pool, redis_server
):
    payment, clerk = paid(), a_clerk()
    book.rule("hold", REFUND, hold="bank", lock=False)

    with meanwhile(lambda: give_back(clerk, payment, "one-key", more_than_half(payment))) as first:
        book.wait_until_held("bank")
        assert redis_server.command("DBSIZE") == ":0"  # while it is at Stripe: there is no lock to lose
        redis_server.flush()
        same = give_back(clerk, payment, "one-key", more_than_half(payment))
        other = give_back(clerk, payment, "another-key", more_than_half(payment))
        book.release("bank")

    assert (first.result().status, same.status) == (201, 202)
    assert (other.status, other.problem) == (409, "refund-too-large")
    assert len(sent(book)) == Refund.objects.count() == 1
