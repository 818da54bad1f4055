"""Disputes: a chargeback takes the money and forbids refunds, an inquiry only asks; won or lost later."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.book import REFUND, Book, BookRefused
from tests.sandbox.conftest import Shop, Sink, body_of, error_of, wait_for


@pytest.fixture
def charge(shop: Shop) -> str:
    charge_id = shop.paid("order_1").latest_charge
    assert isinstance(charge_id, str)
    return charge_id


def retrieved(shop: Shop, charge: str) -> stripe.Charge:
    return shop.client.v1.charges.retrieve(charge)


def test_a_chargeback_takes_the_money(shop: Shop, charge: str, book: Book, sink: Sink) -> None:
    made = book.dispute(charge, "product_not_received")
    assert (made["status"], made["amount"], made["is_charge_refundable"]) == ("needs_response", 2400, False)
    assert retrieved(shop, charge).disputed
    assert not retrieved(shop, charge).refunded
    found = shop.client.v1.disputes.retrieve(made["id"])
    assert (found.reason, found.charge) == ("product_not_received", charge)
    assert [(each.amount, each.fee, each.type) for each in found.balance_transactions] == [(-2400, 1500, "adjustment")]
    wait_for(lambda: {"charge.dispute.created", "charge.dispute.funds_withdrawn"} <= set(sink.types()))
    event = next(event for event in sink.events() if event["type"] == "charge.dispute.created")
    assert event["request"] == {"id": None, "idempotency_key": None}
    assert [each["id"] for each in book.disputes("order_1")] == [made["id"]]


def test_a_charged_back_charge_cannot_be_refunded(shop: Shop, charge: str, book: Book) -> None:
    book.dispute(charge)
    error = error_of(lambda: shop.client.v1.refunds.create({"charge": charge}))
    assert (error.http_status, body_of(error)["code"]) == (400, "charge_disputed")
    assert body_of(error)["message"] == f"Charge {charge} has been charged back; cannot issue a refund."
    assert book.refunds() == []


def test_a_pending_refund_fails_when_its_charge_is_charged_back(shop: Shop, charge: str, book: Book) -> None:
    book.rule("refund_pending", REFUND)
    waiting = shop.client.v1.refunds.create({"charge": charge})
    book.dispute(charge)
    after = shop.client.v1.refunds.retrieve(waiting.id)
    assert (after.status, after.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert retrieved(shop, charge).amount_refunded == 0


def test_won(shop: Shop, charge: str, book: Book, sink: Sink) -> None:
    made = book.dispute(charge)
    book.move_dispute(made["id"], "under_review")
    won = book.move_dispute(made["id"], "won")
    assert [each["amount"] for each in won["balance_transactions"]] == [-2400, 2400]
    assert retrieved(shop, charge).disputed  # for ever
    wanted = {"charge.dispute.updated", "charge.dispute.closed", "charge.dispute.funds_reinstated"}
    wait_for(lambda: wanted <= set(sink.types()))
    assert shop.client.v1.refunds.create({"charge": charge}).status == "succeeded"


def test_lost(shop: Shop, charge: str, book: Book, sink: Sink) -> None:
    made = book.dispute(charge)
    assert book.move_dispute(made["id"], "lost")["status"] == "lost"
    wait_for(lambda: "charge.dispute.closed" in sink.types())
    assert "charge.dispute.funds_reinstated" not in sink.types()
    assert error_of(lambda: shop.client.v1.refunds.create({"charge": charge})).http_status == 400
    with pytest.raises(BookRefused):
        book.move_dispute(made["id"], "won")


def test_an_inquiry_moves_no_money(shop: Shop, charge: str, book: Book, sink: Sink) -> None:
    made = book.dispute(charge, status="warning_needs_response")
    assert (made["is_charge_refundable"], made["balance_transactions"]) == (True, [])
    wait_for(lambda: "charge.dispute.created" in sink.types())
    assert shop.client.v1.refunds.create({"charge": charge, "amount": 400}).status == "succeeded"
    book.move_dispute(made["id"], "needs_response")
    wait_for(lambda: "charge.dispute.funds_withdrawn" in sink.types())
    assert error_of(lambda: shop.client.v1.refunds.create({"charge": charge})).http_status == 400


def test_only_what_was_taken_and_only_once_at_a_time(shop: Shop, charge: str, book: Book) -> None:
    made = book.dispute(charge, amount=1000)
    assert made["amount"] == 1000
    with pytest.raises(BookRefused):
        book.dispute(charge)
    held = shop.confirm(shop.intent(capture_method="manual"))
    assert isinstance(held.latest_charge, str)
    with pytest.raises(BookRefused):
        book.dispute(held.latest_charge)


def test_evidence_with_the_deciding_words(shop: Shop, charge: str, book: Book) -> None:
    """Stripe: testing: `winning_evidence` and `losing_evidence` in uncategorized_text."""
    made = book.dispute(charge)
    update = shop.client.v1.disputes.update
    staged = update(made["id"], {"evidence": {"customer_name": "A. Shopper"}, "submit": False})
    assert (staged.status, staged.evidence_details.has_evidence) == ("needs_response", True)
    won = update(made["id"], {"evidence": {"uncategorized_text": "winning_evidence"}, "metadata": {"case": "7"}})
    assert (won.status, won.evidence.customer_name, won.metadata["case"]) == ("won", "A. Shopper", "7")
    assert error_of(lambda: update(made["id"], {"evidence": {"receipt": "file"}})).http_status == 400


def test_giving_in(shop: Shop, charge: str, book: Book) -> None:
    assert shop.client.v1.disputes.close(book.dispute(charge)["id"]).status == "lost"


def test_listed_by_charge_intent_and_time(shop: Shop, charge: str, book: Book) -> None:
    made = book.dispute(charge)
    other = shop.paid("other").latest_charge
    assert isinstance(other, str)
    second = book.dispute(other)
    listing: Any = shop.client.v1.disputes.list
    assert [each.id for each in listing().data] == [second["id"], made["id"]]
    assert [each.id for each in listing({"charge": charge}).data] == [made["id"]]
    assert [each.id for each in listing({"payment_intent": made["payment_intent"]}).data] == [made["id"]]
    assert listing({"created": {"gt": second["created"]}}).data == []
    expanded = shop.client.v1.disputes.retrieve(made["id"], {"expand": ["charge"]})
    assert isinstance(expanded.charge, stripe.Charge)


@pytest.mark.parametrize(
    ("card", "reason", "status"),
    [
        ("pm_card_createDispute", "fraudulent", "needs_response"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response"),
        ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response"),
    ],
)
def test_the_cards_that_are_disputed(shop: Shop, book: Book, card: str, reason: str, status: str) -> None:
    shop.confirm(shop.intent("order_1"), card)
    assert book.disputes("order_1") == []
    book.advance(10)
    wait_for(lambda: book.disputes("order_1"))
    assert [(each["reason"], each["status"]) for each in book.disputes("order_1")] == [(reason, status)]
