"""The status machine of a PaymentIntent."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.book import Book
from tests.sandbox.conftest import Shop, body_of, error_of, wait_for


def test_a_new_intent_requires_a_payment_method_and_has_charged_nothing(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    assert (intent.status, intent.latest_charge, intent.payment_method) == ("requires_payment_method", None, None)
    assert intent.capture_method == "automatic_async"
    assert intent.client_secret is not None and intent.client_secret.startswith(f"{intent.id}_secret_")
    assert book.charges() == []


def test_an_intent_made_with_a_payment_method_requires_confirmation(shop: Shop) -> None:
    assert shop.intent(payment_method="pm_card_visa").status == "requires_confirmation"


def test_a_confirmed_intent_has_succeeded_with_one_charge(shop: Shop, book: Book) -> None:
    intent = shop.confirm(shop.intent(), expand=["latest_charge"])
    assert (intent.status, intent.amount_received) == ("succeeded", 2400)
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.status, charge.amount, charge.currency, charge.captured) == ("succeeded", 2400, "gbp", True)
    assert charge.metadata["order"] == "order_1"
    assert [each["id"] for each in book.succeeded("order_1")] == [charge.id]


def test_create_may_confirm_at_once(shop: Shop) -> None:
    assert shop.intent(confirm=True, payment_method="pm_card_mastercard").status == "succeeded"


def test_two_intents_of_one_order_are_two_charges(shop: Shop, book: Book) -> None:
    """It must never save us."""
    shop.paid("order_7")
    shop.paid("order_7")
    assert len(book.succeeded("order_7")) == 2


def test_the_same_press_without_keys_is_charged_as_often_as_asked(shop: Shop, book: Book) -> None:
    for _ in range(3):
        shop.intent("order_8", confirm=True, payment_method="pm_card_visa")
    assert len(book.succeeded("order_8")) == 3


def test_a_succeeded_intent_is_not_confirmed_again(shop: Shop, book: Book) -> None:
    paid = shop.paid()
    error = error_of(lambda: shop.confirm(paid))
    assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
    assert "already succeeded" in str(error.user_message)
    assert body_of(error)["payment_intent"]["status"] == "succeeded"
    assert len(book.charges("order_1")) == 1


def test_confirm_without_any_payment_method_is_refused(shop: Shop) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.client.v1.payment_intents.confirm(intent.id))
    assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")


def test_a_declined_intent_may_be_confirmed_with_another_card(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined"))
    assert shop.confirm(intent, "pm_card_visa").status == "succeeded"
    assert [charge["status"] for charge in book.charges("order_1")] == ["failed", "succeeded"]


@pytest.mark.parametrize("reason", ["duplicate", "fraudulent", "requested_by_customer", "abandoned"])
def test_cancel_keeps_its_reason(shop: Shop, reason: Any) -> None:
    canceled = shop.client.v1.payment_intents.cancel(shop.intent().id, {"cancellation_reason": reason})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", reason)
    assert canceled.canceled_at is not None


def test_a_canceled_intent_can_neither_be_confirmed_nor_canceled_again(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    shop.client.v1.payment_intents.cancel(intent.id)
    for act in (lambda: shop.confirm(intent), lambda: shop.client.v1.payment_intents.cancel(intent.id)):
        error = error_of(act)
        assert error.code == "payment_intent_unexpected_state"
        assert body_of(error)["payment_intent"]["status"] == "canceled"
    assert book.charges() == []


def test_a_succeeded_intent_cannot_be_canceled(shop: Shop) -> None:
    paid = shop.paid()
    error = error_of(lambda: shop.client.v1.payment_intents.cancel(paid.id))
    assert error.code == "payment_intent_unexpected_state"
    assert "status of succeeded" in str(error.user_message)


def test_manual_capture_authorizes_first_and_takes_money_later(shop: Shop, book: Book) -> None:
    held = shop.confirm(shop.intent(capture_method="manual"))
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 2400, 0)
    assert book.succeeded("order_1") == []
    taken = shop.client.v1.payment_intents.capture(held.id, {"amount_to_capture": 2000})
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 2000, 0)
    assert [charge["amount_captured"] for charge in book.succeeded("order_1")] == [2000]


def test_no_more_than_authorized_is_captured(shop: Shop) -> None:
    held = shop.confirm(shop.intent(capture_method="manual"))
    error = error_of(lambda: shop.client.v1.payment_intents.capture(held.id, {"amount_to_capture": 2401}))
    assert (error.http_status, error.param) == (400, "amount_to_capture")  # type: ignore[attr-defined]


def test_only_an_authorized_intent_is_captured(shop: Shop) -> None:
    paid = shop.paid()
    assert error_of(lambda: shop.client.v1.payment_intents.capture(paid.id)).code == "payment_intent_unexpected_state"


def test_an_authorization_may_be_canceled_and_makes_no_refund(shop: Shop, book: Book) -> None:
    held = shop.confirm(shop.intent(capture_method="manual"))
    canceled = shop.client.v1.payment_intents.cancel(held.id)
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    assert [(charge["captured"], charge["amount_refunded"]) for charge in book.charges()] == [(False, 0)]


def test_any_update_clears_the_last_payment_error(shop: Shop) -> None:
    intent = shop.intent()
    error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined"))
    assert shop.client.v1.payment_intents.retrieve(intent.id).last_payment_error is not None
    updated = shop.client.v1.payment_intents.update(intent.id, {"description": "a mug"})
    assert updated.last_payment_error is None
    assert updated.description == "a mug"


def test_update_merges_metadata_and_an_empty_value_removes_a_key(shop: Shop) -> None:
    intent = shop.intent(metadata={"order": "o", "a": "1"})
    updated = shop.client.v1.payment_intents.update(intent.id, {"metadata": {"a": "", "b": "2"}})
    assert updated.metadata.to_dict() == {"order": "o", "b": "2"}


def test_the_amount_may_change_until_the_intent_has_succeeded(shop: Shop) -> None:
    intent = shop.intent()
    assert shop.client.v1.payment_intents.update(intent.id, {"amount": 3000}).amount == 3000
    shop.confirm(intent)
    error = error_of(lambda: shop.client.v1.payment_intents.update(intent.id, {"amount": 4000}))
    assert error.code == "payment_intent_unexpected_state"
    assert shop.client.v1.payment_intents.update(intent.id, {"metadata": {"late": "1"}}).metadata["late"] == "1"


def test_a_wrong_amount_to_confirm_charges_nothing(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    error = error_of(lambda: shop.confirm(intent, amount_to_confirm=2399))
    assert (error.http_status, error.param) == (400, "amount_to_confirm")  # type: ignore[attr-defined]
    assert book.charges() == []
    assert shop.confirm(intent, amount_to_confirm=2400).status == "succeeded"


def test_redirects_need_a_return_url(shop: Shop, book: Book) -> None:
    intent = shop.intent(automatic_payment_methods=None)
    assert intent.automatic_payment_methods is not None
    assert intent.automatic_payment_methods.allow_redirects == "always"
    error = error_of(lambda: shop.confirm(intent))
    assert "you must provide a `return_url`" in str(error.user_message)
    assert book.charges() == []
    assert shop.confirm(intent, return_url="https://shop.example/back").status == "succeeded"


def test_named_payment_method_types_need_no_return_url_and_must_include_cards(shop: Shop) -> None:
    named = shop.intent(automatic_payment_methods=None, allowed_payment_method_types=["card"])
    assert list(named.payment_method_types) == ["card"]
    assert shop.confirm(named).status == "succeeded"
    other = shop.intent(automatic_payment_methods=None, allowed_payment_method_types=["link"])
    assert error_of(lambda: shop.confirm(other)).http_status == 400


def test_a_bank_may_say_later(shop: Shop, book: Book) -> None:
    book.rule("processing")
    intent = shop.confirm(shop.intent())
    assert (intent.status, intent.latest_charge) == ("processing", None)
    refused = error_of(lambda: shop.client.v1.payment_intents.cancel(intent.id))
    assert refused.code == "payment_intent_unexpected_state"
    assert book.charges() == []
    assert book.end_processing(intent.id, "succeed")["status"] == "succeeded"
    assert len(book.succeeded("order_1")) == 1


def test_a_bank_may_say_no_later(shop: Shop, book: Book) -> None:
    book.rule("processing")
    intent = shop.confirm(shop.intent())
    after = book.end_processing(intent.id, "fail")
    assert after["status"] == "requires_payment_method"
    assert after["last_payment_error"]["code"] == "card_declined"
    assert book.succeeded() == []


def test_the_balance_transaction_follows_a_little_later(shop: Shop) -> None:
    paid = shop.paid()
    charge_id = paid.latest_charge
    assert isinstance(charge_id, str)
    assert shop.client.v1.charges.retrieve(charge_id).balance_transaction is None
    later = wait_for(lambda: shop.client.v1.charges.retrieve(charge_id).balance_transaction)
    expanded = shop.client.v1.payment_intents.retrieve(
        paid.id, {"expand": ["latest_charge.balance_transaction"]}
    ).latest_charge
    assert isinstance(expanded, stripe.Charge)
    assert isinstance(expanded.balance_transaction, stripe.BalanceTransaction)
    assert (expanded.balance_transaction.id, expanded.balance_transaction.net) == (later, 2400 - 100)


def test_with_automatic_capture_the_balance_transaction_is_there_at_once(shop: Shop) -> None:
    charge = shop.confirm(shop.intent(capture_method="automatic"), expand=["latest_charge"]).latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.balance_transaction is not None


def test_an_unknown_intent_is_404(shop: Shop) -> None:
    error = error_of(lambda: shop.client.v1.payment_intents.retrieve("pi_nowhere"))
    assert (error.http_status, error.code) == (404, "resource_missing")
    assert error_of(lambda: shop.confirm("pi_nowhere")).http_status == 404
