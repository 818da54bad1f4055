"""Placing an order: what it freezes, holds and refuses; one request at a time. The races are in tests/races."""

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from orders import place as placing
from orders.ends import end_unpaid, mark_paid
from orders.models import Mail, Order
from orders.ownership import Shopper
from orders.place import How, place_order
from shop.models import Product
from shop.problems import Problem
from tests.orders.making import (
    CONTACT,
    fill,
    make_attempt,
    make_cart,
    make_guest,
    make_product,
    minutes_ago,
    place,
    version_of,
    wish_for,
)

pytestmark = pytest.mark.django_db(transaction=True)


def settle(order: Order) -> None:
    """Paid, as settle will do it."""
    from django.db import transaction
    from django.utils import timezone

    with transaction.atomic():
        assert mark_paid(Order.objects.select_for_update(no_key=True).get(pk=order.pk), timezone.now())


def refused(*args, **kwargs) -> Problem:
    before = (Order.objects.count(), list(Product.objects.order_by("pk").values_list("stock", flat=True)))
    with pytest.raises(Problem) as raised:
        place(*args, **kwargs)
    after = (Order.objects.count(), list(Product.objects.order_by("pk").values_list("stock", flat=True)))
    assert after == before  # a refusal writes nothing and holds nothing
    return raised.value


def test_placing_freezes_lines_prices_and_total_and_holds_the_stock():
    pen, book = make_product(price_minor=300, stock=5), make_product(price_minor=1250, stock=9)
    cart = make_cart((book, 2), (pen, 1))

    placed = place(cart)

    Product.objects.update(price_minor=1, name="Something else")
    order = Order.objects.get()
    assert placed.how is How.NEW and placed.order == order
    assert (order.total_minor, order.currency, order.status) == (2800, "GBP", "pending")
    lines = [(line.sku, line.name, line.quantity, line.price_minor, line.total_minor) for line in order.lines.all()]
    assert lines == [(pen.sku, pen.name, 1, 300, 300), (book.sku, book.name, 2, 1250, 2500)]
    assert [Product.objects.get(pk=p.pk).stock for p in (pen, book)] == [4, 7]
    assert (order.expires_at - order.placed_at).total_seconds() == pytest.approx(30 * 60, abs=1)
    assert not Mail.objects.exists()


def test_the_same_key_finds_its_order_whatever_has_become_of_it():
    cart, guest = make_cart((make_product(stock=3), 1)), make_guest()
    wish = wish_for(cart, guest)
    first = place_order(wish).order
    settle(first)

    again = place_order(wish)

    assert (again.how, again.order.pk, again.order.status) == (How.REPLAY, first.pk, "paid")
    assert Order.objects.count() == 1
    assert Product.objects.get().stock == 2


def test_the_same_key_with_another_body_is_refused():
    cart, guest = make_cart((make_product(), 1)), make_guest()
    place(cart, guest, key="K1")
    assert refused(cart, guest, key="K1", again=True).name == "idempotency-key-reused"


def test_a_key_of_the_guest_is_found_after_log_in():
    cart, guest = make_cart((make_product(), 1)), make_guest()
    wish = wish_for(cart, guest)
    first = place_order(wish).order
    user = User.objects.create_user("ada")

    logged_in = Shopper(user.pk, guest.guest_id)
    found = place_order(wish_for(cart, logged_in, key=wish.key))

    assert (found.how, found.order) == (How.REPLAY, first)


def test_nobody_meets_anothers_key():
    cart = make_cart((make_product(), 1))
    place(cart, make_guest(), key="K1")

    mine = place(make_cart((make_product(), 1)), make_guest(), key="K1")

    assert mine.how is How.NEW
    assert Order.objects.count() == 2


def test_another_key_with_the_same_cart_gets_the_same_order():
    product = make_product(stock=5)
    cart, guest = make_cart((product, 2)), make_guest()
    first = place(cart, guest)

    second = place(cart, guest)

    assert (second.how, second.order) == (How.SAME_CART, first.order)
    assert Order.objects.count() == 1
    assert Product.objects.get().stock == 3


def test_the_same_cart_to_another_address_is_another_order_and_the_first_must_be_canceled():
    cart, guest = make_cart((make_product(), 2)), make_guest()
    first = place(cart, guest).order
    elsewhere = placing.Contact.of(first)
    elsewhere = placing.Contact(**{**elsewhere.__dict__, "line1": "2 Low Road"})

    problem = refused(cart, guest, contact=elsewhere)

    assert (problem.name, problem.extra["order"]) == ("order-open", first.pk)


def test_another_version_of_a_cart_that_waits_for_payment_is_order_open():
    product = make_product()
    cart, guest = make_cart((product, 2)), make_guest()
    first = place(cart, guest).order
    fill(cart, (product, 3))

    problem = refused(cart, guest)

    assert (problem.name, problem.extra["order"]) == ("order-open", first.pk)
    assert problem.extra["links"]["cancel"] == f"/api/orders/{first.pk}/cancel/"


@pytest.mark.parametrize("outcome", ["", "unknown", "processing", "requires_action", "succeeded"])
def test_a_cart_whose_order_is_being_paid_is_payment_in_progress(outcome):
    product = make_product()
    cart, guest = make_cart((product, 2)), make_guest()
    first = place(cart, guest).order
    make_attempt(first, outcome)

    assert refused(cart, guest).name == "payment-in-progress"
    fill(cart, (product, 3))
    problem = refused(cart, guest)
    assert (problem.name, problem.extra["order"]) == ("payment-in-progress", first.pk)
    assert problem.extra["payment_status"] == (outcome or "confirming")


@pytest.mark.parametrize("outcome", ["declined", "failed", "canceled", "released"])
def test_after_a_definite_no_the_same_cart_is_still_the_same_order(outcome):
    cart, guest = make_cart((make_product(), 2)), make_guest()
    first = place(cart, guest).order
    make_attempt(first, outcome)

    assert place(cart, guest).order == first


def test_an_order_that_is_being_given_up_is_waited_for():
    cart, guest = make_cart((make_product(), 1)), make_guest()
    first = place(cart, guest).order
    Order.objects.update(closing_since=minutes_ago(0))

    problem = refused(cart, guest)
    assert (problem.name, problem.extra["order"]) == ("payment-in-progress", first.pk)


def test_after_cancel_the_same_cart_makes_a_new_order():
    from django.db import transaction
    from django.utils import timezone

    cart, guest = make_cart((make_product(stock=1), 1)), make_guest()
    first = place(cart, guest).order
    with transaction.atomic():
        end_unpaid(first, Order.Status.CANCELED, timezone.now())

    second = place(cart, guest)

    assert second.how is How.NEW and second.order != first
    assert Product.objects.get().stock == 0


def test_a_stale_tab_of_a_paid_cart_is_told_that_it_is_paid():
    cart, guest = make_cart((make_product(), 1)), make_guest()
    stale = version_of(cart)
    first = place(cart, guest).order
    settle(first)

    problem = refused(cart, guest, cart_version=stale)

    assert (problem.name, problem.extra["order"]) == ("order-already-paid", first.pk)


def test_an_order_of_a_cart_that_log_in_joined_to_this_one_still_counts():
    guest = make_guest()
    older = make_cart((make_product(), 1))
    first = place(older, guest).order
    cart = make_cart((make_product(), 1))
    older.items.all().delete()
    type(older).objects.filter(pk=older.pk).update(merged_into=cart)

    assert refused(cart, guest).extra["order"] == first.pk


# --- The cart is not what was seen ---


def test_a_price_that_changed_meanwhile_is_refused_with_the_new_total():
    product = make_product(price_minor=1000)
    cart = make_cart((product, 3))
    seen = version_of(cart)
    Product.objects.update(price_minor=1100)

    problem = refused(cart, cart_version=seen)

    assert problem.name == "cart-changed"
    assert problem.extra == {"total": 3300, "currency": "GBP", "version": version_of(cart)}


def test_an_empty_cart_places_nothing():
    assert refused(make_cart(), cart_version="x").name == "cart-empty"


def test_no_cart_places_nothing():
    wish = placing.Wish(None, "K", make_guest(), CONTACT, "x")
    with pytest.raises(Problem) as raised:
        place_order(wish)
    assert raised.value.name == "cart-empty"


@pytest.mark.parametrize(("currency", "least"), [("GBP", 30), ("EUR", 50), ("JPY", 50), ("KWD", 150)])
def test_a_total_below_the_smallest_charge_is_refused(currency, least):
    small = make_product(price_minor=least - 1, currency=currency)
    enough = make_product(price_minor=least, currency=currency)
    assert refused(make_cart((small, 1))).name == "amount-too-small"
    assert place(make_cart((enough, 1))).how is How.NEW


# --- Stock ---


def test_every_short_line_is_named_and_nothing_is_held():
    plenty, few, none = make_product(stock=9), make_product(stock=1), make_product(stock=0)
    problem = refused(make_cart((plenty, 1), (few, 2), (none, 3)))
    assert problem.name == "out-of-stock"
    assert [(line["sku"], line["requested"], line["available"]) for line in problem.extra["lines"]] == [
        (few.sku, 2, 1),
        (none.sku, 3, 0),
    ]


def test_stock_is_updated_last_and_in_product_id_order():
    second, first = make_product(), make_product()
    cart = make_cart((first, 1), (second, 1))
    wish = wish_for(cart, make_guest())
    with CaptureQueriesContext(
        connection,
    ) as asked:
        place_order(wish)
    statements = [query["sql"] for query in asked if query["sql"] not in ("BEGIN", "COMMIT")]
    *_, one, other, movements = statements
    updates = [one, other]
    assert movements.startswith('INSERT INTO "shop_stockmovement"')
    assert all(sql.startswith('UPDATE "shop_product" SET "stock" = ("shop_product"."stock" - 1)') for sql in updates)
    assert f"= {second.pk}" in updates[0] and f"= {first.pk}" in updates[1]
    assert sum("FOR NO KEY UPDATE" in sql and "shop_cart" in sql for sql in statements) == 1


def test_placing_two_lines_takes_twelve_statements():
    cart = make_cart((make_product(), 1), (make_product(), 1))
    wish = wish_for(cart, make_guest())
    with CaptureQueriesContext(connection) as asked:
        place_order(wish)
    statements = [query["sql"] for query in asked if query["sql"] not in ("BEGIN", "COMMIT")]
    # key, cart locked, key, version, lines, open order, bought just now, order, lines, stock, stock, movements
    assert len(statements) == 12


def test_a_replay_is_one_statement_and_no_write():
    cart, guest = make_cart((make_product(), 1)), make_guest()
    wish = wish_for(cart, guest)
    place_order(wish)
    with CaptureQueriesContext(connection) as asked:
        place_order(wish)
    assert len(asked) == 1
    assert asked[0]["sql"].startswith("SELECT")


# --- Bought just now (FAILURES 10) ---


def test_the_same_goods_paid_just_now_are_asked_about_and_again_goes_on():
    product = make_product(stock=9)
    guest = make_guest()
    first = place(make_cart((product, 2)), guest).order
    settle(first)
    cart = make_cart((product, 2))

    problem = refused(cart, guest)

    assert (problem.name, problem.extra["order"]) == ("bought-just-now", first.pk)
    assert place(cart, guest, again=True).how is How.NEW


@pytest.mark.parametrize("outcome", ["", "unknown", "processing", "requires_action"])
def test_the_same_goods_in_another_cart_while_the_first_is_with_the_bank_are_asked_about(outcome):
    product = make_product(stock=9)
    guest = make_guest()
    first = place(make_cart((product, 2)), guest).order
    make_attempt(first, outcome)

    problem = refused(make_cart((product, 2)), guest)

    assert (problem.name, problem.extra["order"]) == ("bought-just-now", first.pk)


def test_other_goods_another_shopper_and_long_ago_are_not_asked_about():
    product = make_product(stock=9)
    guest = make_guest()
    first = place(make_cart((product, 2)), guest).order
    settle(first)

    assert place(make_cart((product, 1)), guest).how is How.NEW
    assert place(make_cart((product, 2)), make_guest()).how is How.NEW  # same e-mail, other session
    Order.objects.filter(pk=first.pk).update(paid_at=minutes_ago(31))
    assert place(make_cart((product, 2)), guest).how is How.NEW


def test_a_declined_order_of_the_same_goods_in_another_cart_is_no_purchase():
    product = make_product(stock=9)
    guest = make_guest()
    make_attempt(place(make_cart((product, 2)), guest).order, "declined")
    assert place(make_cart((product, 2)), guest).how is How.NEW


# --- The unique constraints are the judge ---


def test_a_lost_race_for_a_constraint_finds_the_winner(monkeypatch):
    """Somebody placed under this key after both looks: the insert fails, and the second look finds the winner."""
    cart, guest = make_cart((make_product(stock=5), 1)), make_guest()
    wish = wish_for(cart, guest)
    winner = place_order(wish).order
    real, looks = placing._order_of_key, []

    def blind_twice(asked):
        looks.append(1)
        return None if len(looks) <= 2 else real(asked)

    monkeypatch.setattr(placing, "_order_of_key", blind_twice)
    monkeypatch.setattr(placing, "_order_of_version", lambda *_: None)
    monkeypatch.setattr(placing, "_refuse_second_open_order", lambda *_: None)

    found = place_order(wish)

    assert (found.how, found.order) == (How.REPLAY, winner)
    assert len(looks) == 3
    assert Product.objects.get().stock == 4


def test_a_lost_race_for_a_cart_version_finds_the_winner(monkeypatch):
    cart, guest = make_cart((make_product(stock=5), 1)), make_guest()
    winner = place(cart, guest).order
    real, looks = placing._order_of_version, []

    def blind_once(*args):
        looks.append(1)
        return None if len(looks) == 1 else real(*args)

    monkeypatch.setattr(placing, "_order_of_version", blind_once)
    monkeypatch.setattr(placing, "_refuse_second_open_order", lambda *_: None)

    found = place(cart, guest)

    assert (found.how, found.order) == (How.SAME_CART, winner)
    assert Product.objects.get().stock == 4


def test_a_reference_that_is_taken_is_drawn_again(monkeypatch):
    taken = place(make_cart((make_product(), 1))).order.number
    draws = iter([taken, "AAAA-2222"])
    monkeypatch.setattr(Order._meta.get_field("number"), "default", lambda: next(draws))
    monkeypatch.setattr(Order._meta.get_field("number"), "_get_default", lambda: next(draws))
    assert place(make_cart((make_product(), 1))).order.number == "AAAA-2222"


def test_a_constraint_that_is_no_race_is_not_swallowed(monkeypatch):
    monkeypatch.setattr(placing, "_lines_digest", lambda lines: None)
    with pytest.raises(IntegrityError):
        place(make_cart((make_product(), 1)))
    assert not Order.objects.exists()


def test_stock_never_goes_below_zero_even_by_plain_sql():
    product = make_product(stock=1)
    with pytest.raises(IntegrityError, match="stock_is_never_oversold"), connection.cursor() as cursor:
        cursor.execute("UPDATE shop_product SET stock = stock - 2 WHERE id = %s", [product.pk])
    assert Product.objects.get().stock == 1
