"""RULES R9 and R10: keys and answers are kept for a week after the end, and then forgotten; rows never go."""

import datetime

import pytest
from django.utils import timezone

from orders.models import Order
from payments.models import Attempt
from payments.retention import forget_keys, kept_too_long
from tests.book import Book
from tests.orders.making import make_attempt, make_order
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

EIGHT_DAYS = datetime.timedelta(days=8)


def test_a_forgotten_key_is_a_new_request_and_still_cannot_charge_a_paid_order(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    assert press(client, order, key).status_code == 201
    Attempt.objects.filter(order=order).update(finished_at=timezone.now() - EIGHT_DAYS)
    Order.objects.filter(pk=order.pk).update(placed_at=timezone.now() - EIGHT_DAYS)
    assert forget_keys(batch=1) == 2
    attempt = Attempt.objects.get(order=order)
    assert (attempt.answer_body, attempt.answer_status, attempt.fingerprint) == (None, None, "")
    assert attempt.outcome == "succeeded"
    again = press(client, order, key)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/order-already-paid")
    assert len(book.succeeded(order.pk)) == 1
    assert forget_keys() == 0


def test_within_a_week_everything_is_kept(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    first = press(client, order, key)
    assert forget_keys() == 0
    assert press(client, order, key).content == first.content


def test_what_has_not_ended_is_never_forgotten_and_is_counted_for_staff() -> None:
    attempt = make_attempt(make_order(), "unknown", fingerprint="kept")
    Attempt.objects.filter(pk=attempt.pk).update(claimed_at=timezone.now() - EIGHT_DAYS)
    Order.objects.update(placed_at=timezone.now() - EIGHT_DAYS)
    assert forget_keys() == 0
    assert kept_too_long() == 1
    assert Attempt.objects.get().fingerprint == "kept"
