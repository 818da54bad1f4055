"""Refunds: in parts, never more than was taken, later, failing, canceled, in the dashboard; and once under a key."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import stripe

from tests.book import REFUND, Book, BookRefused
from tests.sandbox.conftest import Shop, Sink, body_of, error_of, together, wait_for


def refund(shop: Shop, key: str | None = None, **params: Any) -> stripe.Refund:
    options: Any = {"idempotency_key": key} if key else {}
    return shop.client.v1.refunds.create(params, options)  # type: ignore[arg-type]


def charge_of(shop: Shop, intent: stripe.PaymentIntent) -> stripe.Charge:
    assert isinstance(intent.latest_charge, str)
    return shop.client.v1.charges.retrieve(intent.latest_charge)


@pytest.fixture
def paid(shop: Shop) -> stripe.PaymentIntent:
    return shop.paid("order_1", amount=2400)


def test_a_whole_refund_by_intent(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    made = refund(shop, payment_intent=paid.id, reason="requested_by_customer", metadata={"why": "late"})
    assert (made.amount, made.currency, made.status) == (2400, "gbp", "succeeded")
    assert (made.payment_intent, made.charge) == (paid.id, paid.latest_charge)
    assert (made.reason, made.to_dict()["metadata"]) == ("requested_by_customer", {"why": "late"})
    charge = charge_of(shop, paid)
    assert (charge.amount_refunded, charge.refunded, charge.status) == (2400, True, "succeeded")
    assert shop.client.v1.payment_intents.retrieve(paid.id).status == "succeeded"  # an intent knows no refunds
    assert [each["id"] for each in book.refunds("order_1")] == [made.id]
    assert book.refunded("order_1") == 2400


def test_several_parts_until_nothing_is_left(shop: Shop, paid: stripe.PaymentIntent) -> None:
    for part, refunded in ((1000, False), (1000, False), (400, True)):
        refund(shop, charge=paid.latest_charge, amount=part)
        assert charge_of(shop, paid).refunded is refunded
    assert charge_of(shop, paid).amount_refunded == 2400
    error = error_of(lambda: refund(shop, payment_intent=paid.id))
    assert (error.http_status, body_of(error)["code"]) == (400, "charge_already_refunded")
    assert body_of(error)["message"] == f"Charge {paid.latest_charge} has already been refunded."


def test_no_more_than_is_left(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    refund(shop, payment_intent=paid.id, amount=1700)
    error = error_of(lambda: refund(shop, payment_intent=paid.id, amount=1000))
    body = body_of(error)
    assert (error.http_status, body["param"], body.get("code")) == (400, "amount", None)
    assert body["message"] == "Refund amount (£10.00) is greater than unrefunded amount on charge (£7.00)"
    assert refund(shop, payment_intent=paid.id).amount == 700  # no amount: what is left
    assert book.refunded("order_1") == 2400


def test_only_what_was_captured(shop: Shop, book: Book) -> None:
    held = shop.confirm(shop.intent(capture_method="manual"))
    error = error_of(lambda: refund(shop, payment_intent=held.id))
    assert "does not have a successful charge to refund" in body_of(error)["message"]
    shop.client.v1.payment_intents.capture(held.id, {"amount_to_capture": 1000})
    assert "(£10.00)" in body_of(error_of(lambda: refund(shop, payment_intent=held.id, amount=1001)))["message"]
    assert refund(shop, payment_intent=held.id).amount == 1000
    assert charge_of(shop, held).refunded


def test_what_never_took_money_cannot_be_refunded(shop: Shop) -> None:
    intent = shop.intent()
    assert error_of(lambda: refund(shop, payment_intent=intent.id)).http_status == 400
    error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined"))
    failed = shop.client.v1.charges.list({"payment_intent": intent.id}).data[0]
    error = error_of(lambda: refund(shop, charge=failed.id))
    assert "does not have a successful charge to refund" in body_of(error)["message"]


@pytest.mark.parametrize(
    ("params", "status", "param", "code"),
    [
        ({}, 400, "payment_intent", "parameter_missing"),
        ({"payment_intent": "pi_nowhere"}, 404, "payment_intent", "resource_missing"),
        ({"charge": "ch_nowhere"}, 404, "charge", "resource_missing"),
        ({"charge": "ch_nowhere", "reason": "regret"}, 400, "reason", None),
        ({"charge": "ch_nowhere", "amount": 0}, 400, "amount", "parameter_invalid_integer"),
        ({"charge": "ch_nowhere", "currency": "gbp"}, 400, "currency", "parameter_unknown"),
    ],
)
def test_what_is_refused(shop: Shop, params: dict[str, Any], status: int, param: str, code: str | None) -> None:
    error = error_of(lambda: refund(shop, **params))
    assert (error.http_status, body_of(error)["param"], body_of(error).get("code")) == (status, param, code)


def test_a_charge_of_another_intent_is_refused(shop: Shop, paid: stripe.PaymentIntent) -> None:
    other = shop.paid("other")
    error = error_of(lambda: refund(shop, charge=paid.latest_charge, payment_intent=other.id))
    assert body_of(error)["param"] == "charge"


# Idempotency: as everywhere.


def test_one_key_one_refund(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    first = refund(shop, "refund-1", payment_intent=paid.id, amount=500)
    again = refund(shop, "refund-1", payment_intent=paid.id, amount=500)
    assert again.to_dict() == first.to_dict()
    assert again.last_response.headers["Idempotent-Replayed"] == "true"  # type: ignore[union-attr]
    error = error_of(lambda: refund(shop, "refund-1", payment_intent=paid.id, amount=600))
    assert (error.http_status, body_of(error)["type"]) == (400, "idempotency_error")
    assert book.refunded("order_1") == 500
    assert [each["idempotency_key"] for each in book.refunds()] == ["refund-1"]


def test_two_keys_two_partial_refunds(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    """The sandbox never saves a careless shop."""
    for key in ("a", "b"):
        refund(shop, key, payment_intent=paid.id, amount=500)
    assert book.refunded("order_1") == 1000


def test_a_refusal_is_kept_under_its_key(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    first = refund(shop, payment_intent=paid.id)
    assert error_of(lambda: refund(shop, "late", payment_intent=paid.id)).http_status == 400
    book.end_refund(first.id, "failed")
    again = error_of(lambda: refund(shop, "late", payment_intent=paid.id))
    assert body_of(again)["code"] == "charge_already_refunded"  # the historical answer
    assert refund(shop, "new", payment_intent=paid.id).status == "succeeded"


def test_twenty_at_once_refund_no_more_than_there_is(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    results = together(20, lambda number: refund(shop, f"k{number}", payment_intent=paid.id, amount=500))
    made = [each for each in results if isinstance(each, stripe.Refund)]
    assert len(made) == 4
    assert book.refunded("order_1") == 2000


def test_a_key_in_use_is_409(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    book.rule("hold", REFUND, hold="bank")
    thread = threading.Thread(target=lambda: refund(shop, "same", payment_intent=paid.id))
    thread.start()
    book.wait_until_held("bank")
    error = error_of(lambda: refund(shop, "same", payment_intent=paid.id))
    book.release("bank")
    thread.join()
    assert (error.http_status, body_of(error)["code"]) == (409, "idempotency_key_in_use")
    assert book.refunded("order_1") == 2400


def test_a_lost_answer_is_replayed(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    book.rule("reset", REFUND, when="after", metadata_order="order_1")
    error_of(lambda: refund(shop, "k", payment_intent=paid.id, amount=900))
    assert book.refunded("order_1") == 900
    assert refund(shop, "k", payment_intent=paid.id, amount=900).amount == 900
    assert book.refunded("order_1") == 900
    assert [(call["lost"], call["replayed"], call["order"]) for call in book.calls(path=REFUND)] == [
        (True, False, "order_1"),
        (False, True, "order_1"),
    ]


def test_a_stored_500_with_its_effect(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    book.rule("500", REFUND, when="after")
    for _ in range(2):
        assert error_of(lambda: refund(shop, "k", charge=paid.latest_charge)).http_status == 500
    assert book.refunded("order_1") == 2400


def test_refunds_of_one_payment_are_serial(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    book.rule("hold", REFUND, hold="bank")
    thread = threading.Thread(target=lambda: refund(shop, payment_intent=paid.id, amount=100))
    thread.start()
    book.wait_until_held("bank")
    error = error_of(lambda: refund(shop, charge=paid.latest_charge, amount=100))
    book.release("bank")
    thread.join()
    assert (error.http_status, body_of(error)["code"]) == (429, "lock_timeout")
    assert book.refunded("order_1") == 100


# Later.


def test_the_card_whose_refund_is_pending_first(shop: Shop, sink: Sink) -> None:
    paid = shop.confirm(shop.intent(), "pm_card_pendingRefund")
    made = refund(shop, payment_intent=paid.id, amount=1000)
    assert (made.status, made.pending_reason) == ("pending", "processing")
    assert charge_of(shop, paid).amount_refunded == 1000
    wait_for(lambda: shop.client.v1.refunds.retrieve(made.id).status == "succeeded")
    wait_for(lambda: {"refund.updated", "charge.refund.updated"} <= set(sink.types()))
    assert charge_of(shop, paid).amount_refunded == 1000
    event = next(event for event in sink.events() if event["type"] == "refund.updated")
    assert event["request"] == {"id": None, "idempotency_key": None}
    assert event["data"]["previous_attributes"] == {"status": "pending"}


def test_the_card_whose_refund_succeeds_and_fails_later(shop: Shop, sink: Sink) -> None:
    paid = shop.confirm(shop.intent(), "pm_card_refundFail")
    made = refund(shop, payment_intent=paid.id)
    assert (made.status, charge_of(shop, paid).refunded) == ("succeeded", True)
    wait_for(lambda: shop.client.v1.refunds.retrieve(made.id).status == "failed")
    failed = shop.client.v1.refunds.retrieve(made.id, {"expand": ["failure_balance_transaction"]})
    assert failed.failure_reason == "expired_or_canceled_card"
    assert isinstance(failed.failure_balance_transaction, stripe.BalanceTransaction)
    assert (failed.failure_balance_transaction.amount, failed.failure_balance_transaction.type) == (
        2400,
        "refund_failure",
    )
    charge = charge_of(shop, paid)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    wait_for(lambda: {"refund.failed", "charge.refund.updated"} <= set(sink.types()))


def test_a_rule_leaves_it_pending_until_told(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    book.rule("refund_pending", REFUND)
    made = refund(shop, payment_intent=paid.id)
    assert made.status == "pending"
    assert error_of(lambda: refund(shop, payment_intent=paid.id)).http_status == 400  # it counts already
    assert book.end_refund(made.id, "failed", "declined")["failure_reason"] == "declined"
    assert charge_of(shop, paid).amount_refunded == 0
    with pytest.raises(BookRefused):
        book.end_refund(made.id, "succeeded")
    assert refund(shop, payment_intent=paid.id).status == "succeeded"


def test_a_rule_lets_it_fail_at_once(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    book.rule("refund_failed", REFUND)
    made = refund(shop, payment_intent=paid.id)
    assert (made.status, made.failure_reason) == ("failed", "declined")
    assert charge_of(shop, paid).amount_refunded == 0
    assert "charge.refunded" not in {event["type"] for event in book.events(paid.id)}


def test_only_what_needs_action_can_be_canceled(shop: Shop, paid: stripe.PaymentIntent, book: Book) -> None:
    done = refund(shop, payment_intent=paid.id, amount=100)
    assert error_of(lambda: shop.client.v1.refunds.cancel(done.id)).http_status == 400
    book.rule("refund_requires_action", REFUND)
    waiting = refund(shop, payment_intent=paid.id, amount=100)
    assert waiting.status == "requires_action"
    canceled = shop.client.v1.refunds.cancel(waiting.id)
    assert (canceled.status, canceled.failure_reason) == ("canceled", "merchant_request")
    assert charge_of(shop, paid).amount_refunded == 100


# Reading and changing.


def test_metadata_is_all_that_changes(shop: Shop, paid: stripe.PaymentIntent) -> None:
    made = refund(shop, payment_intent=paid.id, metadata={"a": "1"})
    after = shop.client.v1.refunds.update(made.id, {"metadata": {"a": "", "b": "2"}})
    assert after.to_dict()["metadata"] == {"b": "2"}
    assert shop.client.v1.refunds.retrieve(made.id).to_dict()["metadata"] == {"b": "2"}
    error = error_of(lambda: shop.client.v1.refunds.update(made.id, {"amount": 1}))  # type: ignore[arg-type]
    assert body_of(error)["code"] == "parameter_unknown"
    assert error_of(lambda: shop.client.v1.refunds.retrieve("re_nowhere")).http_status == 404


def test_refunds_are_listed_by_intent_charge_and_time(shop: Shop, paid: stripe.PaymentIntent) -> None:
    made = [refund(shop, payment_intent=paid.id, amount=100).id for _ in range(3)][::-1]
    other = shop.paid("other")
    alone = refund(shop, payment_intent=other.id)
    listing = shop.client.v1.refunds.list
    assert [each.id for each in listing().data] == [alone.id, *made]
    assert [each.id for each in listing({"payment_intent": paid.id}).data] == made
    assert isinstance(other.latest_charge, str)
    assert [each.id for each in listing({"charge": other.latest_charge}).data] == [alone.id]
    page = listing({"payment_intent": paid.id, "limit": 2})
    assert ([each.id for each in page.data], page.has_more) == (made[:2], True)
    assert [each.id for each in page.auto_paging_iter()] == made
    assert listing({"created": {"gt": alone.created}}).data == []
    assert len(listing({"created": {"gte": paid.created}}).data) == 4
    assert error_of(lambda: listing({"payment_intent": "pi_nowhere"})).http_status == 404


def test_expansions(shop: Shop, paid: stripe.PaymentIntent) -> None:
    made = shop.client.v1.refunds.create(
        {"payment_intent": paid.id, "amount": 700, "expand": ["charge", "balance_transaction", "payment_intent"]}
    )
    assert isinstance(made.charge, stripe.Charge) and made.charge.amount_refunded == 700
    assert isinstance(made.balance_transaction, stripe.BalanceTransaction)
    assert (made.balance_transaction.amount, made.balance_transaction.type) == (-700, "refund")
    assert isinstance(made.payment_intent, stripe.PaymentIntent)
    intent = shop.client.v1.payment_intents.retrieve(paid.id, {"expand": ["latest_charge.refunds"]})
    assert isinstance(intent.latest_charge, stripe.Charge) and intent.latest_charge.refunds is not None
    assert [each.id for each in intent.latest_charge.refunds.data] == [made.id]
    assert "refunds" not in charge_of(shop, paid).to_dict()  # only when asked for


def test_each_refund_sends_its_events(shop: Shop, paid: stripe.PaymentIntent, sink: Sink) -> None:
    refund(shop, "press", payment_intent=paid.id, amount=700)
    wait_for(lambda: {"refund.created", "charge.refunded"} <= set(sink.types()))
    events = {event["type"]: event for event in sink.events()}
    assert events["refund.created"]["data"]["object"]["amount"] == 700
    assert events["charge.refunded"]["data"]["object"]["amount_refunded"] == 700
    assert events["charge.refunded"]["data"]["previous_attributes"]["amount_refunded"] == 0
    assert events["charge.refunded"]["request"]["idempotency_key"] == "press"


def test_a_refund_in_the_dashboard_has_no_key(shop: Shop, paid: stripe.PaymentIntent, book: Book, sink: Sink) -> None:
    assert isinstance(paid.latest_charge, str)
    made = book.dashboard_refund(paid.latest_charge, 900, reason="duplicate")
    assert (made["amount"], made["reason"], made["status"]) == (900, "duplicate", "succeeded")
    assert [each["idempotency_key"] for each in book.refunds("order_1")] == [None]
    assert shop.client.v1.refunds.list({"limit": 1}).data[0].id == made["id"]
    wait_for(lambda: "charge.refunded" in sink.types())
    event = next(event for event in sink.events() if event["type"] == "refund.created")
    assert event["request"]["id"].startswith("req_") and event["request"]["idempotency_key"] is None
    charge_id = paid.latest_charge
    assert book.dashboard_refund(charge_id)["amount"] == 1500
    with pytest.raises(BookRefused):
        book.dashboard_refund(charge_id)
