"""A shop with a past is migrated: its refunds, presses and breaks get the keys and charges that they always had."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from payments.models import Asker, Attempt, Break, Charge, Payment, Refund, RefundProposal
from payments.reconciliation.double_charges import give_back
from payments.refund import follow_refunds
from tests.book import CONFIRM, REFUND, Book
from tests.payments.paying import placed_order, press
from tests.payments.planting import no_triggers, paid_order, payment_of, second_charge, swept
from tests.payments.test_money_moves_once import ask, complete_refunds

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = "0021_a_refund_names_its_charge_and_key"


@pytest.fixture
def before() -> Iterator[Any]:
    """Takes the database back to what it was before; the test takes it forward again."""
    ((_, last),) = [
        one for one in import_module(f"payments.migrations.{FIRST}").Migration.dependencies if one[0] == "payments"
    ]
    yield lambda: call_command("migrate", "payments", last, verbosity=0)
    call_command("migrate", verbosity=0)


def test_a_shop_with_a_past_gets_the_keys_that_it_has_sent(book: Book, before: Any) -> None:
    staff = Client(headers={"Accept": "application/json"})
    clerk = User.objects.create_superuser("clerk", "clerk@example.com", "a long password")
    staff.force_login(clerk)
    refunded, unknown = paid_order(), placed_order()
    payment = payment_of(refunded)
    assert ask(staff, payment, 100).status_code == 201
    book.dashboard_refund(str(payment.charge_id), 50)
    assert follow_refunds(payment, Asker.SWEEP)
    second = second_charge(book, refunded)
    swept()
    book.rule("reset", path=CONFIRM, when="before", times=4)
    assert press(unknown[1], unknown[0]).status_code == 202
    book.clear_rules()
    proposal = RefundProposal.objects.create(
        payment=payment, amount_minor=1, currency="GBP", reason="duplicate", proposed_by=clerk
    )
    (row,) = Refund.objects.filter(amount_minor=100)
    attempt, closing = Attempt.objects.get(order=unknown[0]), payment_of(unknown[0])
    call = {"key": f"test:refund:dup:{second['latest_charge']}", "params": {"charge": second["latest_charge"]}}
    Break.objects.filter(kind="double_charge").update(
        evidence={"found_by": "sweep", "intent": second["id"], "prepared_refund": call}
    )

    before()
    call_command("migrate", verbosity=0)

    charges = {one.pk: (one.order_id, one.captured_minor) for one in Charge.objects.all()}
    assert charges == {
        payment.charge_id: (refunded.pk, refunded.total_minor),
        second["latest_charge"]: (refunded.pk, refunded.total_minor),
    }
    now = Refund.objects.get(pk=row.pk)
    assert (now.charge_id, now.gateway_key, now.params) == (payment.charge_id, f"test:refund:{row.pk}", row.params)
    assert now.sent_at == now.created_at
    assert Refund.objects.get(amount_minor=50).gateway_key == ""  # the dashboard's
    assert Attempt.objects.get(pk=attempt.pk).confirm_key == attempt.confirm_key
    assert Payment.objects.get(pk=closing.pk).cancel_key == closing.cancel_key
    assert RefundProposal.objects.get(pk=proposal.pk).refund_key == f"proposal:{proposal.pk}"
    found = Break.objects.get(kind="double_charge")
    assert found.charge_id == second["latest_charge"]
    made = give_back(found)
    assert made is not None and (made.charge_id, made.outcome) == (second["latest_charge"], "succeeded")


def test_a_refund_that_was_unknown_goes_on_under_the_key_that_was_sent(book: Book, before: Any) -> None:
    staff = Client(headers={"Accept": "application/json"})
    staff.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    payment = payment_of(paid_order())
    book.rule("reset", path=REFUND, when="before", times=10)
    assert ask(staff, payment, 100).status_code == 202
    before()
    call_command("migrate", verbosity=0)
    book.clear_rules()
    complete_refunds()
    row = Refund.objects.get()
    assert (row.outcome, row.gateway_key) == ("succeeded", f"test:refund:{row.pk}")
    assert [one["idempotency_key"] for one in book.refunds(payment.order_id)] == [row.gateway_key]


def test_money_of_another_amount_gets_its_charge_from_the_press_that_took_it(book: Book, before: Any) -> None:
    order = paid_order()
    payment = payment_of(order)
    book.dashboard_refund(str(payment.charge_id), 999)
    assert follow_refunds(payment, Asker.SWEEP)
    charge = payment.charge_id
    with no_triggers() as cursor:  # as a payment is whose money never counted
        cursor.execute(
            "UPDATE payments_payment SET phase = 'canceled', captured_minor = 0, refunded_minor = 0, charge_id = NULL"
        )
        cursor.execute("UPDATE payments_attempt SET reason = 'other-amount', outcome = 'canceled'")
    before()
    call_command("migrate", verbosity=0)
    row = Refund.objects.get()
    assert (row.charge_id, row.charge.captured_minor, row.charge.order_id) == (charge, 999, order.pk)


def test_the_database_keeps_its_guards_after_back_and_forth(book: Book, before: Any) -> None:
    before()
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef('final_money_is_frozen'::regproc)")
        assert "payments_charge" in cursor.fetchone()[0]
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'refunds_stay_within_their_charge'")
        assert cursor.fetchone()[0] == 1
