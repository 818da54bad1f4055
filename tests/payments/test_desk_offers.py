"""What staff are offered about an order, and why not what they are not."""

import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from orders.models import Mail, Order
from payments.backoffice.actions.available import offers
from payments.models import Attempt, Break, WebhookEvent
from payments.refund import Ask, refund_once
from shop.database_clock import DatabaseClock
from tests.book import REFUND, Book
from tests.payments.paying import intent_of, let_leases_end, placed_order, press
from tests.payments.planting import paid_order, payment_of
from tests.payments.staff import clerk

pytestmark = pytest.mark.django_db(transaction=True)


def why_not(order: Order, viewer: Any) -> dict[str, str]:
    """By act; the last of several of one kind."""
    return {offer.name: offer.why_not for offer in offers(Order.objects.get(pk=order.pk), viewer)}


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss", "boss@example.com", "a long password")


def test_a_fresh_order_can_only_be_canceled(book: Book, boss: User) -> None:
    order, _ = placed_order()
    assert why_not(order, boss) == {
        "ask Stripe": "No payment was ever opened: Stripe knows nothing of this order",
        "cancel at Stripe": "Nothing of this order is unknown: nothing to end",
        "cancel": "",
    }


def test_a_paid_order_can_be_refunded_and_not_canceled(book: Book, boss: User) -> None:
    order = paid_order()
    assert why_not(order, boss) == {
        "ask Stripe": "",
        "cancel at Stripe": "Nothing of this order is unknown: nothing to end",
        "refund": "",
        "cancel": "Paid: it cannot be canceled, but refunded",
        "send mail again": "It is about to be sent already",
    }
    Mail.objects.update(state="sending", sending_at=timezone.now())
    assert why_not(order, boss)["send mail again"] == "It is being sent right now: wait two minutes"
    Mail.objects.update(sending_at=timezone.now() - datetime.timedelta(minutes=3))
    assert why_not(order, boss)["send mail again"] == ""
    an_hour = datetime.timedelta(hours=1)
    for refusals, said in ((0, "It is about to be sent already"), (1, "")):  # 0: it waits for a reason of its own
        Mail.objects.update(state="due", due_at=timezone.now() + an_hour, refusals=refusals)
        assert why_not(order, boss)["send mail again"] == said


def test_a_press_under_way_is_waited_for_and_an_unknown_one_can_be_ended(book: Book, boss: User) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    Attempt.objects.update(locked_until=DatabaseClock() + datetime.timedelta(minutes=1))
    told = why_not(order, boss)
    assert told["cancel"] == told["cancel at Stripe"] == "A press is being made right now: wait a minute"
    assert told["refund"] == "Not paid: nothing to refund"
    let_leases_end(order)
    told = why_not(order, boss)
    assert told["cancel"] == told["cancel at Stripe"] == ""


def test_a_refund_that_is_unknown_holds_its_amount(book: Book, boss: User) -> None:
    order = paid_order()
    payment = payment_of(order)
    book.rule("reset", path=REFUND, when="after", times=None)
    refund_once(payment, Ask("k", "f", payment.amount_minor, "duplicate", boss.pk))
    assert why_not(order, boss)["refund"] == "£0.00 is left to refund of this payment."


def test_who_made_a_proposal_may_withdraw_it_and_everybody_else_decide_about_it(book: Book, boss: User) -> None:
    order = paid_order()
    payment_of(order).refund_proposals.create(
        amount_minor=100, currency="GBP", reason="duplicate", note="x", proposed_by=boss
    )
    other = User.objects.create_superuser("other", "other@example.com", "a long password")
    for viewer, act in ((boss, "withdraw refund"), (other, "approve refund")):
        offered = {
            name: why for name, why in why_not(order, viewer).items() if name in ("approve refund", "withdraw refund")
        }
        assert offered == {act: ""}


def test_breaks_and_parked_events_bring_their_acts(book: Book, boss: User) -> None:
    order = paid_order()
    found = Break.objects.create(kind="double_charge", subject="ch_2", order=order, evidence={})
    WebhookEvent.objects.create(
        event_id="evt_1",
        type="charge.succeeded",
        intent_id=intent_of(order),
        created_at_gateway=timezone.now(),
        next_try_at=timezone.now(),
        tries=2,
    )
    told = {offer.name: offer for offer in offers(order, boss)}
    assert told["refund duplicate"].why_not == "It is about no money to give back"
    assert told["resolve break"].url == f"/admin/desk/breaks/{found.pk}/resolve/"
    assert told["take on break"].why_not == ""
    assert told["replay webhook"].url == "/admin/desk/webhooks/evt_1/replay/"


def test_who_may_not_is_told_what_is_missing(book: Book) -> None:
    order = paid_order()
    clerk("nobody")
    told = why_not(order, User.objects.get(username="nobody"))
    assert told["refund"] == "Finance does this"
    assert told["ask Stripe"] == "On-call does this"
    assert all(one.endswith(" does this") for one in told.values())


def test_a_payment_that_stripe_does_not_know_can_be_ended_while_it_is_open(book: Book, boss: User) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    payment = payment_of(order)
    Break.objects.create(kind="missing_gateway", subject=intent_of(order), order=order, payment=payment, evidence={})
    assert why_not(order, boss)["end missing"] == ""
    press(client, order)
    assert why_not(order, boss)["end missing"] == "Its payment is succeeded: there is nothing to end"
