"""The cart: whose it is, its limits, how two become one, and what a payment takes out of it."""

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from shop.cart import CartRefused, _new_cart_of, add, set_quantity, take_out
from shop.models import Cart, CartItem, Product, cart_version
from tests.shop.making import at_once, held, in_cart, log_in, product, put, user

pytestmark = pytest.mark.django_db


def test_a_guests_cart_is_found_again_by_the_session_and_by_nobody_else(client):
    product()
    put(client, "PEN", 2)
    assert held(client) == {"PEN": 2}
    assert held(Client()) == {}
    assert Cart.objects.count() == 1


def test_a_users_cart_is_there_on_every_device(client):
    product()
    user()
    log_in(client)
    put(client, "PEN", 2)
    phone = Client()
    log_in(phone)
    assert held(phone) == {"PEN": 2}
    assert Cart.objects.count() == 1


def test_the_id_of_a_users_cart_opens_nothing_in_a_guests_session(client):
    theirs = Cart.objects.create(user=user())
    add(theirs, product().sku, 1)
    session = client.session
    session["cart"] = theirs.pk
    session.save()
    assert held(client) == {}
    assert put(client, "PEN", 5).status_code == 200
    assert in_cart(theirs) == {"PEN": 1}


def test_a_cart_id_in_the_body_is_refused_and_adopts_nothing(client):
    theirs = Cart.objects.create()
    add(theirs, product().sku, 1)
    body = {"quantity": 1, "cart": theirs.pk}
    response = client.put("/api/cart/items/PEN/", body, content_type="application/json")
    assert response.status_code == 400
    client.post("/cart/add/", {"sku": "PEN", "quantity": "3", "cart": theirs.pk})
    assert held(client) == {"PEN": 3}
    assert in_cart(theirs) == {"PEN": 1}


def test_looking_makes_no_cart_and_no_session(client):
    assert client.get("/cart/").status_code == 200
    assert client.get("/api/cart/").status_code == 200
    assert Cart.objects.count() == 0
    assert "sessionid" not in client.cookies


# --- Limits ---


def test_ninety_nine_of_one_thing_and_no_more():
    cart, pen = Cart.objects.create(), product(stock=1000)
    set_quantity(cart, pen.sku, 99)
    with pytest.raises(CartRefused, match="up to 99"):
        add(cart, pen.sku, 1)
    assert in_cart(cart) == {"PEN": 99}


def test_fifty_different_things_and_no_more():
    cart = Cart.objects.create()
    for number in range(50):
        add(cart, product(f"P{number}").sku, 1)
    with pytest.raises(CartRefused, match="50"):
        add(cart, product("ONE-MORE").sku, 1)
    add(cart, "P7", 1)  # more of what is there is fine
    assert CartItem.objects.filter(cart=cart).count() == 50


def test_one_currency_in_one_cart():
    cart = Cart.objects.create()
    add(cart, product().sku, 1)
    with pytest.raises(CartRefused, match="sold in JPY and your cart is in GBP"):
        add(cart, product("FUDE", currency="JPY").sku, 1)
    assert in_cart(cart) == {"PEN": 1}


def test_a_total_that_no_card_can_pay_is_refused():
    cart = Cart.objects.create()
    add(cart, product("DESK", price_minor=33_333_333).sku, 3)
    with pytest.raises(CartRefused, match=r"£999,999\.99"):
        add(cart, product("NIB", price_minor=1).sku, 1)
    assert in_cart(cart) == {"DESK": 3}


def test_an_unknown_product_and_one_off_sale_cannot_be_added_but_the_latter_can_be_removed():
    cart, pen = Cart.objects.create(), product()
    add(cart, pen.sku, 1)
    Product.objects.update(on_sale=False)
    with pytest.raises(Product.DoesNotExist):
        set_quantity(cart, pen.sku, 2)
    with pytest.raises(Product.DoesNotExist):
        set_quantity(cart, "NONE", 1)
    set_quantity(cart, pen.sku, 0)
    assert in_cart(cart) == {}


# --- Version ---


def test_the_version_follows_what_the_shopper_sees():
    cart = Cart.objects.create()
    add(cart, product("A").sku, 1)
    seen = cart_version(cart, cart.lines())
    assert cart_version(cart, cart.lines()) == seen

    add(cart, product("B").sku, 1)
    assert cart_version(cart, cart.lines()) != seen
    Product.objects.filter(sku="B").update(on_sale=False)
    assert cart_version(cart, cart.lines()) == seen
    Product.objects.filter(sku="A").update(price_minor=501)
    assert cart_version(cart, cart.lines()) != seen


# --- Paid ---


def test_what_was_paid_for_leaves_and_what_came_meanwhile_stays():
    cart, pen, ink, mat = Cart.objects.create(), product("PEN"), product("INK"), product("MAT")
    for one, quantity in ((pen, 2), (ink, 5), (mat, 1)):
        set_quantity(cart, one.sku, quantity)
    with transaction.atomic():
        take_out(cart.pk, {pen.pk: 2, ink.pk: 3})
    assert in_cart(cart) == {"INK": 2, "MAT": 1}
    cart.refresh_from_db()
    assert cart.generation == 1


def test_a_paid_cart_reads_empty_for_every_session_that_holds_it(client):
    pen = product()
    put(client, "PEN", 1)
    other = Client()
    other.cookies = client.cookies
    with transaction.atomic():
        take_out(Cart.objects.get().pk, {pen.pk: 1})
    assert held(client) == {}
    assert held(other) == {}


def test_the_same_goods_make_another_version_after_a_purchase():
    cart, pen = Cart.objects.create(), product()
    add(cart, pen.sku, 1)
    first = cart_version(cart, cart.lines())
    with transaction.atomic():
        take_out(cart.pk, {pen.pk: 1})
    add(cart, pen.sku, 1)
    cart.refresh_from_db()
    assert cart_version(cart, cart.lines()) != first


def test_taking_out_locks_the_cart_first_and_is_four_statements():
    cart, pen = Cart.objects.create(), product()
    add(cart, pen.sku, 1)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        take_out(cart.pk, {pen.pk: 1})
    assert len(queries) == 4
    assert queries[0]["sql"].endswith("FOR NO KEY UPDATE")


def test_an_order_without_a_cart_takes_nothing_out():
    take_out(None, {1: 1})
    with transaction.atomic():
        take_out("gone", {1: 1})
    assert Cart.objects.count() == 0


# --- Log-in ---


def test_at_log_in_the_guests_cart_becomes_the_users(client):
    product()
    put(client, "PEN", 2)
    ada = user()
    guest_cart = Cart.objects.get()
    log_in(client)
    assert held(client) == {"PEN": 2}
    assert Cart.objects.get(user=ada) == guest_cart


def test_two_carts_become_one_with_the_larger_quantity_and_the_shopper_is_told(client):
    product("PEN"), product("INK"), product("MAT")
    ada = user()
    older = Cart.objects.create(user=ada)
    for sku, quantity in (("PEN", 3), ("INK", 1), ("MAT", 1)):
        add(older, sku, quantity)
    put(client, "PEN", 2)
    put(client, "MAT", 4)
    log_in(client)
    assert held(client) == {"PEN": 3, "INK": 1, "MAT": 4}
    assert b"Your saved cart has joined this one" in client.get("/cart/").content
    older.refresh_from_db()
    assert older.user is None
    assert older.merged_into == Cart.objects.get(user=ada)


def test_an_order_of_the_older_cart_empties_the_one_it_was_merged_into(client):
    pen = product()
    older = Cart.objects.create(user=user())
    add(older, "PEN", 2)
    product("INK")
    put(client, "INK", 1)
    log_in(client)
    assert held(client) == {"PEN": 2, "INK": 1}
    with transaction.atomic():
        take_out(older.pk, {pen.pk: 2})
    assert held(client) == {"INK": 1}


def test_goods_in_another_currency_stay_out_of_the_merged_cart(client):
    product()
    older = Cart.objects.create(user=user())
    add(older, product("FUDE", currency="JPY").sku, 1)
    put(client, "PEN", 1)
    log_in(client)
    assert held(client) == {"PEN": 1}


def test_a_guests_session_cannot_see_its_cart_after_it_went_to_a_user(client):
    product()
    put(client, "PEN", 2)
    session_key = client.cookies["sessionid"].value
    user()
    log_in(client)
    stale = Client()
    stale.cookies["sessionid"] = session_key
    assert held(stale) == {}


# --- At the same time ---


@pytest.mark.django_db(transaction=True)
def test_twenty_changes_at_once_are_twenty_changes():
    cart, pen = Cart.objects.create(), product(stock=100)
    at_once(*[lambda: add(cart, pen.sku, 1)] * 20)
    assert in_cart(cart) == {"PEN": 20}


@pytest.mark.django_db(transaction=True)
def test_the_first_changes_of_a_user_at_once_make_one_cart():
    ada = user()
    made = at_once(*[lambda: _new_cart_of(ada.pk).pk] * 8)
    assert made == [Cart.objects.get(user=ada).pk] * 8
    assert Cart.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_log_ins_at_once_leave_the_user_one_cart_with_everything():
    user()
    devices = []
    for number in range(4):
        product(f"P{number}")
        devices.append(Client())
        put(devices[-1], f"P{number}", 1)
    answers = at_once(*[lambda device=device: log_in(device).status_code for device in devices])
    assert answers == [303] * 4
    assert in_cart(Cart.objects.get(user__isnull=False)) == {f"P{number}": 1 for number in range(4)}
    assert Cart.objects.filter(merged_into=None).count() == 1
    assert all(held(device) == {f"P{number}": 1 for number in range(4)} for device in devices)
