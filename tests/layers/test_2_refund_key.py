"""Layer 2 of a refund alone: the key on the API and its record, the refund's row.

No row lock, no trigger, no look at what is left, no id that follows from the key; Stripe remembers and shows nothing.
"""

from collections import Counter

from payments.models import Refund
from tests.book import REFUND
from tests.layers.refunding import PART, a_clerk, give_back, give_back_at_once, given_back, paid
from tests.races.crowd import CROWD, meanwhile


def test_twenty_presses_with_one_key_give_back_once(off_of_refunds, book):
    gone = off_of_refunds(1, 3, 5)
    assert "one_refund_per_key" not in gone
    payment, clerk = paid(), a_clerk()
    book.rule("hold", REFUND, times=None, hold="bank", lock=False)

    with meanwhile(lambda: give_back_at_once(clerk, payment, ["one-key"] * CROWD)) as storm:
        book.wait_until_held("bank")
        meets_the_first = give_back(clerk, payment, "one-key")
        book.release("bank")

    row = Refund.objects.get()
    assert (meets_the_first.status, meets_the_first.body["id"]) == (202, row.pk)
    assert given_back(book, payment) == [PART]
    answers = storm.result()
    # 500: of the unique index, in the short while that the row lock is there to bridge.
    assert Counter(answer.status for answer in answers).keys() <= {201, 202, 500}
    assert {answer.body["id"] for answer in answers if answer.status in (201, 202)} == {row.pk}
    again = give_back(clerk, payment, "one-key")
    assert (again.status, again.body["id"], again.replayed) == (201, row.pk, True)
    assert given_back(book, payment) == [PART]


def test_another_body_under_the_key_is_refused(off_of_refunds, book):
    off_of_refunds(1, 3, 5)
    payment, clerk = paid(), a_clerk()
    give_back(clerk, payment, "one-key")

    other = give_back(clerk, payment, "one-key", PART * 2)

    assert (other.status, other.problem) == (422, "idempotency-key-reused")
    assert given_back(book, payment) == [PART]


def test_it_does_not_stop_twenty_presses_with_twenty_keys(off_of_refunds, book):
    off_of_refunds(1, 3, 5)
    payment, clerk = paid(), a_clerk()

    answers = give_back_at_once(clerk, payment, [f"key-{n}" for n in range(CROWD)])

    assert [answer.status for answer in answers] == [201] * CROWD
    assert given_back(book, payment) == [PART] * CROWD
