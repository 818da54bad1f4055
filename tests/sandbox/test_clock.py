"""The movable clock: keys are pruned, tokens expire, what was to come later comes; and a restart finds it moved."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import stripe

from tests.book import CREATE, REFUND, Book, BookRefused
from tests.sandbox.conftest import Process, Shop, Sink, body_of, error_of, wait_for

HOUR = 60 * 60


def test_after_24_hours_a_key_is_forgotten_and_charges_again(shop: Shop, book: Book) -> None:
    """Stripe: idempotent requests: keys are removed when they are at least 24 hours old."""

    def press() -> stripe.PaymentIntent:
        return shop.intent("a", key="press", confirm=True, payment_method="pm_card_visa")

    first = press()
    book.advance(24 * HOUR - 60)
    assert press().id == first.id
    book.advance(61)
    assert press().id != first.id
    assert len(book.succeeded("a")) == 2


def test_a_pruned_key_may_carry_other_parameters(shop: Shop, book: Book) -> None:
    shop.intent("a", key="key")
    assert error_of(lambda: shop.intent("b", key="key")).http_status == 400
    book.advance(24 * HOUR)
    assert shop.intent("b", key="key").metadata["order"] == "b"


def test_created_follows_the_clock(shop: Shop, book: Book) -> None:
    before = shop.intent()
    now = book.advance(3 * HOUR)
    after = shop.intent()
    assert after.created == pytest.approx(now, abs=5)
    assert after.created - before.created >= 3 * HOUR
    listed = shop.client.v1.payment_intents.list({"created": {"gt": before.created + HOUR}})
    assert [intent.id for intent in listed.data] == [after.id]


def test_tokens_expire(shop: Shop, book: Book) -> None:
    token = shop.client.v1.test_helpers.confirmation_tokens.create({"payment_method": "pm_card_visa"})
    intent = shop.intent()
    book.advance(12 * HOUR + 1)
    error = error_of(lambda: shop.confirm(intent, None, confirmation_token=token.id))  # type: ignore[arg-type]
    assert "has expired" in body_of(error)["message"]


def test_what_was_to_come_later_comes(shop: Shop, book: Book, sink: Sink) -> None:
    paid = shop.confirm(shop.intent(), "pm_card_pendingRefund")
    wait_for(lambda: "charge.updated" in sink.types())
    book.webhooks("late", url=sink.url, seconds=HOUR)
    made = shop.client.v1.refunds.create({"payment_intent": paid.id})
    book.advance(HOUR)
    wait_for(lambda: shop.client.v1.refunds.retrieve(made.id).status == "succeeded")
    wait_for(lambda: "refund.created" in sink.types())


def test_time_passes_while_a_call_is_held(shop: Shop, book: Book) -> None:
    book.rule("hold", CREATE, hold="bank")
    made: list[stripe.PaymentIntent] = []
    thread = threading.Thread(target=lambda: made.append(shop.intent(key="k")))
    thread.start()
    book.wait_until_held("bank")
    now = book.advance(HOUR)
    book.release("bank")
    thread.join()
    assert made[0].created >= int(now)


def test_it_only_moves_forward(book: Book) -> None:
    with pytest.raises(BookRefused):
        book.advance(-1)
    assert book.now() == pytest.approx(time.time(), abs=5)


def test_a_reset_sets_it_right(shop: Shop, book: Book) -> None:
    book.advance(100 * HOUR)
    book.reset()
    assert book.now() == pytest.approx(time.time(), abs=5)


def test_a_restart_finds_it_moved(tmp_path: Path) -> None:
    process = Process(tmp_path / "book.jsonl")
    try:
        shop = Shop(process.client)
        paid = shop.intent("a", key="old", confirm=True, payment_method="pm_card_visa")
        process.book.advance(20 * HOUR)
        shop.intent("b", key="new")
        process.book.rule("refund_pending", REFUND)
        process.client.v1.refunds.create({"payment_intent": paid.id})
        process.kill()
        process = Process(tmp_path / "book.jsonl")
        shop = Shop(process.client)
        assert process.book.now() == pytest.approx(time.time() + 20 * HOUR, abs=30)
        assert process.book.refunded("a") == 2400
        process.book.advance(5 * HOUR)
        assert shop.intent("b", key="new").last_response.headers["Idempotent-Replayed"] == "true"  # type: ignore[union-attr]
        again = shop.intent("a", key="old", confirm=True, payment_method="pm_card_visa")
        assert again.id != paid.id
    finally:
        process.kill()
