"""A second charge of an order goes back once: each layer alone, with Stripe's list and the trigger switched off too.

The refund that is under way is joined; the key follows from the charge until a refund of it has failed; and nothing is
asked for once nothing is left. Stripe's own cap is the charge, so the judge is our rows: one refund, or two.
"""

import datetime

import pytest

from payments.models import Break, Charge, Refund
from payments.reconciliation import double_charges
from payments.reconciliation.double_charges import give_back
from shop.ids import new_id
from tests.book import REFUND
from tests.layers import switches_of_refunds as switches
from tests.payments.planting import paid_order, second_charge, swept

LAYERS = {
    "the refund under way": lambda put: put(double_charges, "_open_refund", lambda charge: None),
    "the key": lambda put: put(double_charges, "_key", lambda charge: f"charge:{new_id()}"),
    "what is left": lambda put: put(Charge, "left_minor", property(lambda charge: charge.captured_minor)),
}


@pytest.fixture
def a_break(off_of_refunds, book, monkeypatch, settings):
    """Given back once, and the answer was lost."""
    monkeypatch.setattr("payments.gateways.stripe._PAUSES", ())
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    order = paid_order()
    second_charge(book, order)
    swept()
    switches.layer_5_off(monkeypatch.setattr, "BlindGateway")
    book.rule("reset", REFUND, when="after")
    with switches.no_constraints():
        found = Break.objects.get(kind="double_charge")
        give_back(found)
        assert Refund.objects.get().outcome == "unknown"
        Refund.objects.update(locked_until=None, next_look_at=None)
        yield found


@pytest.mark.parametrize("alone", LAYERS)
def test_each_layer_alone_keeps_a_second_charge_from_going_back_twice(a_break, monkeypatch, alone):
    for name, switch_off in LAYERS.items():
        if name != alone:
            switch_off(monkeypatch.setattr)

    give_back(a_break)

    assert Refund.objects.count() == 1


def test_with_none_of_them_a_second_refund_is_made(a_break, monkeypatch):
    """The control of the test above."""
    for switch_off in LAYERS.values():
        switch_off(monkeypatch.setattr)

    give_back(a_break)

    assert Refund.objects.count() == 2
