"""Money that arrives after its order was given up: the goods go out if they are still here, else it goes back, once."""

import datetime

import pytest
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.models import Asker, Break, Heartbeat, Payment, Refund
from payments.reconciliation.recovery import ask_stripe, complete_due
from payments.refund import follow_refunds
from shop.models import Product
from tests.book import CONFIRM, Book
from tests.orders.making import give_up, make_order, make_product
from tests.payments.paying import placed_order, press
from tests.payments.planting import swept

pytestmark = pytest.mark.django_db(transaction=True)


def _charged_after_it_ended(book: Book, status: str) -> tuple[Order, Client]:
    """As after a fail-over that lost the claim: Stripe has the charge, and the order has ended meanwhile."""
    order, client = placed_order(stock=5)
    book.rule("reset", path=CONFIRM, when="after", times=4)
    assert press(client, order).status_code == 202
    give_up(order, status)
    assert Product.objects.get().stock == 5
    return order, client


@pytest.mark.parametrize("status", ["canceled", "expired"])
def test_the_order_is_revived_while_the_goods_are_there(book: Book, status: str) -> None:
    order, _ = _charged_after_it_ended(book, status)
    for _ in range(3):
        ask_stripe(order, Asker.WEBHOOK)
    order.refresh_from_db()
    assert order.status == "paid"
    assert Product.objects.get().stock == 4
    assert set(Mail.objects.values_list("kind", flat=True)) == {"receipt", "late-money"}
    assert Refund.objects.count() == 0
    assert Break.objects.count() == 0


def test_without_the_goods_the_money_goes_back_once(book: Book) -> None:
    order, _ = _charged_after_it_ended(book, "expired")
    Product.objects.update(stock=0)
    for _ in range(3):
        ask_stripe(order, Asker.WEBHOOK)
        complete_due(Asker.COMPLETER)
    order.refresh_from_db()
    payment = Payment.objects.get(order=order)
    assert order.status == "expired"
    assert (payment.captured_minor, payment.refunded_minor) == (order.total_minor, order.total_minor)
    assert [refund["amount"] for refund in book.refunds(order.pk)] == [order.total_minor]
    assert Product.objects.get().stock == 0
    assert Break.objects.filter(kind="status", order=order).count() == 1
    assert Mail.objects.filter(kind="receipt").count() == 0
    assert Mail.objects.filter(kind="late-money").count() == 1


def test_a_cart_that_was_placed_again_meanwhile_is_not_sold_twice(book: Book) -> None:
    order, _ = _charged_after_it_ended(book, "expired")
    again = make_order((make_product(), 1))
    Order.objects.filter(pk=again.pk).update(cart=order.cart, cart_version=order.cart_version)
    ask_stripe(order, Asker.WEBHOOK)
    complete_due(Asker.COMPLETER)
    order.refresh_from_db()
    assert order.status == "expired"
    assert len(book.refunds(order.pk)) == 1
    assert Product.objects.get(pk=order.lines.get().product_id).stock == 5


def _health() -> tuple[int, int]:
    """Status of /healthz/payments, and how many breaks it counts."""
    Heartbeat.objects.update(beat_at=timezone.now())
    answer = Client().get("/healthz/payments")
    return answer.status_code, answer.json()["open_breaks"]


def _late_order(book: Book) -> tuple[Order, Payment]:
    """The money has come, the goods are gone, the refund is due and not made yet."""
    order, _ = _charged_after_it_ended(book, "expired")
    Product.objects.update(stock=0)
    book.clear_rules()
    ask_stripe(order, Asker.WEBHOOK)
    return order, Payment.objects.get(order=order)


def test_its_break_closes_by_rule_when_all_of_the_money_has_gone_back(book: Book) -> None:
    _, payment = _late_order(book)
    assert _health() == (503, 1)
    swept()
    assert _health() == (503, 1)  # a look at Stripe's book cannot tell
    complete_due(Asker.COMPLETER)
    found = Break.objects.get()
    assert (found.subject, found.resolved_by) == (payment.intent_id, "refund")
    assert _health() == (200, 0)


def test_its_break_stays_open_while_its_refund_is_not_known(book: Book) -> None:
    _late_order(book)
    book.rule("reset", path="/v1/refunds", when="after", times=None)
    complete_due(Asker.COMPLETER)
    assert Refund.objects.get().outcome == "unknown"
    assert _health() == (503, 1)
    book.clear_rules()
    Refund.objects.update(next_look_at=timezone.now() - datetime.timedelta(seconds=1))
    complete_due(Asker.COMPLETER)
    assert _health() == (200, 0)


def test_a_refund_that_fails_after_it_had_succeeded_is_a_break_until_the_sum_is_whole_again(book: Book) -> None:
    order, payment = _late_order(book)
    complete_due(Asker.COMPLETER)
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    follow_refunds(payment, Asker.WEBHOOK)
    assert _health() == (503, 1)
    charge = book.succeeded(order.pk)[0]["id"]
    book.dashboard_refund(charge, payment.amount_minor - 1)
    follow_refunds(payment, Asker.WEBHOOK)
    assert _health() == (503, 1)
    book.dashboard_refund(charge, 1)
    follow_refunds(payment, Asker.WEBHOOK)
    assert _health() == (200, 0)
    assert Break.objects.filter(resolved_by="refund").count() == 2


def test_a_refund_that_is_refused_because_the_dashboard_made_it_leaves_no_break(book: Book) -> None:
    order, payment = _late_order(book)
    book.dashboard_refund(book.succeeded(order.pk)[0]["id"])
    follow_refunds(payment, Asker.WEBHOOK)
    complete_due(Asker.COMPLETER)
    assert sorted(Refund.objects.values_list("outcome", flat=True)) == ["failed", "succeeded"]
    assert _health() == (200, 0)
    assert book.refunded(order.pk) == payment.amount_minor
