"""Stripe took another amount or currency than the order's (RULES R83): the press ends when all of it has gone back."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail as outbox
from django.db import connections
from django.test import Client
from django.utils import timezone

from orders.mail import send_due_mails
from orders.models import Mail, Order
from payments import pay
from payments.cancellation import expire_due
from payments.models import Asker, Attempt, Break, Heartbeat, Payment, Refund, WebhookEvent
from payments.reconciliation.double_charges import give_back
from payments.reconciliation.inbox import work_webhooks
from payments.reconciliation.recovery import ask_stripe, complete_attempt, complete_due
from tests.book import Book, Json
from tests.orders.making import minutes_ago
from tests.payments.paying import (
    at_stripe,
    cancel,
    complete,
    intent_of,
    let_leases_end,
    placed_order,
    press,
    status_of,
)
from tests.payments.planting import open_breaks, paid_order, payment_of, swept, tamper

pytestmark = pytest.mark.django_db(transaction=True)

REFUNDS = "/v1/refunds"


def mismatched(**change: Any) -> tuple[Order, Client]:
    """An order whose press took another amount (999 unless told) or currency."""
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}", **(change or {"amount": 999}))
    assert press(client, order).json()["status"] == "unknown"
    let_leases_end(order)
    return order, client


def the_charge(book: Book, order: Order) -> Json:
    (charge,) = book.succeeded(order.pk)
    return charge


def given_back_in_dashboard(book: Book, order: Order, *amounts: int) -> None:
    for amount in amounts or (None,):
        book.dashboard_refund(the_charge(book, order)["id"], amount)


def tell_of_refund(order: Order) -> None:
    WebhookEvent.objects.create(
        event_id=f"evt_{order.pk}",
        type="refund.created",
        intent_id=intent_of(order),
        metadata={},
        created_at_gateway=timezone.now(),
        next_try_at=timezone.now(),
    )
    assert work_webhooks() == 1


LOOKS = {
    "ask_stripe": lambda order: ask_stripe(order, Asker.STAFF),
    "completer": complete,
    "staff's look": lambda order: complete_attempt(Attempt.objects.get(order=order).pk, Asker.STAFF),
    "refund webhook": tell_of_refund,
}


def assert_ended(book: Book, order: Order, client: Client) -> None:
    """Definite, and never said to be a success; payable again; the break is closed, nothing was given back twice."""
    attempt = Attempt.objects.get(order=order, reason="other-amount")
    assert (attempt.outcome, attempt.phase) == ("canceled", "finished")
    assert attempt.charge_id == book.succeeded(order.pk)[0]["id"]
    payment = Payment.objects.get(pk=attempt.payment_id)
    assert (payment.phase, payment.captured_minor, payment.charge_id) == ("canceled", 0, None)
    assert open_breaks() == []
    assert book.refunded(order.pk) == book.succeeded(order.pk)[0]["amount"]
    after = Order.objects.get(pk=order.pk)
    assert after.pay_key != order.pay_key
    Heartbeat.objects.update(beat_at=timezone.now())
    assert Client().get("/healthz/payments").status_code == 200


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("change", [{"amount": 999}, {"amount": 5000}, {"currency": "eur"}])
def test_it_ends_when_all_of_it_has_gone_back_whoever_sees_it(book: Book, look: str, change: dict[str, Any]) -> None:
    order, client = mismatched(**change)
    given_back_in_dashboard(book, order)
    LOOKS[look](order)
    assert_ended(book, order, client)
    paid = press(client, order, Order.objects.get(pk=order.pk).pay_key)
    assert paid.status_code == 201
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert [charge["refunded"] for charge in book.succeeded(order.pk)] == [True, False]
    for _ in range(2):
        swept()
    assert open_breaks() == []


def test_the_sweep_sees_it_too(book: Book, settings: Any) -> None:
    order, client = mismatched()
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    swept()
    assert open_breaks() == [("amount", intent_of(order))]
    given_back_in_dashboard(book, order, 900, 99)
    swept()
    assert_ended(book, order, client)
    swept()
    assert open_breaks() == []


def test_while_a_part_is_missing_or_not_there_yet_nothing_ends(book: Book) -> None:
    order, client = mismatched()
    given_back_in_dashboard(book, order, 998)
    complete(order)
    assert status_of(client, order)["payment_status"] == "unknown"
    assert press(client, order, "another-key").status_code == 409
    given_back_in_dashboard(book, order, 1)
    complete(order)
    assert_ended(book, order, client)


def test_a_refund_that_is_pending_is_no_end_and_one_that_succeeds_is(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}", amount=999)
    press(client, order, token="pm_card_pendingRefund")
    given_back_in_dashboard(book, order)
    complete(order)
    assert (status_of(client, order)["payment_status"], Refund.objects.get().outcome) == ("unknown", "pending")
    book.end_refund(book.refunds(order.pk)[0]["id"], "succeeded")
    complete(order)
    assert_ended(book, order, client)


def test_a_refund_that_fails_afterwards_is_a_break_again(book: Book, settings: Any) -> None:
    order, _ = mismatched()
    given_back_in_dashboard(book, order)
    complete(order)
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    swept()
    assert open_breaks() == [("amount", intent_of(order))]
    again = give_back(Break.objects.get(resolved_at=None))  # the money is here: its refund is offered again
    assert again is not None and (again.outcome, again.amount_minor) == ("succeeded", 999)
    assert open_breaks() == []
    assert book.refunded(order.pk) == 999


# --- staff give it back ----------------------------------------------------------------------------------------------


def test_staff_give_it_back_once_however_often_they_ask(book: Book) -> None:
    order, client = mismatched()
    found = Break.objects.get()
    assert found.charge is not None and found.charge.pk == the_charge(book, order)["id"]
    made = give_back(found, Asker.STAFF, "clerk")
    assert made is not None and (made.amount_minor, made.outcome) == (999, "succeeded")
    assert_ended(book, order, client)
    for _ in range(3):
        assert give_back(found) is None
    assert len(book.refunds(order.pk)) == 1
    assert order.payment_events.filter(kind="refund", to_state="succeeded").count() == 1


def test_four_clerks_at_once_move_the_money_once(book: Book) -> None:
    order, client = mismatched()
    found = Break.objects.get()

    def ask(_: int) -> None:
        try:
            give_back(found, Asker.STAFF, "clerk")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as clerks:
        list(clerks.map(ask, range(4)))
    complete(order)
    assert_ended(book, order, client)
    assert len(book.refunds(order.pk)) == 1


def test_a_lost_answer_is_asked_again_under_the_same_key(book: Book) -> None:
    order, client = mismatched()
    found = Break.objects.get()
    book.rule("reset", REFUNDS, when="after", times=None)
    lost = give_back(found)
    assert lost is not None and lost.outcome == "succeeded"  # the press was asked about, and Stripe's list shows it
    book.clear_rules()
    book.advance(25 * 3600)  # Stripe has forgotten the key
    assert give_back(found) is None
    complete(order)
    assert_ended(book, order, client)
    assert len(book.refunds(order.pk)) == 1


def test_a_charge_that_a_payment_names_is_never_given_back_so(book: Book) -> None:
    order, _ = mismatched()
    good, found = paid_order(), Break.objects.get()
    Break.objects.filter(pk=found.pk).update(charge=payment_of(good).charge_id)
    with pytest.raises(ValueError, match="pays an order of ours"):
        give_back(found)
    assert book.refunds(good.pk) == []
    assert book.refunds(order.pk) == []


def test_an_amount_break_of_a_good_charge_has_no_such_refund(book: Book, settings: Any) -> None:
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    order = paid_order()
    tamper(payment_of(order), captured_minor=order.total_minor - 1)
    swept()
    with pytest.raises(ValueError, match="no money to give back"):
        give_back(Break.objects.get(kind="amount"))
    assert book.refunds(order.pk) == []


def test_nothing_of_ours_gives_it_back_by_itself(book: Book, settings: Any) -> None:
    order, _ = mismatched()
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    settings.REFUND_DUPLICATES = True
    for _ in range(3):
        complete(order)
        swept()
    assert book.refunds(order.pk) == []


# --- what the shopper is told ----------------------------------------------------------------------------------------


def told_by_mail() -> str:
    send_due_mails()
    return " ".join(" ".join(str(message.body) for message in outbox.outbox).split())


def test_the_shopper_is_told_of_the_refund_once_and_never_that_nothing_was_charged(book: Book) -> None:
    order, client = mismatched()
    give_back(Break.objects.get())
    for _ in range(3):
        complete(order)
    Mail.objects.update(due_at=minutes_ago(1))
    said = told_by_mail()
    assert said.count("we have sent £9.99 back") == len(outbox.outbox) == 1
    assert "another amount than the total was taken" in said and "Paid: £0" not in said
    page = " ".join(client.get(f"/orders/{order.pk}/").content.decode().split())
    assert "all of it has been sent back" in page and "othing has been charged" not in page
    replay = press(client, order, order.pay_key)
    assert replay.status_code == 402
    assert "All of it has been sent back" in replay.json()["detail"] and "not charged" not in replay.json()["detail"]
    pay_page = client.get(f"/orders/{order.pk}/pay/").content.decode()
    assert '<template data-reason="other-amount">By mistake' in pay_page
    assert "othing has been charged" not in pay_page
    assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    assert "not charged" not in client.get(f"/orders/{order.pk}/").content.decode()


@pytest.mark.parametrize("end", ["cancel", "expire"])
def test_an_order_that_ends_afterwards_says_what_was_taken_and_given_back(book: Book, end: str) -> None:
    order, client = mismatched()
    give_back(Break.objects.get())
    if end == "cancel":
        assert cancel(client, order).status_code == 200
    else:
        Order.objects.filter(pk=order.pk).update(expires_at=minutes_ago(1))
        assert expire_due() == 1
    order.refresh_from_db()
    assert order.is_closed and order.lines.get().product.stock == 10
    page = client.get(f"/orders/{order.pk}/").content.decode()
    assert "not charged" not in page and "all of it has been sent back" in " ".join(page.split())
    Mail.objects.update(due_at=minutes_ago(1))
    said = told_by_mail()
    assert "not charged" not in said
    assert len(outbox.outbox) == (2 if end == "cancel" else 1)


def test_a_wish_to_cancel_is_carried_out_when_it_has_gone_back(book: Book) -> None:
    order, client = mismatched()
    assert cancel(client, order).status_code == 202
    complete(order)
    assert Order.objects.get(pk=order.pk).status == "pending"  # the money is here: nothing may be said to have ended
    given_back_in_dashboard(book, order)
    complete(order)
    complete_due()
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert order.lines.get().product.stock == 10
    assert_ended(book, order, client)


def test_money_that_no_press_explains_ends_the_same(book: Book) -> None:
    """A press that was declined, and then another amount was taken at Stripe: nobody of ours confirmed it."""
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    late = {"payment_method": "pm_card_visa", "return_url": "https://x.test"}
    at_stripe(f"payment_intents/{intent_of(order)}", amount=999)
    at_stripe(f"payment_intents/{intent_of(order)}/confirm", **late)
    ask_stripe(order, Asker.WEBHOOK)
    assert open_breaks() == [("amount", intent_of(order))]
    give_back(Break.objects.get())
    assert Attempt.objects.get(order=order, reason="other-amount").origin == "gateway"
    assert "not charged" not in client.get(f"/orders/{order.pk}/").content.decode()
    assert_ended(book, order, client)
