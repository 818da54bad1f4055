"""Stripe's idempotency layer: what is stored, what is replayed, what leaves the key free."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import stripe

from payments.sandbox.clock import Clock
from payments.sandbox.errors import StripeError
from payments.sandbox.idempotency import KEPT_SECONDS, KeyStore
from tests.book import CONFIRM, CREATE, Book
from tests.sandbox.conftest import Shop, body_of, error_of, together


def _headers(thing: Any) -> Any:
    return thing.last_response.headers


def test_the_same_request_under_one_key_is_the_same_answer(shop: Shop, book: Book) -> None:
    first, second = shop.intent(key="k"), shop.intent(key="k")
    assert second.to_dict() == first.to_dict()
    assert "Idempotent-Replayed" not in _headers(first)
    assert _headers(second)["Idempotent-Replayed"] == "true"
    assert _headers(second)["Original-Request"] == _headers(first)["Request-Id"] != _headers(second)["Request-Id"]
    assert len(book.intents()) == 1
    assert [call["replayed"] for call in book.calls(path=CREATE)] == [False, True]


def test_a_replay_is_the_historical_answer_byte_for_byte(shop: Shop) -> None:
    first = shop.intent(key="k")
    shop.confirm(first)
    again = shop.intent(key="k")
    assert again.status == "requires_payment_method"
    assert again.last_response.body == first.last_response.body  # type: ignore[union-attr]


def test_twenty_at_once_under_one_key_are_one_charge(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    results = together(20, lambda _: shop.confirm(intent, key="press"))
    for result in results:
        assert isinstance(result, stripe.PaymentIntent) or result.http_status == 409, result
    assert len(book.charges("order_1")) == 1


def test_without_a_key_the_second_is_executed(shop: Shop, book: Book) -> None:
    shop.intent(key="one")
    shop.intent(key="two")
    assert len(book.intents()) == 2


def test_other_parameters_under_one_key_are_an_idempotency_error(shop: Shop, book: Book) -> None:
    shop.intent(key="k")
    error = error_of(lambda: shop.intent(key="k", amount=2500))
    assert isinstance(error, stripe.IdempotencyError)
    assert (error.http_status, body_of(error)["type"]) == (400, "idempotency_error")
    assert "same parameters" in str(error.user_message)
    assert len(book.intents()) == 1


def test_the_order_of_parameters_is_no_difference_but_their_values_are(shop: Shop) -> None:
    create = shop.client.v1.payment_intents.create
    first = create({"amount": 900, "currency": "gbp"}, {"idempotency_key": "k"})
    again = create({"currency": "gbp", "amount": 900}, {"idempotency_key": "k"})
    assert again.id == first.id


def test_another_endpoint_under_one_key_is_an_idempotency_error(shop: Shop, book: Book) -> None:
    intent = shop.intent(key="k")
    error = error_of(lambda: shop.confirm(intent, key="k"))
    assert isinstance(error, stripe.IdempotencyError)
    assert "same endpoint" in str(error.user_message)
    assert book.charges() == []


def test_while_the_first_runs_the_key_is_in_use(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("hold", CONFIRM, hold="bank")
    first: list[stripe.PaymentIntent] = []
    thread = threading.Thread(target=lambda: first.append(shop.confirm(intent, key="press")))
    thread.start()
    book.wait_until_held("bank")
    error = error_of(lambda: shop.confirm(intent, key="press"))
    assert error.http_status == 409
    assert (body_of(error)["type"], body_of(error)["code"]) == ("idempotency_error", "idempotency_key_in_use")
    assert error.headers is not None and error.headers["Stripe-Should-Retry"] == "true"
    book.release("bank")
    thread.join()
    assert shop.confirm(intent, key="press").to_dict() == first[0].to_dict()
    assert len(book.charges("order_1")) == 1


def test_a_decline_is_stored(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    first = error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined", key="press"))
    again = error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined", key="press"))
    assert again.http_body == first.http_body
    assert again.headers is not None and again.headers["Idempotent-Replayed"] == "true"
    assert len(book.charges("order_1")) == 1


@pytest.mark.parametrize("params", [{"payment_method": "pm_nowhere"}, {"confirmation_token": "ctoken_nowhere"}])
def test_a_refusal_of_execution_is_stored(shop: Shop, params: dict[str, Any]) -> None:
    intent = shop.intent()
    confirm = shop.client.v1.payment_intents.confirm
    error_of(lambda: confirm(intent.id, params, {"idempotency_key": "press"}))  # type: ignore[arg-type]
    again = error_of(lambda: confirm(intent.id, params, {"idempotency_key": "press"}))  # type: ignore[arg-type]
    assert (again.http_status, again.headers["Idempotent-Replayed"]) == (400, "true")  # type: ignore[index]


def test_a_stored_refusal_of_cancel_is_replayed_even_when_cancel_would_now_succeed(shop: Shop, book: Book) -> None:
    book.rule("processing")
    intent = shop.confirm(shop.intent())
    cancel = shop.client.v1.payment_intents.cancel
    error_of(lambda: cancel(intent.id, {}, {"idempotency_key": "c1"}))
    book.end_processing(intent.id, "fail")
    assert error_of(lambda: cancel(intent.id, {}, {"idempotency_key": "c1"})).http_status == 400
    assert cancel(intent.id, {}, {"idempotency_key": "c2"}).status == "canceled"


def test_what_validation_refused_leaves_the_key_free(shop: Shop) -> None:
    error_of(lambda: shop.intent(key="k", amount=1))
    error_of(lambda: shop.intent(key="k", colour="red"))
    assert shop.intent(key="k").amount == 2400


@pytest.mark.parametrize(
    ("act", "status"),
    [("429", 429), ("lock_timeout", 429), ("409_in_use", 409), ("401", 401), ("403", 403), ("503", 503)],
)
def test_what_stands_before_the_layer_leaves_the_key_free(shop: Shop, book: Book, act: str, status: int) -> None:
    intent = shop.intent()
    book.rule(act)
    assert error_of(lambda: shop.confirm(intent, key="press")).http_status == status
    assert book.charges() == []
    assert shop.confirm(intent, "pm_card_mastercard", key="press").status == "succeeded"


def test_a_500_without_effect_is_stored_and_replayed(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("500", when="before")
    first = error_of(lambda: shop.confirm(intent, key="press"))
    assert (first.http_status, first.headers["Stripe-Should-Retry"]) == (500, "false")  # type: ignore[index]
    again = error_of(lambda: shop.confirm(intent, key="press"))
    assert (again.http_status, again.headers["Idempotent-Replayed"]) == (500, "true")  # type: ignore[index]
    assert book.charges() == []
    assert shop.confirm(intent, key="another").status == "succeeded"


def test_a_500_with_effect_is_stored_and_replayed(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("500", when="after")
    assert error_of(lambda: shop.confirm(intent, key="press")).http_status == 500
    assert error_of(lambda: shop.confirm(intent, key="press")).http_status == 500
    assert len(book.succeeded("order_1")) == 1
    assert shop.client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_get_ignores_keys(shop: Shop) -> None:
    intent = shop.intent()
    retrieve = shop.client.v1.payment_intents.retrieve
    assert retrieve(intent.id, {}, {"idempotency_key": "g"}).status == "requires_payment_method"
    shop.confirm(intent)
    assert retrieve(intent.id, {}, {"idempotency_key": "g"}).status == "succeeded"


def test_a_key_of_256_characters_is_refused(shop: Shop) -> None:
    assert shop.intent(key="k" * 255).status == "requires_payment_method"
    assert error_of(lambda: shop.intent(key="k" * 256)).http_status == 400


def test_a_key_is_forgotten_after_24_hours() -> None:
    clock = Clock()
    keys = KeyStore(clock)
    assert keys.claim("k", "/v1/payment_intents", {"amount": "1"}) is None
    keys.keep(keys.result("k", "/v1/payment_intents", {"amount": "1"}, 200, "{}", "req_1"))
    clock.offset_seconds = KEPT_SECONDS - 1
    assert keys.claim("k", "/v1/payment_intents", {"amount": "1"}) is not None
    clock.offset_seconds = KEPT_SECONDS + 1
    assert keys.claim("k", "/v1/refunds", {"amount": "2"}) is None


def test_a_released_key_is_free_and_a_running_one_is_not() -> None:
    keys = KeyStore(Clock())
    keys.claim("k", "/a", {})
    with pytest.raises(StripeError, match="in-progress"):
        keys.claim("k", "/a", {})
    keys.release("k")
    assert keys.claim("k", "/b", {}) is None


# Mutations of one object are serial.


def test_different_keys_on_one_intent_still_charge_once(shop: Shop, book: Book) -> None:
    """It is the intent that succeeds once, not the sandbox that helps."""
    intent = shop.intent()
    results = together(10, lambda number: shop.confirm(intent, key=f"press-{number}"))
    won = [result for result in results if isinstance(result, stripe.PaymentIntent)]
    lost = [result for result in results if isinstance(result, stripe.StripeError)]
    assert len(won) == 1
    assert {error.code for error in lost} == {"payment_intent_unexpected_state"}
    assert len(book.charges("order_1")) == 1


def test_a_slow_bank_locks_the_intent(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("hold", CONFIRM, hold="bank")
    thread = threading.Thread(target=lambda: shop.confirm(intent, key="press"))
    thread.start()
    book.wait_until_held("bank")
    error = error_of(lambda: shop.client.v1.payment_intents.cancel(intent.id, {}, {"idempotency_key": "c"}))
    assert error.http_status == 429
    assert (body_of(error)["type"], body_of(error)["code"]) == ("invalid_request_error", "lock_timeout")
    assert error.headers is not None and error.headers["Stripe-Should-Retry"] == "true"
    assert shop.client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method"  # reading is free
    book.release("bank")
    thread.join()
    assert (
        error_of(lambda: shop.client.v1.payment_intents.cancel(intent.id, {}, {"idempotency_key": "c"})).code
        == "payment_intent_unexpected_state"
    )


def test_a_rule_may_leave_the_intent_unlocked(shop: Shop, book: Book) -> None:
    intent = shop.intent()
    book.rule("hold", CONFIRM, hold="road", lock=False)
    failed: list[stripe.StripeError] = []
    thread = threading.Thread(target=lambda: failed.append(error_of(lambda: shop.confirm(intent, key="press"))))
    thread.start()
    book.wait_until_held("road")
    assert shop.client.v1.payment_intents.cancel(intent.id).status == "canceled"
    book.release("road")
    thread.join()
    assert failed[0].code == "payment_intent_unexpected_state"
    assert book.charges() == []
