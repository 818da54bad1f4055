"""A press of Pay through the API, against the real sandbox: RULES R24 and the answers of DESIGN section 8."""

import pytest

from orders.models import Mail, Order
from payments.models import Attempt, Payment
from tests.book import Book
from tests.payments.paying import placed_order, press, status_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_good_card_pays_once(book: Book) -> None:
    order, client = placed_order()
    answer = press(client, order)
    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert body["status"] == "succeeded"
    assert body["amount"] == order.total_minor
    assert body["receipt_url"] == f"/orders/{order.pk}/"
    assert body["next_action"] is None
    assert len(book.succeeded(order.pk)) == 1
    order.refresh_from_db()
    assert order.status == Order.Status.PAID
    payment = Payment.objects.get(order=order)
    assert (payment.phase, payment.captured_minor, payment.card_last4) == ("succeeded", order.total_minor, "4242")
    assert Mail.objects.filter(order=order, kind="receipt").count() == 1


def test_the_same_press_again_replays_the_same_bytes(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    first, second = press(client, order, key), press(client, order, key)
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert len(book.succeeded(order.pk)) == 1
    assert Attempt.objects.filter(order=order).count() == 1


def test_a_declined_card_gives_a_reason_and_the_next_key(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    answer = press(client, order, key, token="pm_card_chargeDeclinedInsufficientFunds")
    assert answer.status_code == 402, answer.content
    assert answer.json()["type"] == "/problems/card-declined"
    assert answer.json()["reason"] == "insufficient-funds"
    order.refresh_from_db()
    assert answer.json()["pay_key"] == order.pay_key != key
    assert book.succeeded(order.pk) == []
    assert press(client, order, key, token="pm_card_chargeDeclinedInsufficientFunds").content == answer.content
    paid = press(client, order)
    assert paid.status_code == 201
    assert len(book.succeeded(order.pk)) == 1
    assert len(book.intents(order.pk)) == 1


def test_a_challenge_is_offered_and_paid_after_it_is_passed(book: Book) -> None:
    order, client = placed_order()
    answer = press(client, order, token="pm_card_threeDSecure2Required")
    assert answer.status_code == 202, answer.content
    assert answer.json()["status"] == "requires_action"
    assert answer.json()["next_action"]["type"] == "redirect_to_url"
    assert status_of(client, order)["pay_key"] is None
    other = press(client, order, key="another-key")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/payment-in-progress")
    assert book.succeeded(order.pk) == []
