"""A refund fails after its goods went back on sale, and somebody has bought them: nothing is sold twice."""

from typing import Any

import pytest
from django.test import Client

from orders.admin import goods_in_words
from orders.fulfil import CannotFulfil, fulfil_order, why_not_fulfil
from orders.models import Order
from orders.place import place_order
from payments.breaks import resolve_break
from payments.models import Asker, Break
from payments.monitoring.alarms import break_page
from payments.refund import Ask, follow_refunds, refund_once
from shop.acts import Act
from shop.ids import new_id
from shop.models import Product, StockMovement
from shop.problems import Problem
from shop.stock import correct_stock, last_correction_id, stock_snapshot, subject_of
from tests.book import Book
from tests.orders.making import guest_client, make_cart, make_guest, make_order, make_product, wish_for
from tests.orders.test_fulfil import act_on, clerk
from tests.payments.paying import press
from tests.payments.planting import open_breaks, payment_of

pytestmark = pytest.mark.django_db(transaction=True)


def paid(*goods: tuple[Product, int]) -> Order:
    shopper = make_guest()
    order = make_order(*goods, shopper=shopper)
    assert press(guest_client(shopper=shopper), order).status_code == 201
    return now(order)


def now(order: Order) -> Order:
    return Order.objects.get(pk=order.pk)


def refund(order: Order) -> str:
    ask = Ask(new_id(), "x", order.total_minor, "requested_by_customer", None)
    return str(refund_once(payment_of(order), ask).outcome)


def fail_late(book: Book, order: Order) -> None:
    """The bank says after all that the refund did not arrive."""
    [good] = [one["id"] for one in book.refunds(order.pk) if one["status"] == "succeeded"]
    book.end_refund(good, "failed")
    follow_refunds(payment_of(order), Asker.WEBHOOK)


def stock(product: Product) -> int:
    return Product.objects.get(pk=product.pk).stock


def restock(product: Product, difference: int) -> None:
    act = Act(
        "correct stock", clerk(), subject_of(product), lambda: stock_snapshot(product.pk), form_key=new_id(), note="x"
    )
    correct_stock(product.pk, difference, act, last_correction_id(product))


def goods_break(order: Order) -> Break:
    return Break.objects.get(order=order, evidence__found_by="goods")


def sold_meanwhile(book: Book) -> tuple[Order, Product]:
    """The last piece went back on sale with its refund, was bought by somebody else, and then the refund failed."""
    product = make_product(stock=1)
    order = paid((product, 1))
    assert refund(order) == "succeeded"
    assert (now(order).status, stock(product)) == ("refunded", 1)
    paid((product, 1))
    fail_late(book, order)
    assert (now(order).status, stock(product)) == ("paid", 0)
    return now(order), product


def test_the_last_piece_is_not_sold_a_second_time_when_its_refund_failed_and_was_made_again(book: Book) -> None:
    order, product = sold_meanwhile(book)
    assert refund(order) == "succeeded"
    assert (now(order).status, stock(product)) == ("refunded", 0)
    with pytest.raises(Problem, match="none left"):
        place_order(wish_for(make_cart((product, 1)), make_guest()))


def test_however_often_the_refund_fails_and_is_made_again_no_piece_comes_of_it(book: Book) -> None:
    order, product = sold_meanwhile(book)
    for _ in range(3):
        assert refund(order) == "succeeded"
        fail_late(book, order)
    assert stock(product) == 0
    assert [found for found in open_breaks() if found[1].startswith("goods:")] == [("status", f"goods:{order.pk}")]


def test_one_short_line_puts_none_of_the_others_on_sale_twice(book: Book) -> None:
    short, plenty = make_product(stock=1), make_product(stock=10)
    order = paid((short, 1), (plenty, 3))
    assert refund(order) == "succeeded"
    paid((short, 1))
    fail_late(book, order)
    assert refund(now(order)) == "succeeded"
    assert (stock(short), stock(plenty)) == (0, 10)


def test_while_the_goods_are_there_the_order_takes_them_again_and_nobody_is_asked(book: Book) -> None:
    product = make_product(stock=2)
    order = paid((product, 1))
    assert refund(order) == "succeeded"
    fail_late(book, order)
    assert (now(order).status, stock(product), order.lines.get().held) == ("paid", 1, 1)
    assert not Break.objects.filter(evidence__found_by="goods").exists()


def test_staff_see_that_the_goods_were_sold_meanwhile_and_what_to_do(book: Book) -> None:
    order, product = sold_meanwhile(book)
    found = goods_break(order)
    assert (found.kind, found.payment, found.resolved_at) == ("status", payment_of(order), None)
    assert found.amount_minor == order.total_minor
    assert f"{product.sku}: 0 there, 1 needed" in found.proposal and "Refund the shopper again" in found.proposal
    assert break_page(found.kind, found.found_by) == "refund-failed"


def test_refunding_in_full_again_resolves_it(book: Book) -> None:
    order, _ = sold_meanwhile(book)
    assert refund(order) == "succeeded"
    assert goods_break(order).resolved_by == "refund"
    assert open_breaks() == []


def accept_the_failed_refund(order: Order) -> None:
    """The shopper wants the goods after all, says the person who resolves it."""
    found = Break.objects.get(order=order, evidence__found_by="refund", resolved_at=None)
    act = Act("resolve break", clerk(), f"break {found.pk}", dict, order.pk, form_key=new_id())
    assert resolve_break(found.pk, "they want the goods", act)


def test_an_order_without_its_goods_is_not_fulfilled_until_the_shelf_has_them(book: Book) -> None:
    order, product = sold_meanwhile(book)
    accept_the_failed_refund(order)
    said = f"It does not hold its goods, and there are too few to take them ({product.sku}: 0 there, 1 needed)"
    assert why_not_fulfil(order).startswith(said)
    with pytest.raises(CannotFulfil):
        fulfil_order(order.pk, act_on(order))
    assert (now(order).status, goods_in_words(order)) == (
        "paid",
        f"Not held: they went back on sale. {product.sku}: 0 there, 1 needed",
    )

    restock(product, +1)
    assert why_not_fulfil(order) == ""
    assert goods_in_words(order) == "Not held: they went back on sale. Fulfilling takes them again"
    fulfil_order(order.pk, act_on(order))
    assert (now(order).status, stock(product), goods_in_words(now(order))) == ("fulfilled", 0, "Sent")
    assert goods_break(order).resolved_by == "goods"
    kinds = StockMovement.objects.filter(order_id=order.pk).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["placed", "returned", "taken", "sent"]


def test_goods_bought_between_the_look_and_the_act_are_not_sent(book: Book, monkeypatch: Any) -> None:
    order, product = sold_meanwhile(book)
    accept_the_failed_refund(order)
    monkeypatch.setattr("orders.fulfil.why_not_fulfil", lambda order: "")
    with pytest.raises(CannotFulfil, match="does not hold its goods"):
        fulfil_order(order.pk, act_on(order))
    assert (now(order).status, stock(product)) == ("paid", 0)


def test_the_orders_page_says_whether_its_lines_hold_their_goods(book: Book, admin_client: Client) -> None:
    order, _ = sold_meanwhile(book)
    other = paid((make_product(stock=3), 2))
    page = admin_client.get(f"/admin/orders/order/{order.pk}/change/").content.decode()
    assert "Not held: they went back on sale" in page and '<td class="number">0</td>' in page
    page = admin_client.get(f"/admin/orders/order/{other.pk}/change/").content.decode()
    assert '<th scope="row">Goods</th><td>Held</td>' in page


def test_a_refund_of_what_was_sent_that_fails_late_takes_nothing_and_asks_nobody_about_goods(book: Book) -> None:
    product = make_product(stock=2)
    order = paid((product, 1))
    fulfil_order(order.pk, act_on(order))
    assert refund(order) == "succeeded"
    fail_late(book, order)
    assert (now(order).status, stock(product)) == ("fulfilled", 1)
    assert not Break.objects.filter(evidence__found_by="goods").exists()


def test_a_piece_that_staff_put_on_the_shelf_is_sold_to_whoever_comes_next(book: Book) -> None:
    """The control: not every third shopper is turned away."""
    order, product = sold_meanwhile(book)
    assert refund(order) == "succeeded"
    restock(product, +1)
    assert paid((product, 1)).status == "paid"
    assert stock(product) == 0
