"""RULES R9 and R10: keys and answers are kept for a week after the end, and then forgotten; rows of money never go.
Webhook events that are done go after 35 days."""

import datetime
import threading

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from orders.models import Order
from payments.models import Attempt, WebhookEvent
from payments.retention import delete_events, forget_keys, past_retention
from payments.tasks import forget_keys as forget_keys_task
from shop.ids import new_id
from tests.book import Book
from tests.crashes.dying import in_background
from tests.orders.making import make_attempt, make_order
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

EIGHT_DAYS = datetime.timedelta(days=8)


def test_a_forgotten_key_is_a_new_request_and_still_cannot_charge_a_paid_order(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    assert press(client, order, key).status_code == 201
    Attempt.objects.filter(order=order).update(finished_at=timezone.now() - EIGHT_DAYS)
    Order.objects.filter(pk=order.pk).update(placed_at=timezone.now() - EIGHT_DAYS)
    assert forget_keys(batch=1) == 2
    attempt = Attempt.objects.get(order=order)
    assert (attempt.answer_body, attempt.answer_status, attempt.fingerprint) == (None, None, "")
    assert attempt.outcome == "succeeded"
    again = press(client, order, key)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/order-already-paid")
    assert len(book.succeeded(order.pk)) == 1
    assert forget_keys() == 0


def test_within_a_week_everything_is_kept(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    first = press(client, order, key)
    assert forget_keys() == 0
    assert press(client, order, key).content == first.content


def test_what_has_not_ended_is_never_forgotten_and_is_counted_for_staff() -> None:
    attempt = make_attempt(make_order(), "unknown", fingerprint="kept")
    Attempt.objects.filter(pk=attempt.pk).update(claimed_at=timezone.now() - EIGHT_DAYS)
    Order.objects.update(placed_at=timezone.now() - EIGHT_DAYS)
    assert forget_keys() == 0
    assert past_retention().count() == 1
    assert Attempt.objects.get().fingerprint == "kept"


# --- webhook events --------------------------------------------------------------------------------------------------


def event(state: str, days: int) -> WebhookEvent:
    """Received and, unless it is only stored, done so many days ago."""
    ago = timezone.now() - datetime.timedelta(days=days)
    made = WebhookEvent.objects.create(
        event_id=f"evt_{new_id()}",
        type="payment_intent.succeeded",
        state=state,
        created_at_gateway=ago,
        next_try_at=ago,
        done_at=None if state == "stored" else ago,
    )
    WebhookEvent.objects.filter(pk=made.pk).update(received_at=ago)
    return made


def test_events_done_longer_ago_than_their_retention_go_in_batches_and_stored_ones_never() -> None:
    kept = [event("stored", 400), event("done", 34), event("foreign", 34)]
    for state in ("done", "foreign", "done"):
        event(state, 36)
    assert delete_events(batch=2) == 3
    assert delete_events() == 0
    assert set(WebhookEvent.objects.values_list("pk", flat=True)) == {one.pk for one in kept}


def test_an_event_that_staff_work_on_again_is_kept_until_it_was_done_long_ago() -> None:
    old = event("done", 36)
    WebhookEvent.objects.filter(pk=old.pk).update(state="stored")
    assert delete_events() == 0


def test_an_event_that_somebody_holds_is_left_for_the_next_round() -> None:
    held, free = event("done", 40), event("done", 39)
    in_hand, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            WebhookEvent.objects.select_for_update().get(pk=held.pk)
            in_hand.set()
            let_go.wait(30)

    holder = in_background(hold)
    assert in_hand.wait(30)
    assert delete_events() == 1
    let_go.set()
    holder.result(30)
    assert not WebhookEvent.objects.filter(pk=free.pk).exists()
    assert delete_events() == 1


def test_the_command_says_what_it_cleared_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    event("done", 36)
    call_command("forget_keys")
    assert capsys.readouterr().out == "0 cleared, 0 kept because they have not ended, 1 events deleted\n"
    event("foreign", 36)
    forget_keys_task()
    assert WebhookEvent.objects.count() == 0
