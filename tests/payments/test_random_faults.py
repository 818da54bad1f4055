"""RULES R25: whatever Stripe's answers do, no unknown becomes "not charged" without Stripe's own word.

Random faults on every call, from a seed; presses, retries, looks and rounds of the completer between them. At each step
what we say must not contradict Stripe's book, and once the faults are over both say the same.
"""

import datetime
import random
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Order
from payments.models import DEAD, Asker, Attempt
from payments.reconciliation.recovery import complete_due
from tests.book import CANCEL, CONFIRM, CREATE, Book
from tests.oracles import assert_books_agree
from tests.payments.paying import ask_status, let_leases_end, placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = datetime.timedelta(hours=1)
LOOK = "/v1/payment_intents/*"
FAULTS: list[dict[str, Any]] = [
    {"act": "reset", "when": "before"},
    {"act": "reset", "when": "after"},
    {"act": "500", "when": "before"},
    {"act": "500", "when": "after"},
    {"act": "502", "when": "before"},
    {"act": "503", "when": "after"},
    {"act": "429", "when": "before"},
    {"act": "lock_timeout", "when": "before"},
]
CARDS = ["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_threeDSecure2Required"]


@pytest.mark.parametrize("seed", range(12))
def test_no_sequence_of_faults_makes_us_deny_a_charge(book: Book, seed: int) -> None:
    dice = random.Random(seed)
    order, client = placed_order()
    for _ in range(8):
        book.clear_rules()
        for path in (CREATE, CONFIRM, CANCEL, LOOK):
            if dice.random() < 0.6:
                book.rule(path=path, times=dice.choice([1, 2, 5]), **dice.choice(FAULTS))
        match dice.choice(["press", "press", "look", "complete"]):
            case "press":
                press(client, order, token=dice.choice(CARDS))
            case "look":
                Attempt.objects.update(looked_at=None)
                ask_status(client, order)
            case "complete":
                let_leases_end(order)
                Attempt.objects.update(next_look_at=None)
                complete_due(Asker.COMPLETER)
        _assert_nothing_denied(book, order)
    book.clear_rules()
    for _ in range(3):
        let_leases_end(order)
        Attempt.objects.exclude(phase="finished").update(next_look_at=None, claimed_at=timezone.now() - HOUR)
        complete_due(Asker.COMPLETER)
    _assert_nothing_denied(book, order)
    assert_books_agree(book, order)
    assert not Attempt.objects.exclude(phase="finished").exists()


def _assert_nothing_denied(book: Book, order: Order) -> None:
    charged = len(book.succeeded(order.pk))
    assert charged <= 1
    live = Attempt.objects.filter(order=order).exclude(outcome__in=DEAD).count()
    if charged:
        assert live == 1, "charged, and we say of every press that it was not"
    if Order.objects.get(pk=order.pk).status == "paid":
        assert charged == 1
