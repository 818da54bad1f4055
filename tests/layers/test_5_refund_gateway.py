"""Layer 5 of a refund alone: Stripe's memory of our key, and its list that is read before anything is sent.

No press is known again, and no row lock, trigger or unique key is there. Each of the two stands without the other:
the key for a day, the list for ever; and a key that may be forgotten is never sent again.
"""

import datetime

import pytest
from django.utils import timezone

from payments.gateways.base import gateway
from payments.gateways.transport import Deadline
from payments.models import Asker, Refund
from payments.refund import complete_refund
from payments.row_lock import give_back_connections
from tests.book import REFUND
from tests.layers import switches_of_refunds as switches
from tests.layers.refunding import PART, a_clerk, give_back, given_back, paid, sent
from tests.payments.planting import no_triggers
from tests.races.crowd import CROWD, at_once

DAY_AND_AN_HOUR = 25 * 3600  # Stripe remembers a key for 24 hours


@pytest.fixture(autouse=True)
def _one_try(monkeypatch):
    """A lost answer is lost at once."""
    monkeypatch.setattr("payments.gateways.stripe._PAUSES", ())


def a_lost_answer(book):
    """It has been given back, and its row does not know."""
    payment, clerk = paid(), a_clerk()
    book.rule("reset", path=REFUND, when="after")
    assert give_back(clerk, payment, "one-key").status == 202
    assert given_back(book, payment) == [PART]
    return payment


def complete_again():
    """Whoever takes the refund over, when its next look is due."""
    Refund.objects.update(next_look_at=None, locked_until=None)
    complete_refund(Refund.objects.get().pk, Asker.COMPLETER)


def test_one_refund_sent_twenty_times_under_its_key_runs_once(off_of_refunds, book):
    off_of_refunds(1, 2, 3)
    payment = paid()
    params = {"charge": payment.charge_id, "amount": PART, "metadata": {"order": payment.order_id}}
    key = f"test:refund:{payment.pk}:0"

    def send(_: int) -> str:
        give_back_connections()
        return gateway().create_refund(params, key, Deadline(20), [])[0].status

    assert at_once(CROWD, send) == ["succeeded"] * CROWD
    assert given_back(book, payment) == [PART]
    assert len([call for call in sent(book) if call["status"] == 200 and not call["replayed"]]) == 1


def test_stripe_s_memory_of_the_key_alone_makes_twenty_sendings_one_refund(off_of_refunds, book, monkeypatch):
    """Its list shows nothing, and every answer is lost: the row is sent again and again by whoever takes it over."""
    off_of_refunds(1, 2, 3)
    switches.layer_5_off(monkeypatch.setattr, "BlindGateway")
    payment = a_lost_answer(book)
    book.rule("reset", path=REFUND, when="after", times=CROWD - 1)

    for _ in range(CROWD):
        complete_again()

    assert len(sent(book)) == CROWD + 1
    assert Refund.objects.get().outcome == "succeeded"
    assert given_back(book, payment) == [PART]


def test_stripe_s_list_alone_finds_a_refund_whose_key_is_forgotten(off_of_refunds, book, monkeypatch):
    off_of_refunds(1, 2, 3)
    switches.layer_5_off(monkeypatch.setattr, "KeylessGateway")
    payment = a_lost_answer(book)
    book.advance(DAY_AND_AN_HOUR)

    complete_again()

    assert len(sent(book)) == 1
    assert Refund.objects.get().outcome == "succeeded"
    assert given_back(book, payment) == [PART]


def test_stripe_s_list_alone_gives_a_lost_row_s_refund_back_to_its_key(off_of_refunds, book, monkeypatch):
    """The row is gone with a database, and the key with Stripe's memory; the name in the list follows from the key."""
    off_of_refunds(1)
    switches.no_row_lock(monkeypatch.setattr)
    switches.layer_5_off(monkeypatch.setattr, "KeylessGateway")
    payment, clerk = paid(), a_clerk()

    for _ in range(3):
        assert give_back(clerk, payment, "one-key").status == 201
        with no_triggers() as cursor:
            cursor.execute("DELETE FROM payments_refund")
        book.advance(DAY_AND_AN_HOUR)

    assert given_back(book, payment) == [PART]


def test_the_age_of_the_key_alone_sends_nothing_that_stripe_may_have_forgotten(off_of_refunds, book, monkeypatch):
    """Neither its list nor its memory is left, and the row says when it was first sent."""
    off_of_refunds(1, 2)
    switches.layer_5_off(monkeypatch.setattr)
    payment = a_lost_answer(book)
    Refund.objects.update(sent_at=timezone.now() - datetime.timedelta(hours=23, minutes=5))

    complete_again()

    assert len(sent(book)) == 1
    assert given_back(book, payment) == [PART]


def test_with_none_of_them_a_lost_answer_gives_back_twice(off_of_refunds, book):
    """The control of the tests above."""
    off_of_refunds(1, 2, 3, 5)
    payment = a_lost_answer(book)

    complete_again()

    assert given_back(book, payment) == [PART] * 2


def test_it_does_not_stop_a_new_wish(off_of_refunds, book):
    """Another key is another refund, as long as the charge has something left."""
    off_of_refunds(1, 2, 3)
    payment, clerk = paid(), a_clerk()

    for number in range(3):
        assert give_back(clerk, payment, f"key-{number}").status == 201

    assert given_back(book, payment) == [PART] * 3
