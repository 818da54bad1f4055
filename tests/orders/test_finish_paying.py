"""Whoever was left without an answer hears of it when the answer is "not charged", and can finish paying."""

import datetime
import re
from typing import Any

import pytest
from django.core import mail as outbox
from django.test import Client
from django.utils import timezone

from orders.ends import owe_finish_paying
from orders.mail import send_due_mails
from orders.models import Mail, Order
from payments.models import Asker, Attempt
from payments.reconciliation.recovery import ask_stripe
from tests.book import CONFIRM, Book
from tests.orders.making import minutes_ago
from tests.payments.paying import (
    ask_status,
    cancel,
    clicked,
    complete,
    intent_of,
    let_leases_end,
    placed_order,
    press,
    start_over,
)

pytestmark = pytest.mark.django_db(transaction=True)

CHALLENGE = "pm_card_threeDSecure2Required"


def owed(order: Order) -> list[str]:
    return list(Mail.objects.filter(order=order).order_by("pk").values_list("kind", flat=True))


def unknown_order(book: Book, token: str = "pm_card_visa", when: str = "before") -> tuple[Order, Client]:
    """A press whose answer was lost."""
    order, client = placed_order()
    book.rule("reset", path=CONFIRM, when=when, times=None)
    assert press(client, order, token=token).status_code == 202
    book.clear_rules()
    return order, client


def left_challenge(book: Book) -> tuple[Order, Client]:
    order, client = placed_order()
    assert press(client, order, token=CHALLENGE).json()["status"] == "requires_action"
    return order, client


def late(order: Order) -> None:
    """Long after the click."""
    clicked(order, datetime.timedelta(minutes=31))


# Each way in which somebody else finds out that nothing was charged.


def the_completer_cancels_an_unknown_one(book: Book) -> tuple[Order, Client]:
    order, client = unknown_order(book)
    late(order)
    complete(order)
    return order, client


def the_completer_hears_a_decline(book: Book) -> tuple[Order, Client]:
    order, client = unknown_order(book, "pm_card_chargeDeclined")
    complete(order)
    return order, client


def the_completer_ends_a_challenge_that_was_left(book: Book) -> tuple[Order, Client]:
    order, client = left_challenge(book)
    late(order)
    complete(order)
    return order, client


def a_webhook_brings_a_failed_challenge(book: Book) -> tuple[Order, Client]:
    order, client = left_challenge(book)
    book.challenge(intent_of(order), "fail")
    ask_stripe(order, Asker.WEBHOOK)
    return order, client


def the_banks_late_no(book: Book) -> tuple[Order, Client]:
    order, client = placed_order()
    book.rule("processing")
    assert press(client, order).json()["status"] == "processing"
    book.end_processing(intent_of(order), "fail")
    complete(order)
    return order, client


def the_process_of_the_press_died(book: Book) -> tuple[Order, Client]:
    order, client = placed_order()
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr("payments.pay.send_confirm", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            press(client, order)
    late(order)
    complete(order)
    return order, client


def staff_ask(book: Book) -> tuple[Order, Client]:
    order, client = left_challenge(book)
    book.challenge(intent_of(order), "fail")
    ask_stripe(order, Asker.STAFF)
    return order, client


@pytest.mark.parametrize(
    "how",
    [
        the_completer_cancels_an_unknown_one,
        the_completer_hears_a_decline,
        the_completer_ends_a_challenge_that_was_left,
        a_webhook_brings_a_failed_challenge,
        the_banks_late_no,
        the_process_of_the_press_died,
        staff_ask,
    ],
)
def test_found_out_by_others_it_is_owed_once_and_leads_to_a_payment(book: Book, how: Any) -> None:
    order, _ = how(book)
    assert Attempt.objects.get(order=order).outcome in ("declined", "canceled")
    assert owed(order) == ["finish-paying"]
    assert send_due_mails() == 0  # who is still there sees it on the page
    Mail.objects.update(due_at=minutes_ago(0))
    assert send_due_mails() == 1

    (message,) = outbox.outbox
    assert message.subject == f"You were not charged for order {order.number}"
    token = re.findall(r"/orders/link/([^/]+)/", str(message.body))[0]
    elsewhere = Client(headers={"Accept": "application/json"})
    assert elsewhere.post("/orders/link/", {"token": token})["Location"] == f"/orders/{order.pk}/"
    assert f"/orders/{order.pk}/pay/" in elsewhere.get(f"/orders/{order.pk}/").content.decode()
    assert press(elsewhere, order).status_code == 201
    assert len(book.succeeded(order.pk)) == 1
    assert owed(order) == ["finish-paying", "receipt"]


def the_shopper_was_answered(book: Book) -> Order:
    order, client = placed_order()
    assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    return order


def the_shoppers_page_asked(book: Book) -> Order:
    order, client = left_challenge(book)
    book.challenge(intent_of(order), "fail")
    assert ask_status(client, order)["payment_status"] == "declined"
    return order


def the_shopper_started_over(book: Book) -> Order:
    order, client = left_challenge(book)
    let_leases_end(order)
    assert start_over(client, order).status_code == 200
    return order


def a_decline_and_nobody_asks_again(book: Book) -> Order:
    order = the_shopper_was_answered(book)
    ask_stripe(order, Asker.WEBHOOK)
    complete(order)
    return order


@pytest.mark.parametrize(
    "how",
    [the_shopper_was_answered, the_shoppers_page_asked, the_shopper_started_over, a_decline_and_nobody_asks_again],
)
def test_what_the_shopper_has_been_told_is_not_mailed(book: Book, how: Any) -> None:
    assert owed(how(book)) == []


def test_a_cancel_is_told_by_its_own_mail(book: Book) -> None:
    order, client = left_challenge(book)
    let_leases_end(order)
    book.rule("reset", path="/v1/payment_intents/*/cancel", when="before", times=None)
    assert cancel(client, order).status_code == 202
    book.clear_rules()
    complete(order)
    assert owed(order) == ["canceled"]


def test_a_start_over_that_others_had_to_finish_is_told(book: Book) -> None:
    """Stripe was away: the page said that we write."""
    order, client = left_challenge(book)
    let_leases_end(order)
    book.rule("reset", path="/v1/payment_intents/*/cancel", when="before", times=None)
    start_over(client, order)
    assert owed(order) == []
    book.clear_rules()
    complete(order)
    order.refresh_from_db()
    assert (order.status, order.closing_since) == ("pending", None)
    assert owed(order) == ["finish-paying"]


def test_paid_before_it_was_sent_it_is_dropped_and_the_receipt_goes_out(book: Book) -> None:
    order, client = the_completer_cancels_an_unknown_one(book)
    assert press(client, order).status_code == 201
    Mail.objects.update(due_at=minutes_ago(0))
    assert send_due_mails() == 1
    assert dict(Mail.objects.values_list("kind", "state")) == {"finish-paying": "dropped", "receipt": "sent"}
    assert [message.subject for message in outbox.outbox] == [f"Your receipt for order {order.number}"]


def test_twice_left_without_an_answer_is_one_mail(book: Book) -> None:
    order, client = the_completer_cancels_an_unknown_one(book)
    Mail.objects.update(due_at=minutes_ago(0))
    assert send_due_mails() == 1
    book.rule("reset", path=CONFIRM, when="before", times=None)
    assert press(client, order).status_code == 202
    book.clear_rules()
    late(order)
    complete(order)
    assert owed(order) == ["finish-paying"]
    assert send_due_mails() == 0


def test_a_payment_that_was_found_later_is_told_as_found(book: Book) -> None:
    order, _ = unknown_order(book, when="after")
    complete(order)
    assert owed(order) == ["receipt"]
    assert send_due_mails() == 1
    assert "We found your payment." in str(outbox.outbox[0].body)


def test_a_payment_that_was_known_at_once_is_not(book: Book) -> None:
    order, client = placed_order()
    assert press(client, order).status_code == 201
    assert send_due_mails() == 1
    assert "found" not in str(outbox.outbox[0].body)


def test_an_order_that_is_not_open_owes_nothing(book: Book) -> None:
    order, client = placed_order()
    press(client, order)
    order.refresh_from_db()
    owe_finish_paying(order, timezone.now())
    assert owed(order) == ["receipt"]
