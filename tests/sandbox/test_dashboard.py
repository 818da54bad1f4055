"""What happens to the account without our shop's doing. (Refunds in the dashboard: test_refunds.py.)"""

from __future__ import annotations

import pytest
import stripe

from tests.book import Book, BookRefused
from tests.sandbox.conftest import Shop, Sink, error_of, wait_for


def test_a_cancel_in_the_dashboard(shop: Shop, book: Book, sink: Sink) -> None:
    intent = shop.intent()
    assert book.dashboard_cancel(intent.id, "abandoned")["cancellation_reason"] == "abandoned"
    assert shop.client.v1.payment_intents.retrieve(intent.id).status == "canceled"
    wait_for(lambda: "payment_intent.canceled" in sink.types())
    event = next(event for event in sink.events() if event["type"] == "payment_intent.canceled")
    assert event["request"]["idempotency_key"] is None
    assert event["request"]["id"].startswith("req_")
    assert error_of(lambda: shop.confirm(intent)).code == "payment_intent_unexpected_state"


def test_what_has_succeeded_cannot_be_canceled(shop: Shop, book: Book) -> None:
    with pytest.raises(BookRefused) as refused:
        book.dashboard_cancel(shop.paid().id)
    assert refused.value.status == 409


def test_another_amount_and_other_metadata(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.dashboard_update(intent.id, amount=100, metadata={"order": "stolen", "extra": "1"})
    after = shop.client.v1.payment_intents.retrieve(intent.id)
    assert (after.amount, after.to_dict()["metadata"]) == (100, {"order": "stolen", "extra": "1"})
    assert shop.confirm(intent).amount_received == 100
    with pytest.raises(BookRefused):
        book.dashboard_update(intent.id, amount=200)


def test_a_misspelt_switch_is_refused(shop: Shop, book: Book) -> None:
    with pytest.raises(BookRefused) as refused:
        book.dashboard_update(shop.intent().id, amuont="1")
    assert refused.value.status == 400


def test_a_second_shop_on_the_account(shop: Shop, book: Book, sink: Sink) -> None:
    foreign = book.foreign_payment(700, "eur", metadata={"cart": "9"})
    assert (foreign["status"], foreign["amount"], foreign["currency"]) == ("succeeded", 700, "eur")
    listed = shop.client.v1.payment_intents.list().data[0]
    assert (listed.id, listed.to_dict()["metadata"]) == (foreign["id"], {"cart": "9"})
    wait_for(lambda: "payment_intent.succeeded" in sink.types())
    charge = shop.client.v1.charges.list({"payment_intent": foreign["id"]}).data[0]
    assert (charge.paid, charge.to_dict()["metadata"]) == (True, {"cart": "9"})
    assert book.charges()[-1]["idempotency_key"] is None


def test_it_may_wear_our_metadata_and_be_declined(shop: Shop, book: Book) -> None:
    """The sandbox counts it to the order, as the sweep must."""
    shop.paid("order_1")
    book.foreign_payment(metadata={"order": "order_1"})
    assert len(book.succeeded("order_1")) == 2
    declined = book.foreign_payment(card="pm_card_chargeDeclined", idempotency_key="theirs")
    assert declined["status"] == "requires_payment_method"
    assert [each["idempotency_key"] for each in book.charges() if each["status"] == "failed"] == ["theirs"]
    assert isinstance(shop.client.v1.payment_intents.retrieve(declined["id"]), stripe.PaymentIntent)
