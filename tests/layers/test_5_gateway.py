"""Layer 5 alone: one intent per order and one reproducible key per call.

No press is known again, no constraint, no row lock, and everybody gets the Redis lock.
"""

from collections import Counter

from payments.gateways.base import gateway
from payments.gateways.transport import Deadline
from payments.models import Payment
from payments.row_lock import give_back_connections
from tests.book import CONFIRM, CREATE
from tests.layers.pressing import new_keys, opened_order
from tests.payments.paying import placed_order
from tests.races.crowd import CROWD, at_once, press_at_once

CARD = {"payment_method": "pm_card_visa", "return_url": "http://127.0.0.1/"}


def test_twenty_presses_confirm_the_one_intent_which_succeeds_once(off, book):
    off(2, 3, 4)
    order, client = opened_order()

    press_at_once(client, order, new_keys())

    assert len(book.succeeded(order.pk)) == 1
    assert len(book.intents(order.pk)) == 1
    confirms = book.calls(order.pk, CONFIRM)
    assert len({call["key"] for call in confirms}) == CROWD  # all twenty asked Stripe to charge
    assert Counter(call["status"] for call in confirms)[200] == 1


def test_twenty_presses_that_all_create_get_one_intent(off, book):
    """The key of the create call is made of the order alone: twenty rows, one intent."""
    off(2, 3, 4)
    order, client = placed_order()

    answers = press_at_once(client, order, new_keys())

    assert {call["key"] for call in book.calls(order.pk, CREATE)} == {f"test:create:{order.pk}:1"}
    assert len(book.intents(order.pk)) == 1
    assert len(book.succeeded(order.pk)) == 1
    assert 201 in {answer.status for answer in answers}


def test_one_confirm_sent_twenty_times_under_its_key_runs_once(off, book):
    off(2, 3, 4)
    order, _ = opened_order()
    intent_id = Payment.objects.get(order=order).intent_id
    assert intent_id is not None
    key = f"test:confirm:{order.pk}"

    def confirm(_: int) -> str:
        give_back_connections()
        return gateway().confirm_intent(intent_id, CARD, key, Deadline(20), [])[0].status

    assert at_once(CROWD, confirm) == ["succeeded"] * CROWD
    assert len(book.succeeded(order.pk)) == 1
    executed = [call for call in book.calls(order.pk, CONFIRM) if call["status"] == 200 and not call["replayed"]]
    assert len(executed) == 1


def test_it_does_not_stop_a_new_key_on_a_new_intent(off, book):
    """What Stripe sees once it has forgotten a key, after 24 hours. So we never send one again after 23."""
    off(2, 3, 4)
    order, _ = opened_order()
    params = Payment.objects.get(order=order).create_params
    give_back_connections()

    for day in ("today", "tomorrow"):
        intent = gateway().create_intent(params, f"test:create:{order.pk}:{day}", Deadline(5), [])
        gateway().confirm_intent(intent.id, CARD, f"test:confirm:{day}", Deadline(5), [])

    assert len(book.succeeded(order.pk)) == 2
