"""How an order ends: each move once, with its effects, in one transaction."""

from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from orders.ends import end_unpaid, hold_again, mark_paid, owe_mail, rotate_pay_key
from orders.models import Mail, Order
from shop.models import CartItem, Product
from tests.orders.making import make_cart, make_guest, make_order, make_product, minutes_ago, place, version_of

pytestmark = pytest.mark.django_db(transaction=True)

CLOSING: dict[str, Any] = {"closing_since": timezone.now(), "closing_by": "shopper", "closing_reason": "cancel"}


def locked(order: Order) -> Order:
    return Order.objects.select_for_update(no_key=True).get(pk=order.pk)


def test_paid_empties_the_cart_of_what_was_bought_owes_a_receipt_and_leaves_stock_alone():
    book, pen = make_product(stock=9), make_product(stock=9)
    cart = make_cart((book, 2))
    order = place(cart, make_guest()).order
    CartItem.objects.create(cart=cart, product=pen, quantity=1)  # added in another tab meanwhile
    Order.objects.update(**CLOSING)
    before, now = version_of(cart), timezone.now()

    with transaction.atomic():
        assert mark_paid(locked(order), now)
    with transaction.atomic():
        assert not mark_paid(locked(order), timezone.now())

    order.refresh_from_db()
    assert (order.status, order.paid_at, order.closing_since, order.closing_reason) == ("paid", now, None, "")
    assert [(i.product, i.quantity) for i in CartItem.objects.all()] == [(pen, 1)]
    assert version_of(cart) != before
    assert [(m.kind, m.state) for m in Mail.objects.all()] == [("receipt", "due")]
    assert Product.objects.get(pk=book.pk).stock == 7


def test_after_payment_the_same_goods_make_another_cart_version():
    product = make_product(stock=9)
    cart = make_cart((product, 1))
    order = place(cart, make_guest()).order
    before = version_of(cart)
    with transaction.atomic():
        mark_paid(locked(order), timezone.now())
    CartItem.objects.create(cart=cart, product=product, quantity=1)
    assert version_of(cart) != before


@pytest.mark.parametrize(("status", "mails"), [(Order.Status.CANCELED, ["canceled"]), (Order.Status.EXPIRED, [])])
def test_an_unpaid_end_returns_the_stock_once(status, mails):
    book, pen = make_product(stock=9), make_product(stock=5)
    order = make_order((book, 2), (pen, 1), **CLOSING)
    now = timezone.now()

    with transaction.atomic():
        mine = locked(order)
        assert end_unpaid(mine, status, now)
        assert mine.status == status  # the object in hand says the same as the row
    for again in Order.CLOSED:
        with transaction.atomic():
            assert not end_unpaid(locked(order), again, timezone.now())
    with transaction.atomic():
        assert not mark_paid(locked(order), timezone.now())

    order.refresh_from_db()
    assert (order.status, order.closed_at, order.closing_since, order.closing_by) == (status, now, None, "")
    assert [Product.objects.get(pk=p.pk).stock for p in (book, pen)] == [9, 5]
    assert [mail.kind for mail in Mail.objects.all()] == mails


def test_a_paid_order_never_ends_unpaid():
    order = make_order((make_product(stock=9), 2))
    with transaction.atomic():
        mark_paid(locked(order), timezone.now())
        assert not end_unpaid(locked(order), Order.Status.CANCELED, timezone.now())
    assert Product.objects.get().stock == 7
    assert [mail.kind for mail in Mail.objects.all()] == ["receipt"]


def test_a_stale_object_cannot_end_an_order_a_second_time():
    order = make_order((make_product(stock=9), 2))
    stale = Order.objects.get(pk=order.pk)
    with transaction.atomic():
        end_unpaid(locked(order), Order.Status.CANCELED, timezone.now())
    with transaction.atomic():
        assert not mark_paid(stale, timezone.now())
        assert not end_unpaid(stale, Order.Status.EXPIRED, timezone.now())
    order.refresh_from_db()
    assert order.status == "canceled"
    assert Product.objects.get().stock == 9


def test_what_the_caller_rolls_back_did_not_happen():
    order = make_order((make_product(stock=9), 2))
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - what is rolled back is the point
        mark_paid(locked(order), timezone.now())
        raise ZeroDivisionError
    order.refresh_from_db()
    assert order.status == "pending"
    assert CartItem.objects.count() == 1 and not Mail.objects.exists()


@pytest.mark.parametrize("act", [lambda o: mark_paid(o, o.placed_at), rotate_pay_key])
def test_ends_refuse_to_run_outside_a_transaction(act):
    with pytest.raises(RuntimeError, match="Bug!"):
        act(make_order())


@pytest.mark.parametrize("status", ["paid", "pending", "refunded"])
def test_an_unpaid_end_is_canceled_or_expired(status):
    order = make_order()
    with pytest.raises(ValueError, match="Bug!"), transaction.atomic():
        end_unpaid(order, status, timezone.now())


def test_a_new_pay_key_is_for_pending_orders_only():
    order = make_order()
    first = order.pay_key
    with transaction.atomic():
        second = rotate_pay_key(order)
    assert second != first and second.startswith("PAY_")
    Order.objects.update(status="paid", paid_at=timezone.now())
    with transaction.atomic():
        assert rotate_pay_key(order) == second
    order.refresh_from_db()
    assert order.pay_key == second


def test_a_decline_holds_the_goods_again_but_never_for_longer_than_two_hours_in_all():
    order = make_order()
    now = timezone.now()
    with transaction.atomic():
        hold_again(order, now)
    assert (order.expires_at - now).total_seconds() == 30 * 60
    Order.objects.update(placed_at=minutes_ago(110))
    order.refresh_from_db()
    with transaction.atomic():
        hold_again(order, now)
    order.refresh_from_db()
    assert order.expires_at >= now  # never shorter than promised before
    Order.objects.update(placed_at=minutes_ago(110), expires_at=minutes_ago(1))
    order.refresh_from_db()
    with transaction.atomic():
        hold_again(order, now)
    assert (order.expires_at - order.placed_at).total_seconds() == 2 * 3600


def test_at_most_one_mail_of_a_kind_is_owed():
    order = make_order()
    for _ in range(2):
        owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    assert Mail.objects.count() == 1
