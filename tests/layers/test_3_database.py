"""Layer 3 alone, and each half of it alone: the constraints without the row lock, the lock without the constraints.

No key is known again, everybody gets the Redis lock, and the gateway forgets (FAILURES 14 and 19).
"""

from collections import Counter

import pytest

from payments import pay
from payments.gateways.base import gateway
from payments.gateways.transport import Deadline
from payments.models import Attempt, Payment
from payments.row_lock import give_back_connections
from tests.book import CONFIRM
from tests.layers import switches
from tests.layers.pressing import new_keys, opened_order
from tests.payments.paying import placed_order
from tests.races.crowd import (
    CROWD,
    all_look_before_any_writes,
    loiter_between_look_and_write,
    meanwhile,
    press,
    press_at_once,
)


def test_twenty_keys_at_once_charge_once(off, book):
    off(2, 4, 5)
    order, client = opened_order()
    book.rule("hold", CONFIRM, times=None, hold="bank")

    with meanwhile(lambda: press_at_once(client, order, new_keys())) as storm:
        book.wait_until_held("bank")
        late = press(client, order)
        book.release("bank")

    assert (late.status, late.problem) == (409, "payment-in-progress")
    assert len(book.succeeded(order.pk)) == 1
    assert Counter(answer.status for answer in storm.result()) == {201: 1, 409: CROWD - 1}
    assert Attempt.objects.filter(order=order).count() == 1


def test_the_constraints_alone_let_one_of_twenty_attempts_in(off, book, monkeypatch):
    """All twenty have read "no live attempt" before any of them inserts one; `one_live_attempt_per_order` decides."""
    off(2, 4, 5)
    switches.no_row_lock(monkeypatch.setattr)
    order, client = opened_order()
    all_look_before_any_writes(monkeypatch, pay, "_begin")

    answers = press_at_once(client, order, new_keys())

    assert len(book.succeeded(order.pk)) == 1
    assert Attempt.objects.filter(order=order).count() == 1
    assert Counter((answer.status, answer.problem) for answer in answers) == {
        (201, ""): 1,
        (409, "payment-in-progress"): CROWD - 1,
    }


def test_the_constraints_alone_let_one_of_twenty_payments_in(off, book, monkeypatch):
    """All twenty have read "no payment yet" before any of them makes one: its id and its create key, which follow from
    the order and the number, and the number itself are unique beside `one_payment_per_order`."""
    off(2, 4, 5)
    switches.no_row_lock(monkeypatch.setattr)
    order, client = placed_order()
    all_look_before_any_writes(monkeypatch, pay, "new_payment")

    answers = press_at_once(client, order, new_keys())

    assert len(book.succeeded(order.pk)) == 1
    assert Payment.objects.filter(order=order).count() == 1
    assert Counter(answer.status for answer in answers) == {201: 1, 409: CROWD - 1}


ONE_PAYMENT = ["payments_of_an_order_are_numbered", "one_payment_per_order"]


@pytest.mark.parametrize("judge", ONE_PAYMENT)
def test_each_of_these_constraints_alone_lets_one_of_twenty_payments_in(off, book, monkeypatch, judge):
    """The ids and create keys are made up, and every other unique constraint of payments and attempts is dropped."""
    off(2, 4, 5)
    switches.no_row_lock(monkeypatch.setattr)
    switches.no_derived_ids(monkeypatch.setattr)
    order, client = placed_order()
    all_look_before_any_writes(monkeypatch, pay, "new_payment")

    with switches.no_constraints(judge) as gone:
        assert not {*ONE_PAYMENT} <= {*gone}
        press_at_once(client, order, new_keys())

        assert len(book.succeeded(order.pk)) == 1
        assert Payment.objects.filter(order=order).count() == 1


def test_without_any_of_them_all_twenty_payments_are_made(off, book, monkeypatch):
    """The control of the tests above."""
    off(2, 4, 5)
    switches.no_row_lock(monkeypatch.setattr)
    switches.no_derived_ids(monkeypatch.setattr)
    order, client = placed_order()
    all_look_before_any_writes(monkeypatch, pay, "new_payment")

    with switches.no_constraints():
        press_at_once(client, order, new_keys())

        assert Payment.objects.filter(order=order).count() == CROWD


@pytest.mark.parametrize("opened_ahead", [True, False], ids=["opened ahead", "not opened"])
def test_the_row_lock_alone_lets_one_of_twenty_in(off, book, monkeypatch, opened_ahead):
    """The constraints are dropped: only the lock keeps the others out between one press's look and its insert."""
    off(2, 4, 5)
    switches.no_derived_ids(monkeypatch.setattr)
    order, client = opened_order() if opened_ahead else placed_order()
    loiter_between_look_and_write(monkeypatch, pay, "_begin")

    with switches.no_constraints() as gone:
        assert {"one_live_attempt_per_order", "one_payment_per_order"} < set(gone)
        answers = press_at_once(client, order, new_keys())

        assert len(book.succeeded(order.pk)) == 1
        assert Attempt.objects.filter(order=order).count() == 1
        assert Payment.objects.filter(order=order).count() == 1
        assert Counter(answer.status for answer in answers) == {201: 1, 409: CROWD - 1}


def test_with_neither_half_all_twenty_charge(off, book, monkeypatch):
    """The control of the two tests above: the same gate, and nothing that decides."""
    off(2, 4, 5)
    order, client = opened_order()
    switches.no_row_lock(monkeypatch.setattr)
    switches.no_derived_ids(monkeypatch.setattr)
    monkeypatch.setattr(pay, "_commit_confirming", switches.confirm_without_asking)
    all_look_before_any_writes(monkeypatch, pay, "_begin")

    with switches.no_constraints():
        press_at_once(client, order, new_keys())
        assert len(book.succeeded(order.pk)) == CROWD


def test_it_does_not_stop_a_charge_made_outside_our_rows(off, book):
    off(2, 4, 5)
    order, client = opened_order()
    assert press(client, order).status == 201
    params = Payment.objects.get(order=order).create_params
    card = {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1/"}
    give_back_connections()

    elsewhere = gateway().create_intent(params, "elsewhere:create:1", Deadline(5), [])
    gateway().confirm_intent(elsewhere.id, card, "elsewhere:confirm:1", Deadline(5), [])

    assert len(book.succeeded(order.pk)) == 2
    assert Payment.objects.get(order=order).captured_minor == order.total_minor  # our rows know of one
