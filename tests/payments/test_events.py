"""Stripe's own events, read every minute: lost webhooks, late money and the dashboard arrive all the same (RULES R87,
crash point C30, FAILURES 74)."""

import datetime
from typing import Any

import pytest
from django.utils import timezone

from payments import tasks
from payments.errors import GatewayError
from payments.models import Dispute, Heartbeat, Refund, WebhookEvent
from payments.reconciliation import event_feed
from payments.reconciliation.event_feed import read_events
from payments.reconciliation.inbox import work_webhooks
from tests.book import Book
from tests.oracles import assert_books_agree
from tests.payments.paying import let_leases_end, placed_order, press, status_of
from tests.payments.planting import paid_order, payment_of
from tests.payments.test_webhooks import deliver

pytestmark = pytest.mark.django_db(transaction=True)


def test_money_whose_answer_and_webhook_were_lost_arrives_by_the_reader(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == 202
    book.clear_rules()
    let_leases_end(order)
    tasks.read_events()
    assert status_of(client, order)["order_status"] == "paid"
    assert_books_agree(book, order)


def test_the_dashboards_refunds_and_disputes_arrive_by_the_reader(book: Book) -> None:
    refunded, disputed = paid_order(), paid_order()
    book.dashboard_refund(payment_of(refunded).charge_id or "", amount=300)
    book.dispute(payment_of(disputed).charge_id or "")
    tasks.read_events()
    assert [row.amount_minor for row in Refund.objects.all()] == [300]
    assert [row.payment for row in Dispute.objects.all()] == [payment_of(disputed)]


def test_an_event_that_a_webhook_brought_is_not_stored_again(book: Book) -> None:
    order = paid_order()
    event = next(one for one in book.events(payment_of(order).intent_id) if one["type"] == "payment_intent.succeeded")
    deliver(event)
    work_webhooks()
    before = WebhookEvent.objects.get(event_id=event["id"])
    for _ in range(3):
        read_events()
    assert WebhookEvent.objects.filter(event_id=event["id"]).count() == 1
    after = WebhookEvent.objects.get(event_id=event["id"])
    assert (after.state, after.tries, after.done_at) == ("done", before.tries, before.done_at)


def test_the_cursor_follows_stripes_clock_and_overlaps(book: Book) -> None:
    paid_order()
    assert read_events() >= 1
    newest = max(event["created"] for event in book.events())
    cursor = Heartbeat.objects.get(name="events").cursor
    assert cursor is not None
    assert abs(cursor.timestamp() - newest) <= 60
    book.advance(3600)
    paid_order()
    read_events()
    later = Heartbeat.objects.get(name="events").cursor
    assert later is not None
    assert (later - cursor).total_seconds() >= 3590  # ahead of our own clock, and no event lost


def test_an_event_that_became_visible_late_is_not_lost(book: Book) -> None:
    early = paid_order()
    book.advance(200)
    paid_order()
    read_events()
    WebhookEvent.objects.filter(intent_id=payment_of(early).intent_id).delete()  # as if no list had shown it yet
    read_events()
    assert WebhookEvent.objects.filter(intent_id=payment_of(early).intent_id).exists()


def test_after_an_outage_of_days_it_reads_hour_by_hour_and_keeps_what_it_read(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_days_ago = timezone.now() - datetime.timedelta(days=3)
    Heartbeat.objects.create(name="events", beat_at=three_days_ago, cursor=three_days_ago)
    order = paid_order()
    whole, reads = event_feed._read_slice, []

    def until_it_dies(window: Any, pace: Any) -> tuple[int, int]:
        reads.append(window)
        if len(reads) == 10:
            raise GatewayError("gone")
        return whole(window, pace)

    monkeypatch.setattr(event_feed, "_read_slice", until_it_dies)
    with pytest.raises(GatewayError):
        read_events()
    row = Heartbeat.objects.get(name="events")
    assert row.cursor == three_days_ago + datetime.timedelta(hours=9)
    assert row.beat_at == three_days_ago  # not completed
    monkeypatch.setattr(event_feed, "_read_slice", whole)
    read_events()
    assert WebhookEvent.objects.filter(intent_id=payment_of(order).intent_id).exists()
    assert Heartbeat.objects.get(name="events").beat_at > three_days_ago


def test_stripe_down_leaves_cursor_and_heartbeat(book: Book, no_stripe: Any) -> None:
    tasks.read_events()
    assert not Heartbeat.objects.exists()
    no_stripe()
    tasks.read_events()
    assert Heartbeat.objects.get().name == "events"


def test_a_payment_is_complete_without_any_webhook_or_completer(book: Book) -> None:
    """Crash point C30, with the reader alone."""
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    let_leases_end(order)
    read_events()
    read_events()
    assert work_webhooks() >= 1
    assert_books_agree(book, order)
