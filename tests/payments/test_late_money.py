"""Money that arrives after its order was given up: the goods go out if they are still here, else it goes back, once."""

import pytest
from django.test import Client

from orders.models import Mail, Order
from payments.complete import ask_stripe, complete_due
from payments.models import Asker, Break, Payment, Refund
from shop.models import Product
from tests.book import CONFIRM, Book
from tests.orders.making import make_order, make_product
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)


def _charged_after_it_ended(book: Book, status: str) -> tuple[Order, Client]:
    """As after a fail-over that lost the claim: Stripe has the charge, and the order has ended meanwhile."""
    order, client = placed_order(stock=5)
    book.rule("reset", path=CONFIRM, when="after", times=4)
    assert press(client, order).status_code == 202
    Order.objects.filter(pk=order.pk).update(status=status)
    Product.objects.update(stock=5)
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
