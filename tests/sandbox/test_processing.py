"""Asynchronous payments: `processing`, then the bank's word, by a card or by a rule; and a restart in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.book import Book
from tests.sandbox.conftest import Process, Shop, Sink, body_of, error_of, wait_for


@pytest.mark.parametrize(
    ("card", "status", "kind"),
    [
        ("pm_sandbox_processingSucceeds", "succeeded", "payment_intent.succeeded"),
        ("pm_sandbox_processingFails", "requires_payment_method", "payment_intent.payment_failed"),
    ],
)
def test_the_bank_thinks_first(shop: Shop, book: Book, sink: Sink, card: str, status: str, kind: str) -> None:
    intent = shop.confirm(shop.intent("order_1"), card)
    assert intent.status == "processing"
    assert book.charges("order_1") == []
    assert error_of(lambda: shop.client.v1.payment_intents.cancel(intent.id)).http_status == 400
    assert body_of(error_of(lambda: shop.confirm(intent)))["code"] == "payment_intent_unexpected_state"
    book.advance(10)
    wait_for(lambda: shop.client.v1.payment_intents.retrieve(intent.id).status == status)
    wait_for(lambda: {"payment_intent.processing", kind} <= set(sink.types()))
    event = next(event for event in sink.events() if event["type"] == kind)
    assert event["request"] == {"id": None, "idempotency_key": None}
    assert len(book.succeeded("order_1")) == (status == "succeeded")


def test_it_may_think_for_ever(shop: Shop, book: Book) -> None:
    intent = shop.confirm(shop.intent(), "pm_sandbox_processing")
    book.advance(30 * 24 * 60 * 60)
    assert shop.client.v1.payment_intents.retrieve(intent.id).status == "processing"
    assert book.end_processing(intent.id, "succeed")["status"] == "succeeded"


def test_its_word_is_said_once(shop: Shop, book: Book) -> None:
    intent = shop.confirm(shop.intent("order_1"), "pm_sandbox_processingSucceeds")
    book.end_processing(intent.id, "fail")
    shop.confirm(intent)
    book.advance(10)
    assert shop.client.v1.payment_intents.retrieve(intent.id).status == "succeeded"
    assert [charge["status"] for charge in book.charges("order_1")] == ["failed", "succeeded"]


def test_a_restart_forgets_no_appointment(tmp_path: Path) -> None:
    process = Process(tmp_path / "book.jsonl")
    try:
        shop = Shop(process.client)
        waiting = shop.confirm(shop.intent("a"), "pm_sandbox_processingSucceeds")
        paid = shop.confirm(shop.intent("b"), "pm_card_pendingRefund")
        refund = process.client.v1.refunds.create({"payment_intent": paid.id})
        shop.confirm(shop.intent("c"), "pm_card_createDispute")
        process.kill()
        process = Process(tmp_path / "book.jsonl")
        process.book.advance(10)
        client = process.client.v1
        wait_for(lambda: client.payment_intents.retrieve(waiting.id).status == "succeeded")
        wait_for(lambda: client.refunds.retrieve(refund.id).status == "succeeded")
        wait_for(lambda: process.book.disputes("c"))
    finally:
        process.kill()
