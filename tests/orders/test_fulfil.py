"""Fulfil: once, by staff, and only while the order's money is ours to keep."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from orders import ends
from orders.fulfil import CannotFulfil, fulfil_order, money_under_way, why_not_fulfil
from orders.models import Order
from payments import refund as refund_module
from payments.breaks import Difference, open_break
from payments.models import Break, Dispute, Payment
from shop.acts import Act, DoneAlready, StaleForm, Who, version_of
from shop.ids import new_id
from shop.models import Product, StaffAct
from tests.book import Book
from tests.orders.making import make_order
from tests.payments.paying import placed_order, press
from tests.payments.planting import refund_row
from tests.races.crowd import at_once, run_before

pytestmark = pytest.mark.django_db(transaction=True)


def paid(**fields: Any) -> Order:
    """An order whose money is here, as rows."""
    order = make_order(status="paid", paid_at=timezone.now(), **fields)
    Payment.objects.create(
        order=order,
        n=1,
        idempotency_key=new_id(),
        create_params={},
        intent_id=f"pi_{order.pk}",
        phase="succeeded",
        amount_minor=order.total_minor,
        captured_minor=order.total_minor,
        currency=order.currency,
    )
    return order


def clerk() -> Who:
    user, _ = User.objects.get_or_create(username="clara", defaults={"is_staff": True})
    return Who(user, "192.0.2.7", "a browser")


def act_on(order: Order, **fields: Any) -> Act:
    defaults: dict[str, Any] = {"form_key": new_id(), "who": clerk()}
    return Act(
        name="fulfil",
        subject=f"order {order.number}",
        order_id=order.pk,
        snapshot=lambda: money_under_way(Order.objects.get(pk=order.pk)),
        **defaults | fields,
    )


def refund(order: Order, outcome: str, amount_minor: int | None = None) -> None:
    refund_row(
        payment=order.payments.get(),
        idempotency_key=new_id(),
        fingerprint="x",
        amount_minor=amount_minor or order.total_minor,
        currency=order.currency,
        reason="duplicate",
        outcome=outcome,
    )


def dispute(order: Order, status: str) -> None:
    Dispute.objects.create(
        payment=order.payments.get(),
        dispute_id="du_1",
        amount_minor=order.total_minor,
        currency=order.currency,
        status=status,
        opened_at=timezone.now(),
    )


def broken(order: Order, **fields: Any) -> None:
    found = open_break(Difference(Break.Kind.AMOUNT, "pi_1", order, None, 1, "GBP", "look"))
    Break.objects.filter(pk=found.pk).update(kind=found.kind, **fields)


def test_a_paid_order_is_fulfilled_with_its_audit_row():
    order = paid()
    fulfil_order(order.pk, act_on(order, note="parcel 12"))
    order.refresh_from_db()
    assert order.status == "fulfilled" and order.fulfilled_at is not None
    row = StaffAct.objects.get()
    assert (row.act, row.order_id, row.note, row.actor_name) == ("fulfil", order.pk, "parcel 12", "clara")
    assert (row.before["order"], row.after["order"]) == ("paid", "fulfilled")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda order: Order.objects.update(status="pending"), "not paid"),
        (lambda order: Order.objects.update(status="canceled"), "canceled"),
        (lambda order: Order.objects.update(status="expired"), "expired"),
        (lambda order: Order.objects.update(status="refunded"), "gone back"),
        (lambda order: Order.objects.update(status="fulfilled"), "already"),
        (lambda order: Order.objects.update(closing_since=timezone.now(), closing_reason="cancel"), "given up"),
        (lambda order: dispute(order, "needs_response"), "disputed"),
        (lambda order: dispute(order, "lost"), "disputed"),
        (lambda order: refund(order, "unknown"), "going back"),
        (lambda order: refund(order, "pending"), "going back"),
        (lambda order: refund(order, ""), "going back"),
        (broken, "open break"),
    ],
)
def test_an_order_whose_money_is_in_doubt_is_not_fulfilled(spoil, said):
    order = paid()
    spoil(order)
    before = Order.objects.values().get(pk=order.pk)
    with pytest.raises(CannotFulfil, match=said):
        fulfil_order(order.pk, act_on(order))
    assert Order.objects.values().get(pk=order.pk) == before
    assert not StaffAct.objects.exists()


@pytest.mark.parametrize(
    "harmless",
    [
        lambda order: dispute(order, "won"),
        lambda order: refund(order, "failed"),
        lambda order: refund(order, "succeeded", 1),
        lambda order: broken(order, resolved_at=timezone.now()),
    ],
)
def test_what_is_over_or_small_holds_no_parcel_back(harmless):
    order = paid()
    harmless(order)
    assert why_not_fulfil(Order.objects.get(pk=order.pk)) == ""
    fulfil_order(order.pk, act_on(order))


def test_a_double_click_fulfils_once_and_a_stale_form_not_at_all():
    order = paid()
    seen = version_of(money_under_way(order))
    act = act_on(order, expected=seen)
    fulfil_order(order.pk, act)
    with pytest.raises(DoneAlready):
        fulfil_order(order.pk, act)
    other = paid()
    seen = version_of(money_under_way(other))
    refund(other, "succeeded", 1)
    with pytest.raises(StaleForm):
        fulfil_order(other.pk, act_on(other, expected=seen))
    assert Order.objects.get(pk=other.pk).status == "paid"
    assert StaffAct.objects.count() == 1


def test_no_audit_row_means_not_fulfilled():
    order = paid()
    act = act_on(order, who=Who(clerk().user, None, "x" * 300))  # too long for its column
    with pytest.raises(Exception, match="too long"):
        fulfil_order(order.pk, act)
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_many_clerks_fulfil_an_order_once():
    order = paid()
    clerk()

    def fulfil(number: int) -> str:
        try:
            fulfil_order(order.pk, act_on(order))
        except CannotFulfil as refused:
            return str(refused)
        return "done"

    said = at_once(8, fulfil)
    assert said.count("done") == 1 and said.count("It is fulfilled already.") == 7
    assert StaffAct.objects.count() == 1


# --- Fulfilling and giving the money back -----------------------------------------------------------------------------


def paid_at_stripe() -> Order:
    order, client = placed_order(stock=10)
    assert press(client, order).status_code == 201
    order.refresh_from_db()
    return order


def give_back(order: Order) -> str:
    return refund_module.refund_once(
        order.payments.get(), refund_module.Ask(new_id(), "x", order.total_minor, "duplicate", None)
    ).outcome


def try_to_fulfil(order: Order) -> str:
    try:
        fulfil_order(order.pk, act_on(order))
    except CannotFulfil as refused:
        return str(refused)
    return "done"


def stock_of(order: Order) -> int:
    return Product.objects.get(pk=order.lines.get().product_id).stock


@pytest.mark.parametrize("round_", range(5))
def test_fulfilling_and_refunding_at_once_happen_in_one_order_or_the_other(book: Book, round_):
    order = paid_at_stripe()
    clerk()
    said = at_once(2, lambda number: (try_to_fulfil, give_back)[number](order))
    order.refresh_from_db()
    assert order.status == "refunded" and said[1] == "succeeded"  # the money always goes back
    if said[0] == "done":
        assert order.fulfilled_at is not None and stock_of(order) == 9  # it had left the house by then
    else:
        assert order.fulfilled_at is None and stock_of(order) == 10
        assert said[0] in ("All of its money is going back.", "Its money has gone back.")


def test_nothing_is_fulfilled_while_the_refund_is_on_its_way_to_stripe(book: Book, monkeypatch):
    order = paid_at_stripe()
    said = run_before(monkeypatch, refund_module, "_send", lambda: try_to_fulfil(order))
    assert give_back(order) == "succeeded"
    assert said == ["All of its money is going back."]
    order.refresh_from_db()
    assert (order.status, order.fulfilled_at, stock_of(order)) == ("refunded", None, 10)


def test_a_refund_after_fulfilling_leaves_the_stock(book: Book):
    order = paid_at_stripe()
    assert try_to_fulfil(order) == "done"
    assert give_back(order) == "succeeded"
    order.refresh_from_db()
    assert (order.status, stock_of(order)) == ("refunded", 9)


def test_a_failed_refund_of_what_has_left_the_house_neither_holds_goods_nor_sends_them_again():
    order = paid()
    fulfil_order(order.pk, act_on(order))
    stock = stock_of(order)
    with transaction.atomic():
        locked = Order.objects.select_for_update().get(pk=order.pk)
        assert ends.refund_whole(locked, timezone.now())
        assert ends.refund_undone(locked)
    order.refresh_from_db()
    assert (order.status, order.closed_at, stock_of(order)) == ("fulfilled", None, stock)


def test_the_shopper_sees_that_the_parcel_is_on_its_way(book: Book):
    order, client = placed_order()
    press(client, order)
    assert try_to_fulfil(order) == "done"
    assert "Your parcel is on its way" in client.get(f"/orders/{order.pk}/").content.decode()
    assert client.get(f"/api/orders/{order.pk}/").json()["status"] == "fulfilled"
    assert client.get(f"/api/orders/{order.pk}/payment-status/").json()["order_status"] == "fulfilled"
    assert press(client, order, key=new_id()).json()["type"] == "/problems/order-already-paid"
