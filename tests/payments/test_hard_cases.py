"""Interleavings that a reviewer found by asking: how would this still charge twice, tell a lie, or never end?"""

import pytest
import stripe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orders.attempts import newest_attempt
from orders.models import Order
from orders.states import Shown, shown_state
from payments.errors import Declined, NothingSent, Undecided
from payments.gateways.stripe import _failure
from payments.models import Asker, Attempt, Break, Payment, Refund, WebhookEvent
from payments.reconciliation.inbox import TRIES_BEFORE_BREAK, work_webhooks
from payments.reconciliation.recovery import complete_due
from payments.refund import complete_refund, follow_refunds
from tests.book import CANCEL, CONFIRM, CREATE, Book
from tests.oracles import assert_books_agree
from tests.payments.paying import ask_status, let_leases_end, placed_order, press, status_of
from tests.payments.planting import refund_row
from tests.payments.test_refunds import REFUNDS, paid_by, refund

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_released_press_claimed_again_after_a_decline_is_what_the_page_speaks_of(book: Book) -> None:
    order, client = placed_order()
    first = order.pay_key
    book.rule("429", path=CONFIRM, when="before", times=4)
    assert press(client, order, first).status_code == 503
    assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    book.rule("reset", path=CONFIRM, when="after", times=4)
    assert press(client, order, first).status_code == 202
    assert len(book.succeeded(order.pk)) == 1
    status = status_of(client, order)
    assert (status["payment_status"], status["reason"], status["pay_key"]) == ("unknown", None, None)
    assert shown_state(order, newest_attempt(order)) == Shown.ASKING
    assert ask_status(client, order)["order_status"] == "paid"
    assert_books_agree(book, order)


@pytest.mark.parametrize("status", [400, 402, 404, 408, 413])
def test_a_4xx_that_is_not_stripes_own_proves_nothing(status: int) -> None:
    page = stripe.APIError("<html>", http_body="<html>", http_status=status, json_body=None)
    assert isinstance(_failure(page), Undecided)
    own = stripe.CardError("no", None, "card_declined", None, 402, {"error": {"code": "card_declined"}})
    assert isinstance(_failure(own), Declined)
    turned_away = stripe.RateLimitError("slow", http_status=429)
    assert isinstance(_failure(turned_away), NothingSent)


def test_the_event_of_an_orphan_of_a_payment_given_up_is_done(book: Book) -> None:
    order, client = placed_order()
    book.rule("500", path=CREATE, when="after")
    assert press(client, order).status_code == 503
    assert Payment.objects.get(order=order).phase == "abandoned"
    orphan = book.intents(order.pk)[0]
    WebhookEvent.objects.create(
        event_id="evt_1",
        type="payment_intent.canceled",
        intent_id=orphan["id"],
        metadata=orphan["metadata"],
        created_at_gateway=timezone.now(),
        next_try_at=timezone.now(),
    )
    assert work_webhooks() == 1
    assert WebhookEvent.objects.get().state == "done"
    assert Break.objects.count() == 0


def test_money_of_an_intent_that_we_never_come_to_know_is_a_break_and_the_event_ends() -> None:
    WebhookEvent.objects.create(
        event_id="evt_1",
        type="payment_intent.succeeded",
        intent_id="pi_unheard_of",
        metadata={"env": "test", "payment": "lost"},
        created_at_gateway=timezone.now(),
        next_try_at=timezone.now(),
    )
    for _ in range(TRIES_BEFORE_BREAK + 1):
        WebhookEvent.objects.update(next_try_at=timezone.now())
        work_webhooks()
    assert WebhookEvent.objects.get().state == "done"
    assert Break.objects.get().kind == "missing_local"


def test_a_cancel_while_a_start_over_waits_for_stripe_cancels(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    book.rule("reset", path=CANCEL, when="before", times=4)
    over = client.post(
        f"/api/orders/{order.pk}/start-over/", {}, content_type="application/json", headers={"Idempotency-Key": "a"}
    )
    assert over.status_code == 200
    assert Order.objects.get(pk=order.pk).is_closing
    let_leases_end(order)
    gone = client.post(
        f"/api/orders/{order.pk}/cancel/", {}, content_type="application/json", headers={"Idempotency-Key": "b"}
    )
    assert (gone.status_code, gone.json()["status"]) == (200, "canceled")
    assert_books_agree(book, order)


def test_a_polling_page_carries_out_a_wish_whose_process_died(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    closing = {"closing_since": timezone.now(), "closing_by": "shopper", "closing_reason": "cancel"}
    Order.objects.filter(pk=order.pk).update(**closing)
    assert ask_status(client, order)["order_status"] == "canceled"


def test_a_polling_page_frees_a_press_whose_process_died_before_it_sent_anything(book: Book) -> None:
    order, client = placed_order()
    book.rule("429", path=CONFIRM, when="before", times=4)
    assert press(client, order).status_code == 503
    Attempt.objects.update(phase="started", outcome="")
    status = ask_status(client, order)
    assert status["payment_status"] == "released"
    assert status["pay_key"]


def test_a_pending_refund_made_in_the_dashboard_is_never_concluded_to_have_failed(book: Book) -> None:
    paid = paid_by("pm_card_pendingRefund")
    book.dashboard_refund(book.succeeded(paid.order_id)[0]["id"], 300)
    follow_refunds(paid, Asker.WEBHOOK)
    row = Refund.objects.get()
    assert row.outcome == "pending"
    complete_refund(row.pk, Asker.COMPLETER)
    assert Refund.objects.get().outcome == "pending"
    book.end_refund(book.refunds(paid.order_id)[0]["id"], "succeeded")
    complete_refund(row.pk, Asker.COMPLETER)
    paid.refresh_from_db()
    assert (Refund.objects.get().outcome, paid.refunded_minor) == ("succeeded", 300)


def test_an_outage_does_not_climb_a_refunds_ladder_and_ends_in_the_refund(book: Book) -> None:
    paid = paid_by("pm_card_visa")
    staff = Client()
    staff.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    book.rule("reset", path=REFUNDS, when="before", times=None, method="*")
    assert refund(staff, paid, 100).status_code == 202
    for _ in range(9):
        Refund.objects.update(next_look_at=timezone.now())
        complete_due(Asker.COMPLETER)
    row = Refund.objects.get()
    assert (row.looks, row.outcome) == (0, "unknown")
    book.clear_rules()
    Refund.objects.update(next_look_at=timezone.now())
    complete_due(Asker.COMPLETER)
    assert Refund.objects.get().outcome == "succeeded"
    assert len(book.refunds(paid.order_id)) == 1


def test_a_refund_concluded_to_have_failed_gives_way_when_stripe_shows_it(book: Book) -> None:
    paid = paid_by("pm_card_visa")
    lost = refund_row(
        payment=paid, idempotency_key="x", fingerprint="x", amount_minor=100, currency="GBP", phase="confirming"
    )
    Refund.objects.filter(pk=lost.pk).update(outcome="failed", phase="finished", finished_at=timezone.now())
    charge = book.succeeded(paid.order_id)[0]["id"]
    book.dashboard_refund(charge, 100, metadata={"refund": lost.pk})
    assert follow_refunds(paid, Asker.WEBHOOK)
    paid.refresh_from_db()
    assert (Refund.objects.get().outcome, paid.refunded_minor) == ("succeeded", 100)
