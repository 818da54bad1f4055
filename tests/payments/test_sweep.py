"""The sweep: Stripe's book and our rows side by side (RULES R87-R92, FAILURES 53, 74, 109, 116, 118)."""

import datetime
import threading
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Mail, Order
from payments import pay, tasks
from payments.cancellation import give_up_payment
from payments.gateways.base import gateway
from payments.gateways.transport import Deadline
from payments.leases import end_lease, take_lease
from payments.models import Asker, Attempt, Break, Dispute, Heartbeat, Payment, PaymentEvent, Refund, payment_id
from payments.pay import new_payment, open_ahead, open_payment
from payments.reconciliation import compare, run
from payments.reconciliation.double_charges import give_back
from payments.reconciliation.rate_limit import Pace
from payments.row_lock import give_back_connections
from shop.ids import new_id
from tests.book import CANCEL, CONFIRM, REFUND, Book, Json
from tests.oracles import assert_books_agree
from tests.payments.paying import at_stripe, let_leases_end, placed_order, press, status_of
from tests.payments.planting import (
    bulk_paid,
    change_total,
    lose_payment,
    no_triggers,
    open_breaks,
    ours,
    paid_order,
    payment_of,
    second_charge,
    sweep_payments,
    swept,
    tamper,
    whole_database,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _in_a_hurry(settings: Any) -> None:
    """Everything counts as old enough, and requests need not be spread."""
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    settings.SWEEP_REQUESTS_PER_SECOND = 100_000


# --- a clean book -----------------------------------------------------------------------------------------------------


def test_a_clean_book_gives_no_break(book: Book) -> None:
    orders = [paid_order() for _ in range(3)]
    declined, client = placed_order()
    press(client, declined, token="pm_card_chargeDeclined")
    round_ = swept()
    assert (round_.checked, round_.changed, round_.put_off) == (7, 0, 0)  # four intents, three charges
    assert Break.objects.count() == 0
    assert_books_agree(book, *orders, declined)


def test_payments_of_another_system_on_the_account_are_foreign(book: Book) -> None:
    order = paid_order()
    book.foreign_payment(metadata={"order": order.pk, "payment": payment_of(order).pk, "env": "another-shop"})
    book.foreign_payment(metadata={"order": order.pk})
    theirs = book.foreign_payment()
    book.dashboard_refund(theirs["latest_charge"])
    book.dispute(book.foreign_payment()["latest_charge"])
    round_ = swept()
    assert (round_.checked, round_.changed, open_breaks()) == (2, 0, [])
    assert Dispute.objects.count() == 0
    assert Refund.objects.count() == 0
    order.refresh_from_db()
    assert (order.status, payment_of(order).refunded_minor) == ("paid", 0)


# --- each kind of break -----------------------------------------------------------------------------------------------


def test_money_for_an_order_that_we_do_not_have_is_missing_local(book: Book) -> None:
    theirs = book.foreign_payment(777, metadata=ours(new_id()))
    swept()
    found = Break.objects.get()
    assert (found.kind, found.subject, found.order, found.payment) == ("missing_local", theirs["id"], None, None)
    assert (found.amount_minor, found.currency) == (777, "GBP")
    assert "refund it" in found.evidence["proposal"]


@pytest.mark.parametrize("part", [True, False])
def test_missing_local_is_gone_once_all_of_its_money_has_gone_back(book: Book, part: bool) -> None:
    order, _ = placed_order()
    for metadata in (ours(new_id()), ours(order)):
        theirs = book.foreign_payment(order.total_minor, metadata=metadata)
        swept()
        assert open_breaks() == [("missing_local", theirs["id"])]
        if part:
            book.dashboard_refund(theirs["latest_charge"], 1)
            swept()
            assert open_breaks() == [("missing_local", theirs["id"])]
        book.dashboard_refund(theirs["latest_charge"])
        swept()
        assert open_breaks() == []


def test_what_a_person_has_accepted_is_no_news_to_a_later_sweep(book: Book) -> None:
    book.foreign_payment(777, metadata=ours(new_id()))
    assert swept().changed == 1
    Break.objects.update(resolved_at=timezone.now(), resolved_by="clara", accepted=True)
    assert swept().changed == 0
    assert open_breaks() == []


def test_money_for_our_order_that_proves_nothing_is_missing_local(book: Book) -> None:
    """Its metadata names a payment that we never derive from this order."""
    order, _ = placed_order()
    theirs = book.foreign_payment(order.total_minor, metadata=ours(order))
    swept()
    assert open_breaks() == [("missing_local", theirs["id"])]
    assert Break.objects.get().order == order
    order.refresh_from_db()
    assert order.status == "pending"


def test_a_charge_without_an_intent_is_missing_local(book: Book) -> None:
    order = paid_order()
    lose_payment(order)
    charge = book.charges(order.pk)[0]
    seen = gateway().retrieve_charge(charge["id"], *_looking())
    bare = type(seen)(**{**seen.__dict__, "id": "ch_bare", "intent_id": "", "metadata": ours("nobody")})
    verdicts = list(compare.judge_charges(compare.Round(), [bare]))
    assert [(v.about, v.difference.kind if v.difference else None) for v in verdicts] == [
        (("ch_bare",), "missing_local")
    ]


def test_a_payment_that_stripe_does_not_have_is_missing_gateway(book: Book) -> None:
    order, good = paid_order(), paid_order()
    payment = payment_of(order)
    tamper(payment, intent_id="pi_nowhere", charge_id="ch_nowhere")
    book.dashboard_update(book.intents(order.pk)[0]["id"], metadata={"env": "elsewhere"})
    Payment.objects.filter(pk=payment.pk).update(first_sent_at=timezone.now() - datetime.timedelta(minutes=9))
    swept()
    assert ("missing_gateway", "pi_nowhere") in open_breaks()
    assert good.breaks.count() == 0


def test_another_amount_at_stripe_is_an_amount_break(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    at_stripe(f"payment_intents/{payment_of(order).intent_id}", amount=777)
    order.refresh_from_db()
    press(client, order)
    let_leases_end(order)
    swept()
    assert open_breaks() == [("amount", payment_of(order).intent_id)]
    order.refresh_from_db()
    assert order.status == "pending"


def test_an_amount_that_was_changed_in_our_rows_is_an_amount_break(book: Book) -> None:
    order = paid_order()
    tamper(payment_of(order), captured_minor=order.total_minor - 1)
    swept()
    found = Break.objects.get(kind="amount", subject=payment_of(order).intent_id)
    assert found.evidence["ours"] == ["succeeded", order.total_minor - 1, "GBP"]
    assert found.evidence["stripe"] == ["succeeded", order.total_minor, "GBP"]


def test_money_of_a_payment_that_is_over_here_is_a_status_break(book: Book) -> None:
    order = paid_order()
    tamper(payment_of(order), phase="canceled", captured_minor=0, charge_id=None)
    swept()
    assert open_breaks() == [("status", payment_of(order).intent_id)]


def test_paid_here_and_not_at_stripe_is_a_status_break(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    tamper(payment_of(order), phase="succeeded", captured_minor=order.total_minor)
    swept()
    assert open_breaks() == [("status", payment_of(order).intent_id)]


def test_a_refund_of_money_that_our_row_does_not_have_is_adopted_and_shown_to_staff(book: Book) -> None:
    order = paid_order()
    tamper(payment_of(order), phase="canceled", captured_minor=0, charge_id=None)
    refund = book.dashboard_refund(book.succeeded(order.pk)[0]["id"])
    swept()
    assert open_breaks() == [("status", payment_of(order).intent_id)]
    assert Refund.objects.get().refund_id == refund["id"]
    assert payment_of(order).refunded_minor == 0


def test_a_refund_in_our_name_of_a_payment_that_we_do_not_have_is_an_orphan(book: Book) -> None:
    theirs = book.foreign_payment()
    refund = book.dashboard_refund(theirs["latest_charge"], metadata=ours(new_id()))
    swept()
    assert open_breaks() == [("orphan_refund", refund["id"])]


def test_a_refund_with_another_outcome_here_is_a_status_break(book: Book) -> None:
    order = paid_order()
    book.dashboard_refund(book.succeeded(order.pk)[0]["id"], amount=100)
    swept()
    refund = Refund.objects.get()
    with no_triggers() as cursor:
        cursor.execute("UPDATE payments_refund SET outcome = 'failed' WHERE id = %s", [refund.pk])
    swept()
    assert open_breaks() == [("status", refund.refund_id)]


# --- through the core first -------------------------------------------------------------------------------------------


def test_money_whose_answer_was_lost_is_settled_and_no_break(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == 202
    book.clear_rules()
    let_leases_end(order)
    round_ = swept()
    assert (round_.changed, open_breaks()) == (1, [])
    told = PaymentEvent.objects.get(order=order, kind="settled", to_state="succeeded")
    assert told.asked_by == Asker.SWEEP
    assert_books_agree(book, order)


def test_money_of_an_intent_older_than_the_window_is_found_by_its_charge(book: Book, settings: Any) -> None:
    """Placed hours ago, paid just now: no list of young intents shows it."""
    settings.SWEEP_MIN_AGE = datetime.timedelta(hours=-4)  # Stripe's clock will be ahead
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.advance(3 * 3600)  # Stripe's clock, by which it lists
    book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == 202
    book.clear_rules()
    let_leases_end(order)
    run.sweep(timezone.now() + datetime.timedelta(hours=1))
    assert open_breaks() == []
    assert PaymentEvent.objects.filter(order=order, kind="settled", asked_by=Asker.SWEEP).exists()
    assert_books_agree(book, order)


def _looking() -> tuple[Any, list[Any]]:
    give_back_connections()
    return compare._looking(), []


def test_a_refund_made_in_the_dashboard_is_adopted(book: Book) -> None:
    order = paid_order()
    book.dashboard_refund(book.succeeded(order.pk)[0]["id"], amount=300)
    round_ = swept()
    assert (round_.changed, open_breaks()) == (1, [])
    assert [(row.amount_minor, row.outcome) for row in Refund.objects.all()] == [(300, "succeeded")]
    assert payment_of(order).refunded_minor == 300
    assert swept().changed == 0


def test_a_lost_payment_is_rebuilt_from_the_metadata(book: Book) -> None:
    """Crash point C22: a fail-over lost everything but the order."""
    order = paid_order()
    lose_payment(order)
    round_ = swept()
    assert open_breaks() == []
    assert round_.changed >= 1
    payment = payment_of(order)
    assert (payment.pk, payment.n, payment.phase) == (payment_id(order.pk, 1), 1, "succeeded")
    assert payment.intent_id == book.intents(order.pk)[0]["id"]
    assert PaymentEvent.objects.filter(order=order, kind="rebuilt", asked_by=Asker.SWEEP).count() == 1
    assert Attempt.objects.get(order=order).origin == "gateway"
    assert swept().changed == 0
    assert_books_agree(book, order)


def test_a_payment_that_lost_its_intent_only_gets_it_back(book: Book) -> None:
    order = paid_order()
    lose_payment(order)
    new_payment(order, 1)
    swept()
    assert open_breaks() == []
    assert_books_agree(book, order)


def test_a_lost_payment_of_another_amount_is_not_rebuilt(book: Book) -> None:
    order = paid_order()
    lose_payment(order)
    change_total(order)
    swept()
    assert open_breaks() == [("missing_local", book.intents(order.pk)[0]["id"])]
    assert not Payment.objects.filter(order=order).exists()


def test_a_lost_payment_is_rebuilt_and_the_next_one_that_was_never_sent_is_given_up(book: Book) -> None:
    """The order may be charged by the next payment: two that may charge are never there at once."""
    order = paid_order()
    lost = payment_of(order).intent_id
    lose_payment(order)
    other = new_payment(order, 2)
    swept()
    assert open_breaks() == []
    phases = dict(Payment.objects.filter(order=order).values_list("intent_id", "phase"))
    assert phases == {lost: "succeeded", None: "abandoned"}
    assert Payment.objects.get(pk=other.pk).phase == "abandoned"
    assert Order.objects.get(pk=order.pk).status == "paid"


# --- money by another intent, while a payment of the order can still be paid ------------------------------------------


def open_again(order: Order, n: int = 2) -> Payment:
    """The order's next payment, with its intent at Stripe: whoever presses Pay now is charged."""
    payment = new_payment(order, n)
    open_payment(payment, Deadline(5), [])
    return payment


def test_a_lost_payment_is_rebuilt_and_the_open_one_is_canceled_at_stripe_first(book: Book) -> None:
    order = paid_order()
    lost = payment_of(order).intent_id
    lose_payment(order)
    other = open_again(order)
    round_ = swept()
    assert round_.put_off == 0
    assert {intent["id"]: intent["status"] for intent in book.intents(order.pk)} == {
        lost: "succeeded",
        other.intent_id: "canceled",
    }
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert open_breaks() == []
    assert Mail.objects.filter(order=order, kind="receipt").count() == 1


def test_money_that_cannot_be_rebuilt_closes_the_open_payment_and_no_new_one_is_opened(book: Book) -> None:
    order, client = placed_order()
    open_ahead(order.pk)
    other = payment_of(order)
    stranger = second_charge(book, order)  # of no payment that we could derive
    swept()
    assert open_breaks() == [("missing_local", stranger["id"])]
    assert Payment.objects.get(pk=other.pk).phase == "canceled"
    assert book.calls(order.pk, CONFIRM) == []
    refused = press(client, order, "another-key")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/payment-in-progress")
    assert status_of(client, order)["pay_key"] is None
    assert len(book.succeeded(order.pk)) == 1
    Break.objects.update(resolved_at=timezone.now(), resolved_by="clerk", accepted=True)
    assert press(client, order, status_of(client, order)["pay_key"]).status_code == 201


def test_money_of_a_payment_that_is_over_here_closes_the_open_one_too(book: Book) -> None:
    order = paid_order()
    first = payment_of(order)
    with no_triggers() as cursor:
        cursor.execute("UPDATE orders_order SET status = 'pending', paid_at = NULL WHERE id = %s", [order.pk])
        cursor.execute("DELETE FROM payments_attempt WHERE order_id = %s", [order.pk])
    tamper(first, phase="canceled", captured_minor=0, charge_id=None)
    other = open_again(order)
    swept()
    assert open_breaks() == [("status", first.intent_id)]
    assert Payment.objects.get(pk=other.pk).phase == "canceled"
    swept()
    assert open_breaks() == [("status", first.intent_id)]


def test_while_a_press_of_the_open_payment_is_being_made_it_is_put_off(book: Book) -> None:
    order, client = placed_order()
    assert press(client, order, token="pm_card_threeDSecure2Required").status_code == 202
    second_charge(book, order)
    lease = take_lease(Attempt.objects.get(order=order))
    assert lease is not None
    round_ = swept()
    assert round_.put_off >= 1
    assert not give_up_payment(order.pk, Asker.SWEEP)  # also when the press began after the sweep had looked
    assert payment_of(order).phase == "open"
    end_lease(lease)
    swept()
    assert (payment_of(order).phase, Attempt.objects.get(order=order).outcome) == ("canceled", "canceled")
    assert len(book.succeeded(order.pk)) == 1


def test_when_the_other_one_was_paid_already_it_is_a_double_charge(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", CONFIRM, when="after", times=4)
    assert press(client, order).status_code == 202
    let_leases_end(order)
    stranger = second_charge(book, order)
    swept()
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert open_breaks() == [("double_charge", stranger["latest_charge"])]


def test_a_dry_run_gives_nothing_up(book: Book) -> None:
    order, _ = placed_order()
    open_ahead(order.pk)
    second_charge(book, order)
    before = whole_database()
    swept(dry_run=True)
    assert whole_database() == before


def orphan(order: Order) -> tuple[Payment, Json]:
    """A payment whose create was never answered, given up for the next one; and the intent that Stripe made of it."""
    number = order.payments.count() + 1
    abandoned = Payment.objects.create(
        order=order,
        n=number,
        phase="abandoned",
        idempotency_key=f"test:create:{order.pk}:{number}",
        create_params={},
        amount_minor=order.total_minor,
        currency=order.currency,
    )
    metadata = {f"metadata[{name}]": value for name, value in ours(order, abandoned.pk).items()}
    made = at_stripe("payment_intents", key=new_id(), amount=order.total_minor, currency="gbp", **metadata)
    return abandoned, made


def test_an_orphan_of_an_abandoned_payment_is_canceled_at_stripe(book: Book) -> None:
    order = paid_order()
    abandoned, made = orphan(order)
    for _ in range(3):
        swept()
    assert [call["key"] for call in book.calls(path=CANCEL)] == [f"test:cancel:orphan:{made['id']}"]
    assert {one["id"]: one["status"] for one in book.intents(order.pk)}[made["id"]] == "canceled"
    assert PaymentEvent.objects.filter(payment=abandoned, kind="call:cancel", asked_by=Asker.SWEEP).count() == 1
    assert open_breaks() == []
    assert_books_agree(book, order)


def test_an_unconfirmed_intent_that_waits_for_its_shopper_is_left_alone(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    swept()
    assert book.calls(path=CANCEL) == []
    assert press(client, order).status_code == 201


def refund_calls(book: Book) -> list[Json]:
    return [call for call in book.calls(path=REFUND) if call["method"] == "POST"]


# --- charged twice ----------------------------------------------------------------------------------------------------


def test_a_second_charge_raises_an_alarm_and_prepares_one_refund(book: Book) -> None:
    order = paid_order()
    good, bad = payment_of(order), second_charge(book, order)
    for _ in range(100):
        swept()
    found = Break.objects.get()
    assert (found.kind, found.subject, found.payment) == ("double_charge", bad["latest_charge"], good)
    assert found.charge is not None
    assert (found.charge.pk, found.charge.left_minor) == (bad["latest_charge"], order.total_minor)
    assert refund_calls(book) == []  # for staff to give back
    assert book.refunds() == []


def test_staff_read_in_the_admin_what_they_could_do(book: Book, admin_client: Client) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    page = admin_client.get(f"/admin/payments/break/{Break.objects.get().pk}/change/").content.decode()
    assert f"never {payment_of(order).charge_id}" in page


def test_a_second_charge_is_found_at_any_age(book: Book, settings: Any) -> None:
    settings.SWEEP_MIN_AGE = datetime.timedelta(hours=1)
    order = paid_order()
    bad = second_charge(book, order)
    book.foreign_payment(metadata=ours(new_id()))
    swept()
    assert open_breaks() == [("double_charge", bad["latest_charge"])]  # and the young stranger is none yet


def test_the_duplicate_is_refunded_once_and_the_good_charge_never(book: Book) -> None:
    order = paid_order()
    good, bad = payment_of(order), second_charge(book, order)
    swept()
    found = Break.objects.get()
    for _ in range(100):
        give_back(found, Asker.STAFF, "clerk")
        Break.objects.filter(pk=found.pk).update(resolved_at=None)  # as if nobody had heard of it
    assert [(one["charge"], one["amount"]) for one in book.refunds()] == [(bad["latest_charge"], order.total_minor)]
    row = Refund.objects.get()
    assert (row.charge_id, row.outcome) == (bad["latest_charge"], "succeeded")
    assert {one["idempotency_key"] for one in book.refunds()} == {row.gateway_key}
    assert len(refund_calls(book)) == 1
    assert payment_of(order).refunded_minor == 0
    for _ in range(3):
        swept()
    assert open_breaks() == []  # the refund is no orphan either
    good.refresh_from_db()
    assert good.phase == "succeeded"
    assert len([one for one in book.succeeded(order.pk) if not one["refunded"]]) == 1


def test_the_duplicate_goes_back_once_even_when_stripe_has_forgotten_the_key(book: Book) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    found = Break.objects.get()
    assert give_back(found) is not None
    book.advance(25 * 3600)
    Break.objects.filter(pk=found.pk).update(resolved_at=None)
    assert give_back(found) is None
    assert len(book.refunds()) == 1
    found.refresh_from_db()
    assert found.resolved_at is not None


def test_refunding_a_duplicate_by_the_setting_moves_the_money_once(book: Book, settings: Any) -> None:
    settings.REFUND_DUPLICATES = True
    order = paid_order()
    bad = second_charge(book, order)
    for _ in range(5):
        swept()
    assert [one["charge"] for one in book.refunds()] == [bad["latest_charge"]]
    assert len(refund_calls(book)) == 1
    assert open_breaks() == []
    assert Break.objects.get().resolved_by == "refund"
    assert PaymentEvent.objects.filter(order=order, kind="refund", to_state="succeeded").count() == 1


def test_a_duplicate_whose_refund_has_failed_is_not_refunded_by_the_setting_again_and_again(
    book: Book, settings: Any
) -> None:
    settings.REFUND_DUPLICATES = True
    order = paid_order()
    second_charge(book, order)
    swept()
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    for _ in range(4):
        swept()
    assert len(refund_calls(book)) == 1
    found = Break.objects.get(resolved_at=None)
    assert found.kind == "double_charge"
    made = give_back(found)  # by a person
    assert made is not None and made.outcome == "succeeded"


def test_the_charge_that_pays_an_order_is_never_given_back_as_a_duplicate(book: Book) -> None:
    """Whatever somebody wrote into the break."""
    order = paid_order()
    second_charge(book, order)
    swept()
    found = Break.objects.get()
    Break.objects.filter(pk=found.pk).update(charge=payment_of(order).charge_id)
    with pytest.raises(ValueError, match="pays an order of ours"):
        give_back(found)
    assert book.refunds() == []


def test_two_who_refund_a_duplicate_at_once_move_the_money_once(book: Book) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    found = Break.objects.get()
    start = threading.Barrier(4)

    def one() -> None:
        start.wait()
        try:
            give_back(found)
        except Exception:  # noqa: BLE001 - another one is inside: run it again
            pass
        finally:
            give_back_connections()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(book.refunds()) == 1


def test_two_charges_of_an_order_that_we_do_not_have_are_a_double_charge(book: Book) -> None:
    lost = new_id()
    first, second = (book.foreign_payment(metadata=ours(lost)) for _ in range(2))
    swept()
    kinds = sorted(open_breaks())
    assert [kind for kind, _ in kinds] == ["double_charge", "missing_local"]
    assert {subject for _, subject in kinds} <= {
        first["id"], second["id"], first["latest_charge"], second["latest_charge"],
    }  # fmt: skip
    assert Break.objects.get(kind="double_charge").charge is None  # which one is for staff to say


# --- young, repeated, gone --------------------------------------------------------------------------------------------


def test_what_is_younger_than_a_lease_and_a_minute_is_no_break(book: Book, settings: Any) -> None:
    settings.SWEEP_MIN_AGE = settings.LEASE + datetime.timedelta(seconds=60)
    book.foreign_payment(metadata=ours(new_id()))
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    asked = len(book.calls(order.pk))
    round_ = swept()
    assert (open_breaks(), round_.changed, round_.put_off) == ([], 0, 0)
    assert len(book.calls(order.pk)) == asked  # a press under way is not even asked about


def test_a_hundred_sweeps_find_each_difference_once(book: Book) -> None:
    book.foreign_payment(metadata=ours(new_id()))
    order = paid_order()
    tamper(payment_of(order), phase="canceled", captured_minor=0, charge_id=None)
    first = swept().changed
    assert first == 2
    assert {swept().changed for _ in range(100)} == {0}
    assert Break.objects.count() == 2


def test_a_break_that_is_gone_is_resolved_by_the_sweep(book: Book) -> None:
    order = paid_order()
    payment = payment_of(order)
    charge = payment.charge_id
    tamper(payment, phase="canceled", captured_minor=0, charge_id=None)
    swept()
    assert [kind for kind, _ in open_breaks()] == ["status"]
    tamper(payment, phase="succeeded", captured_minor=order.total_minor, charge_id=charge)
    swept()
    found = Break.objects.get()
    assert (found.resolved_by, found.resolved_at is not None) == ("sweep", True)
    assert open_breaks() == []


def test_a_break_older_than_the_window_is_looked_at_again(book: Book) -> None:
    order = paid_order()
    bad = second_charge(book, order)
    swept()
    book.dashboard_refund(bad["latest_charge"])
    book_is_later = timezone.now() + datetime.timedelta(seconds=30)
    run.sweep(book_is_later)  # its lists show nothing
    assert open_breaks() == []


def test_what_others_said_about_late_money_stays_open(book: Book) -> None:
    """The intent matches, and yet the order was closed: that is for staff to resolve."""
    order = paid_order()
    Break.objects.create(kind="status", subject=payment_of(order).intent_id or "", order=order, evidence={})
    swept()
    assert [kind for kind, _ in open_breaks()] == ["status"]


def test_a_break_that_staff_resolved_is_opened_anew_while_it_is_true(book: Book) -> None:
    book.foreign_payment(metadata=ours(new_id()))
    swept()
    Break.objects.update(resolved_at=timezone.now(), resolved_by="clerk")
    swept()
    assert Break.objects.filter(resolved_at=None).count() == 1


# --- disputes ---------------------------------------------------------------------------------------------------------


def test_a_dispute_that_no_webhook_told_of_is_noticed(book: Book) -> None:
    order = paid_order()
    made = book.dispute(book.succeeded(order.pk)[0]["id"])
    round_ = swept()
    assert (round_.changed, open_breaks()) == (1, [])
    assert [(row.dispute_id, row.status) for row in Dispute.objects.all()] == [(made["id"], "needs_response")]
    book.move_dispute(made["id"], "won")
    run.sweep(timezone.now() + datetime.timedelta(seconds=30))  # older than the window, and not decided
    assert Dispute.objects.get().status == "won"


# --- how it walks -----------------------------------------------------------------------------------------------------


def test_slices_cover_the_window_and_nothing_twice_as_missing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAGES_OF_A_SLICE", 1)
    payments = bulk_paid(book, 450)
    told: list[str] = []
    round_ = swept(tell=told.append)
    assert open_breaks() == []
    assert len(told) >= 5
    assert 902 <= round_.checked <= 920  # both lists, and the few of a second in which a slice was cut
    tamper(payments[333], intent_id="pi_gone", charge_id="ch_gone")
    swept()
    assert ("missing_gateway", "pi_gone") in open_breaks()


def test_a_crowd_within_one_second_is_compared_whole(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a slice holds: the cut falls into the second, and nothing of it is passed over."""
    monkeypatch.setattr(run, "PAGES_OF_A_SLICE", 1)
    bulk_paid(book, 350, minutes=2 / 60)
    book.bulk(
        [{"amount": 1, "created": int(timezone.now().timestamp()) - 1, "metadata": ours(f"o{n}")} for n in range(150)]
    )
    round_ = swept()
    assert len(open_breaks()) == 150
    assert round_.checked >= 2 * 500


def test_a_page_costs_the_same_few_queries_however_full_it_is(book: Book) -> None:
    bulk_paid(book, 9)
    few = _queries_of_a_sweep()
    bulk_paid(book, 60)
    many = _queries_of_a_sweep()
    assert few == many
    assert few <= 10


def _queries_of_a_sweep() -> int:
    with CaptureQueriesContext(connection) as captured:
        swept()
    return len([one for one in captured if one["sql"].startswith(("SELECT", "INSERT", "UPDATE"))])


def test_requests_keep_to_the_pace(settings: Any) -> None:
    settings.SWEEP_REQUESTS_PER_SECOND = 50
    pace = Pace()
    began = timezone.now()
    assert list(pace.pages(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert pace.requests == 5
    assert (timezone.now() - began).total_seconds() >= 4 / 50


def test_two_sweeps_at_once_are_harmless(book: Book) -> None:
    order, lost = paid_order(), paid_order()
    lose_payment(lost)
    second_charge(book, order)
    book.foreign_payment(metadata=ours(new_id()))
    failures: list[BaseException] = []

    def one() -> None:
        try:
            swept()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)
        finally:
            give_back_connections()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    swept()
    assert [kind for kind, _ in open_breaks()] == ["double_charge", "missing_local"]
    assert_books_agree(book, lost)


# --- killed -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As kill -9 would: nothing of ours catches it."""


def test_killed_at_any_request_or_write_and_rerun_ends_the_same(
    book: Book, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run gets one step further than the last one, over the same book."""
    settings.REFUND_DUPLICATES = True
    lost, twice, refunded = paid_order(), paid_order(), paid_order()
    lose_payment(lost)
    bad = second_charge(book, twice)
    book.dashboard_refund(book.succeeded(refunded.pk)[0]["id"], amount=200)
    book.dispute(book.succeeded(twice.pk)[0]["id"])
    stranger = book.foreign_payment(metadata=ours(new_id()))
    kills = 0
    while not _runs_to_its_end(monkeypatch, steps=kills + 1):
        kills += 1
    assert kills > 15
    Refund.objects.update(locked_until=None)  # what the dead held runs out
    swept()
    assert open_breaks() == [("missing_local", stranger["id"])]
    assert [one["charge"] for one in book.refunds() if one["amount"] != 200] == [bad["latest_charge"]]
    assert {row.charge_id: row.amount_minor for row in Refund.objects.all()} == {
        bad["latest_charge"]: twice.total_minor,
        payment_of(refunded).charge_id: 200,
    }
    assert Dispute.objects.count() == 1
    assert PaymentEvent.objects.filter(kind="rebuilt").count() == 1
    assert_books_agree(book, lost, refunded)


def _runs_to_its_end(monkeypatch: pytest.MonkeyPatch, steps: int) -> bool:
    """Whether it came to its end before it was killed at this step: a request to Stripe, or a write of ours."""
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    whole_step = Pace.step

    def counted(pace: Pace) -> None:
        step()
        whole_step(pace)

    def write(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            step()
        return execute(sql, params, many, context)

    with monkeypatch.context() as patched, connection.execute_wrapper(write):
        patched.setattr(Pace, "step", counted)
        try:
            swept()
        except Killed:
            connection.close()
            return False
    return True


# --- manage.py sweep_payments -----------------------------------------------------------------------------------------


def test_a_dry_run_says_what_differs_and_writes_nothing(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    lost, twice, refunded, unknown = paid_order(), paid_order(), paid_order(), placed_order()
    lose_payment(lost)
    orphan(refunded)
    second_charge(book, twice)
    book.dashboard_refund(book.succeeded(refunded.pk)[0]["id"], amount=200)
    book.dispute(book.succeeded(twice.pk)[0]["id"])
    book.rule("reset", when="after", times=None)
    press(unknown[1], unknown[0])
    book.clear_rules()
    let_leases_end(unknown[0])
    before, posts = whole_database(), len([call for call in book.calls() if call["method"] == "POST"])
    code, said, _ = sweep_payments(capsys, "--dry-run")
    assert code == 1
    assert said["changed"] == 0
    assert sorted(found["kind"] for found in said["breaks"]) == [
        "double_charge", "missing_local", "orphan_refund", "status",
    ]  # fmt: skip
    assert whole_database() == before
    assert len([call for call in book.calls() if call["method"] == "POST"]) == posts


def test_the_command_exits_0_when_all_is_clean(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    paid_order()
    code, said, told = sweep_payments(capsys)
    assert (code, said) == (0, {"checked": 2, "changed": 0, "breaks": []})
    assert "2 checked" in told
    assert "4 requests, 0 put off" in told


def test_the_command_exits_1_while_a_break_is_open(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    order = paid_order()
    bad = second_charge(book, order)
    code, said, _ = sweep_payments(capsys)
    assert code == 1
    assert [{**found, "age_seconds": 0} for found in said["breaks"]] == [
        {
            "kind": "double_charge",
            "order": order.pk,
            "payment": payment_of(order).pk,
            "intent": bad["id"],
            "amount": order.total_minor,
            "currency": "GBP",
            "age_seconds": 0,
        }
    ]


def test_the_command_exits_2_when_stripe_does_not_answer(no_stripe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, told = sweep_payments(capsys)
    assert (code, said) == (2, {})
    assert "could not check: Stripe" in told


def test_the_command_exits_2_when_the_database_does_not_answer(
    book: Book, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise OperationalError("gone")

    paid_order()
    monkeypatch.setattr(compare, "judge_intents", gone)
    assert sweep_payments(capsys)[0] == 2


def test_the_command_exits_2_when_one_row_could_not_be_judged(
    book: Book, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = paid_order()
    lose_payment(order)
    book.rule("502", method="GET", path="/v1/payment_intents/*", times=None)
    monkeypatch.setattr("payments.gateways.stripe._PAUSES", (0.0,))
    assert sweep_payments(capsys)[0] == 2
    book.clear_rules()
    assert sweep_payments(capsys)[0] == 0
    assert_books_agree(book, order)


@pytest.mark.parametrize(
    "options",
    [["--since", "yesterday"], ["--until", "2026-11-24"], ["--hours", "0"], ["--until", "2001-01-01T00:00:00Z"]],
    ids=["no moment", "no zone", "no time", "ends before it begins"],
)
def test_an_unclear_window_is_refused_with_exit_2(options: list[str]) -> None:
    with pytest.raises(CommandError) as error:
        call_command("sweep_payments", *options)
    assert error.value.returncode == 2


def test_the_window_can_be_given(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    paid_order()
    an_hour_ago = (timezone.now() - datetime.timedelta(hours=1)).isoformat()
    assert sweep_payments(capsys, "--until", an_hour_ago)[1]["checked"] == 0
    assert sweep_payments(capsys, "--since", an_hour_ago)[1]["checked"] == 2


def test_a_sweep_from_cron_leaves_its_heartbeat_and_a_short_one_does_not(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_payments(capsys, "--hours", "1")
    sweep_payments(capsys, "--dry-run")
    assert not Heartbeat.objects.exists()
    sweep_payments(capsys)
    assert [row.name for row in Heartbeat.objects.all()] == ["sweep"]


# --- by the beat ------------------------------------------------------------------------------------------------------


def test_the_beat_sweeps_what_is_due_and_then_waits(book: Book) -> None:
    book.foreign_payment(metadata=ours(new_id()))
    assert run.sweep_due() == 2
    assert len(open_breaks()) == 1
    asked = len(book.calls())
    assert run.sweep_due() == 0
    assert len(book.calls()) == asked
    ten_minutes_ago = timezone.now() - datetime.timedelta(minutes=10)
    Heartbeat.objects.filter(name="sweep").update(beat_at=ten_minutes_ago)
    assert run.sweep_due() == 1
    assert Heartbeat.objects.get(name="sweep").beat_at > ten_minutes_ago


def test_a_long_round_goes_on_where_it_was(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAGES_OF_A_SLICE", 1)
    monkeypatch.setattr(run, "PLANS", run.PLANS[1:])
    bulk_paid(book, 350)
    slices = _count_slices(monkeypatch)
    rounds = 0
    while not run.sweep_due(seconds=0.001):
        rounds += 1
        assert Heartbeat.objects.get(name="long_sweep").cursor is not None
    assert rounds >= 3
    assert len(slices) == len(set(slices)) == rounds + 1  # none was compared twice
    assert open_breaks() == []
    assert Heartbeat.objects.get(name="long_sweep").cursor is None


def _count_slices(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    ends: list[int | None] = []
    whole = run.sweep_slice

    def counted(round_: Any, since: int, end: int | None) -> int:
        ends.append(end)
        return whole(round_, since, end)

    monkeypatch.setattr(run, "sweep_slice", counted)
    return ends


def test_an_outage_of_stripe_costs_the_beat_one_slice(no_stripe: Any) -> None:
    tasks.sweep_due()
    row = Heartbeat.objects.get(name="sweep")
    assert (row.cursor, row.began_at is not None) == (None, True)
    no_stripe()
