"""Signed webhooks: concurrent, retried, late, repeated, lost."""

from __future__ import annotations

import json
import threading
import time

import pytest
import stripe

from payments.sandbox.webhooks import sign
from tests.book import CONFIRM, Book, BookRefused
from tests.sandbox.conftest import WEBHOOK_SECRET, Shop, Sink, error_of, wait_for


def test_each_change_sends_its_events(shop: Shop, sink: Sink) -> None:
    shop.paid()
    wait_for(lambda: len(sink.got) == 4)
    assert sorted(sink.types()) == [
        "charge.succeeded",
        "charge.updated",
        "payment_intent.created",
        "payment_intent.succeeded",
    ]


def test_a_decline_sends_charge_failed_and_payment_failed(shop: Shop, sink: Sink) -> None:
    error_of(lambda: shop.confirm(shop.intent(), "pm_card_chargeDeclined"))
    wait_for(lambda: len(sink.got) == 3)
    assert sorted(sink.types()) == ["charge.failed", "payment_intent.created", "payment_intent.payment_failed"]


def test_other_moves_send_theirs(shop: Shop, sink: Sink, book: Book) -> None:
    shop.challenged()
    shop.confirm(shop.intent(capture_method="manual"))
    shop.client.v1.payment_intents.cancel(shop.intent().id)
    book.rule("processing")
    shop.confirm(shop.intent())
    wanted = {
        "payment_intent.requires_action",
        "payment_intent.amount_capturable_updated",
        "payment_intent.canceled",
        "payment_intent.processing",
    }
    wait_for(lambda: wanted <= set(sink.types()))


def test_the_package_accepts_the_signature_and_no_other(shop: Shop, sink: Sink) -> None:
    intent = shop.intent()
    wait_for(lambda: sink.got)
    body, signature, _ = sink.got[0]
    event = stripe.Webhook.construct_event(body, signature, WEBHOOK_SECRET)
    assert (event.type, event.data.object["id"]) == ("payment_intent.created", intent.id)
    assert event.api_version == "2026-10-28.endive"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, signature, "whsec_other")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body.replace("2400", "1"), signature, WEBHOOK_SECRET)
    old = sign(WEBHOOK_SECRET, int(time.time()) - 301, body)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, old, WEBHOOK_SECRET)


def test_an_event_names_the_request_and_key_that_caused_it(shop: Shop, sink: Sink) -> None:
    paid = shop.confirm(shop.intent(), key="press-1")
    wait_for(lambda: "payment_intent.succeeded" in sink.types())
    event = next(event for event in sink.events() if event["type"] == "payment_intent.succeeded")
    assert event["request"]["idempotency_key"] == "press-1"
    assert event["request"]["id"] == paid.last_response.request_id  # type: ignore[union-attr]
    assert event["data"]["object"]["status"] == "succeeded"


def test_an_event_shows_the_object_as_it_was_then(shop: Shop) -> None:
    shop.paid()
    created = shop.client.v1.events.list({"type": "payment_intent.created"}).data[0]
    assert created.data.object["status"] == "requires_payment_method"


def test_what_is_not_2xx_is_retried(shop: Shop, sink: Sink, book: Book) -> None:
    sink.answers = [500, 503]
    shop.intent()
    wait_for(lambda: len(sink.got) == 3)
    first, second, third = (when for _, _, when in sink.got)
    assert second - first > 0.9 and third - second > 1.8
    assert len({event["id"] for event in sink.events()}) == 1
    wait_for(lambda: book.webhooks()["undelivered"] == 0)


def test_a_webhook_may_come_before_the_answer(shop: Shop, sink: Sink, book: Book) -> None:
    intent = shop.intent()
    book.rule("hold", CONFIRM, hold="answer", when="after")
    thread = threading.Thread(target=lambda: shop.confirm(intent))
    thread.start()
    wait_for(lambda: "payment_intent.succeeded" in sink.types())
    assert thread.is_alive()
    book.release("answer")
    thread.join()


def test_deliveries_do_not_wait_for_each_other(shop: Shop, sink: Sink) -> None:
    with sink.lock:  # nobody gets an answer
        shop.paid()
        time.sleep(0.1)
    wait_for(lambda: len(sink.got) >= 3)


def test_late(shop: Shop, sink: Sink, book: Book) -> None:
    book.webhooks("late", seconds=3600)
    shop.intent()
    book.advance(3000)
    assert (sink.got, book.webhooks()["undelivered"]) == ([], 1)
    book.advance(600)
    wait_for(lambda: sink.got)


def test_repeated(shop: Shop, sink: Sink, book: Book) -> None:
    book.webhooks("repeated", times=4)
    shop.intent()
    wait_for(lambda: len(sink.got) == 4)
    assert len({event["id"] for event in sink.events()}) == 1


def test_never_means_lost_but_listed(shop: Shop, sink: Sink, book: Book) -> None:
    book.webhooks("never")
    shop.paid()
    book.webhooks("normal")
    time.sleep(0.3)
    assert sink.got == []
    assert shop.client.v1.events.list({"type": "payment_intent.succeeded"}).data


def test_one_calls_webhooks_may_be_lost(shop: Shop, sink: Sink, book: Book) -> None:
    intent = shop.intent()
    wait_for(lambda: sink.types() == ["payment_intent.created"])
    book.rule("none", CONFIRM, drop_webhooks=True)
    shop.confirm(intent)
    time.sleep(0.3)
    assert "payment_intent.succeeded" not in sink.types()
    assert "charge.succeeded" not in sink.types()


def test_a_webhook_is_sent_on_demand_five_times_at_once(shop: Shop, sink: Sink, book: Book) -> None:
    book.webhooks("never")
    paid = shop.paid()
    statuses = book.send_webhook(intent=paid.id, type="payment_intent.succeeded", times=5, simultaneous=True)
    assert statuses == [200] * 5
    assert sink.types() == ["payment_intent.succeeded"] * 5
    event = sink.events()[0]["id"]
    assert book.send_webhook(event) == [200]


def test_bodies_are_json_with_the_whole_event(shop: Shop, sink: Sink) -> None:
    shop.intent()
    wait_for(lambda: sink.got)
    assert json.loads(sink.got[0][0]) == shop.client.v1.events.list().data[0].to_dict()


# What is not as it should be.


def test_reordered_is_the_same_order_for_the_same_seed(shop: Shop, sink: Sink, book: Book) -> None:
    def deliver(seed: int) -> list[str]:
        sink.got.clear()
        book.webhooks("reordered", seconds=0.5, times=2, seed=seed)
        made = [shop.intent(f"o{number}") for number in range(5)]
        wait_for(lambda: len(sink.got) == 10)
        place = {intent.id: str(number) for number, intent in enumerate(made)}
        return [place[event["data"]["object"]["id"]] for event in sink.events()]

    first = deliver(7)
    assert sorted(first) == sorted("0011223344")
    assert first != sorted(first)
    assert deliver(7) == first
    assert deliver(8) != first
    wait_for(lambda: book.webhooks()["undelivered"] == 0)


def test_reordered_is_retried_like_any_other(shop: Shop, sink: Sink, book: Book) -> None:
    book.webhooks("reordered", seconds=0.1, seed=1)
    sink.answers = [500]
    shop.intent()
    wait_for(lambda: len(sink.got) == 2)
    wait_for(lambda: book.webhooks()["undelivered"] == 0)


def _sent(sink: Sink) -> tuple[str, str]:
    body, signature, _ = sink.got[-1]
    return body, signature


def test_a_forged_one_is_signed_with_another_secret(shop: Shop, sink: Sink, book: Book) -> None:
    intent = shop.intent()
    wait_for(lambda: sink.got)
    book.send_webhook(intent=intent.id, forged=True)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(*_sent(sink), WEBHOOK_SECRET)
    book.send_webhook(intent=intent.id, secret="whsec_next")
    assert stripe.Webhook.construct_event(*_sent(sink), "whsec_next").type == "payment_intent.created"


@pytest.mark.parametrize("age", [301, 3600])
def test_an_old_one_is_refused_by_the_package(shop: Shop, sink: Sink, book: Book, age: int) -> None:
    intent = shop.intent()
    wait_for(lambda: sink.got)
    book.send_webhook(intent=intent.id, age_seconds=age)
    with pytest.raises(stripe.SignatureVerificationError, match="Timestamp"):
        stripe.Webhook.construct_event(*_sent(sink), WEBHOOK_SECRET)
    book.send_webhook(intent=intent.id, age_seconds=-age)
    assert int(_sent(sink)[1].split(",")[0].removeprefix("t=")) > time.time() + age - 5


def test_of_the_other_mode_or_another_account(shop: Shop, sink: Sink, book: Book) -> None:
    intent = shop.intent()
    wait_for(lambda: sink.got)
    book.send_webhook(intent=intent.id, livemode=True)
    live = stripe.Webhook.construct_event(*_sent(sink), WEBHOOK_SECRET)
    assert (live.livemode, live.data.object["livemode"]) == (True, True)
    book.send_webhook(intent=intent.id, account="acct_other")
    assert stripe.Webhook.construct_event(*_sent(sink), WEBHOOK_SECRET).account == "acct_other"
    assert shop.client.v1.events.list().data[0].livemode is False  # what is kept is right


def test_a_misspelt_disguise_is_refused(shop: Shop, sink: Sink, book: Book) -> None:
    with pytest.raises(BookRefused):
        book.send_webhook(intent=shop.intent().id, forgd=True)


# The list of events.


def test_events_are_listed_for_thirty_days(shop: Shop, book: Book) -> None:
    shop.intent()
    event = shop.client.v1.events.list().data[0]
    book.advance(30 * 24 * 60 * 60 - 60)
    assert shop.client.v1.events.retrieve(event.id).id == event.id
    assert len(shop.client.v1.events.list({"created": {"lte": event.created}}).data) == 1
    book.advance(120)
    assert shop.client.v1.events.list().data == []
    assert error_of(lambda: shop.client.v1.events.retrieve(event.id)).http_status == 404


def test_events_are_listed_by_whether_they_arrived(shop: Shop, sink: Sink, book: Book) -> None:
    shop.intent("arrives")
    wait_for(lambda: book.webhooks()["undelivered"] == 0)
    book.webhooks("never")
    lost = shop.intent("lost")
    listing = shop.client.v1.events.list
    assert [event.data.object["id"] for event in listing({"delivery_success": False}).data] == [lost.id]
    assert len(listing({"delivery_success": True}).data) == 1
