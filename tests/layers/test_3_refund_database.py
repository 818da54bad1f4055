"""Layer 3 of a refund alone, and each part of it alone: the row lock, the trigger, the look before the call, the keys.

No press is known again, Stripe remembers no key and its list shows nothing. What is asked for fits once: Stripe's own
cap would stop the second, so the judge is what was sent to it, and our rows.
"""

from collections import Counter

import pytest

from payments import charges, refund
from payments.models import Asker, Refund
from payments.refund import Ask, carry_out_refund, claim_refund
from tests.layers import switches_of_refunds as switches
from tests.layers.refunding import (
    PART,
    a_clerk,
    give_back,
    give_back_at_once,
    given_back,
    more_than_half,
    paid,
    sent,
)
from tests.races.crowd import CROWD, all_look_before_any_writes, at_once, loiter_between_look_and_write

KEYS = [f"key-{n}" for n in range(CROWD)]


def test_of_twenty_clerks_with_twenty_keys_one_gives_back_what_fits_once(off_of_refunds, book):
    off_of_refunds(2, 5)
    payment, clerk = paid(), a_clerk()

    answers = give_back_at_once(clerk, payment, KEYS, more_than_half(payment))

    assert Counter((answer.status, answer.problem) for answer in answers) == {
        (201, ""): 1,
        (409, "refund-too-large"): CROWD - 1,
    }
    assert len(sent(book)) == Refund.objects.count() == 1


def test_the_row_lock_alone_lets_one_of_twenty_refunds_in(off_of_refunds, book, monkeypatch):
    """The trigger and the unique keys are gone: only the lock keeps the others out between one clerk's look at what is
    left and the row."""
    off_of_refunds(2, 5)
    switches.no_derived_ids(monkeypatch.setattr)
    monkeypatch.setattr(refund, "_commit_sending", switches.send_without_asking)
    loiter_between_look_and_write(monkeypatch, refund, "new_refund")
    payment, clerk = paid(), a_clerk()

    with switches.no_constraints() as gone:
        assert {"one_refund_per_key", "refunds_stay_within_their_charge"} < {*gone}
        answers = give_back_at_once(clerk, payment, KEYS, more_than_half(payment))

        assert Counter(answer.status for answer in answers) == {201: 1, 409: CROWD - 1}
        assert len(sent(book)) == Refund.objects.count() == 1


def test_the_trigger_alone_lets_one_of_twenty_refunds_in(off_of_refunds, book, monkeypatch):
    """All twenty have read that enough is left before any writes; `refunds_stay_within_their_charge` decides."""
    off_of_refunds(2, 5)
    switches.no_row_lock(monkeypatch.setattr)
    monkeypatch.setattr(refund, "_commit_sending", switches.send_without_asking)
    all_look_before_any_writes(monkeypatch, refund, "new_refund")
    payment, clerk = paid(), a_clerk()

    answers = give_back_at_once(clerk, payment, KEYS, more_than_half(payment))

    assert Counter(answer.status for answer in answers) == {201: 1, 500: CROWD - 1}  # the lock spares them the 500
    assert len(sent(book)) == Refund.objects.count() == 1


def test_the_look_before_the_call_alone_sends_one_of_twenty_at_most(off_of_refunds, book, monkeypatch):
    """Twenty rows are there, for nobody has looked and no trigger is: each is weighed once more before it is sent."""
    off_of_refunds(2, 5)
    switches.no_look_at_what_is_left(monkeypatch.setattr)
    payment = paid()

    with switches.no_constraints():
        claims = [claim_refund(payment, an_ask(key, more_than_half(payment))) for key in KEYS]
        at_once(CROWD, lambda number: carry_out(*claims[number]))

        assert Refund.objects.count() == CROWD
        assert len(sent(book)) <= 1


def an_ask(key, amount_minor):
    return Ask(key, "", amount_minor, "requested_by_customer", None, asked_by=Asker.SWEEP)


def carry_out(row, lease):
    assert lease is not None
    carry_out_refund(row, lease, Asker.SWEEP)


def test_with_none_of_them_all_twenty_are_sent(off_of_refunds, book, monkeypatch):
    """The control of the tests above: the same gate, and nothing that decides."""
    off_of_refunds(2, 3, 5)
    all_look_before_any_writes(monkeypatch, refund, "new_refund")
    payment, clerk = paid(), a_clerk()

    give_back_at_once(clerk, payment, KEYS, more_than_half(payment))

    assert len(sent(book)) == Refund.objects.count() == CROWD


@pytest.mark.parametrize("judge", ["one_refund_per_key", "one_refund_per_gateway_key", "the id"])
def test_each_unique_key_alone_lets_one_of_twenty_presses_of_one_key_in(off_of_refunds, book, monkeypatch, judge):
    """All twenty have found no row of their key before any of them writes, and no lock is there: the row's key, the
    gateway key and the id, which follow from it, each decide."""
    off_of_refunds(5)
    switches.no_row_lock(monkeypatch.setattr)
    switches.no_question_of_the_key(monkeypatch.setattr)
    if judge != "the id":
        switches.no_derived_ids(monkeypatch.setattr)
    if judge == "one_refund_per_gateway_key":
        monkeypatch.setattr(charges, "refund_key", lambda env, pk, m: f"{env}:refund:of-one-key:{m}")
    all_look_before_any_writes(monkeypatch, refund, "new_refund")
    payment, clerk = paid(), a_clerk()

    with switches.no_constraints(judge):
        answers = give_back_at_once(clerk, payment, ["one-key"] * CROWD)

        assert Counter(answer.status for answer in answers) == {201: 1, 500: CROWD - 1}
        assert given_back(book, payment) == [PART]


def test_without_a_unique_key_all_twenty_presses_of_one_key_give_back(off_of_refunds, book, monkeypatch):
    """The control of the tests above."""
    off_of_refunds(3, 5)
    switches.no_question_of_the_key(monkeypatch.setattr)
    all_look_before_any_writes(monkeypatch, refund, "new_refund")
    payment, clerk = paid(), a_clerk()

    with switches.no_constraints():
        give_back_at_once(clerk, payment, ["one-key"] * CROWD)

        assert given_back(book, payment) == [PART] * CROWD


def test_it_does_not_stop_twenty_wishes_that_all_fit(off_of_refunds, book):
    off_of_refunds(2, 5)
    payment, clerk = paid(), a_clerk()

    for _ in range(3):
        give_back(clerk, payment, "one-key")

    assert given_back(book, payment) == [PART] * 3
