"""The API of orders, as DESIGN section 8 says."""

import pytest
from django.test import Client

from orders.models import Order
from shop.models import Cart, Product
from tests.orders.making import (
    ADDRESS,
    BODY,
    fill,
    guest_client,
    make_attempt,
    make_cart,
    make_guest,
    make_product,
    post_order,
    version_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nudges(monkeypatch):
    sent = []
    monkeypatch.setattr("orders.api.nudge", lambda *args: sent.append(args))
    return sent


def test_placing_answers_201_with_the_order_and_its_links(nudges):
    cart = make_cart((make_product(sku="PEN", name="Pen", price_minor=300), 2))

    answer = post_order(guest_client(cart), cart)

    order = Order.objects.get()
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/orders/{order.pk}/"
    assert answer["Cache-Control"] == "no-store"
    assert answer.json() == {
        "id": order.pk,
        "number": order.number,
        "status": "pending",
        "total": 600,
        "currency": "GBP",
        "email": "ada@example.com",
        "lines": [{"sku": "PEN", "name": "Pen", "quantity": 2, "price": 300, "total": 600}],
        "pay_key": order.pay_key,
        "expires": order.expires_at.isoformat().replace("+00:00", "Z"),
        "links": {
            "self": f"/api/orders/{order.pk}/",
            "page": f"/orders/{order.pk}/",
            "payments": f"/api/orders/{order.pk}/payments/",
            "status": f"/api/orders/{order.pk}/payment-status/",
            "cancel": f"/api/orders/{order.pk}/cancel/",
        },
    }
    assert len(order.pk) == 32 and order.pay_key.startswith("PAY_")
    assert nudges == [("payments.open_payment", order.pk)]


def test_the_same_key_again_is_201_and_nudges_nobody(nudges):
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    first = post_order(client, cart, "K1")

    second = post_order(client, cart, '"K1"')

    assert (second.status_code, second.json()) == (201, first.json())
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Order.objects.count() == 1
    assert len(nudges) == 1


def test_a_second_tab_gets_the_same_order_and_is_told_so(nudges):
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    first = post_order(client, cart)

    second = post_order(client, cart)

    assert (second.status_code, second.json()["id"]) == (201, first.json()["id"])
    assert second["Order-Placed-Before"] == "true"
    assert len(nudges) == 1


def test_reading_an_order_is_for_its_shopper_only():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    order = post_order(client, cart).json()

    assert client.get(order["links"]["self"]).json() == order
    unknown = guest_client().get(f"/api/orders/{'x' * 32}/")
    others = guest_client().get(order["links"]["self"])
    assert others.status_code == unknown.status_code == 404
    others_body, unknown_body = others.json(), unknown.json()
    del others_body["instance"], unknown_body["instance"]
    assert others_body == unknown_body


@pytest.mark.parametrize("order_id", ["x", "%00" * 32, "..", "%F0%9F%98%80" * 8, "x" * 5000])
def test_an_id_that_cannot_be_one_is_unknown(order_id):
    assert guest_client().get(f"/api/orders/{order_id}/").status_code == 404


def test_a_guest_needs_a_csrf_token_to_place():
    cart = make_cart((make_product(), 1))
    client = Client(enforce_csrf_checks=True)
    client.cookies = guest_client(cart).cookies
    answer = post_order(client, cart)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("", "idempotency-key-missing"),
        ("two words", "idempotency-key-invalid"),
        ("forgotten:1", "idempotency-key-invalid"),
        ("gateway:ch_1", "idempotency-key-invalid"),
        ("x" * 256, "idempotency-key-invalid"),
        ("a,b", "idempotency-key-invalid"),
        ('"half', "idempotency-key-invalid"),
    ],
)
def test_a_key_is_required_and_well_formed(key, name):
    cart = make_cart((make_product(), 1))
    answer = guest_client(cart).post(
        "/api/orders/", BODY, content_type="application/json", headers={"Idempotency-Key": key}
    )
    assert (answer.status_code, answer.json()["type"], answer.json()["retry"]) == (400, f"/problems/{name}", "same-key")
    assert not Order.objects.exists()


@pytest.mark.parametrize("field", ["status", "total", "price", "user", "paid_at", "currency", "gateway_id", "lines"])
def test_no_field_can_be_smuggled_in(field):
    cart = make_cart((make_product(), 1))
    answer = post_order(guest_client(cart), cart, None, **{field: 1})
    assert (answer.status_code, answer.json()["errors"]) == (400, {field: ["This field is not known."]})
    assert not Order.objects.exists()


def test_no_field_can_be_smuggled_into_the_address():
    cart = make_cart((make_product(), 1))
    answer = post_order(guest_client(cart), cart, address=ADDRESS | {"total": 1})
    assert answer.json()["errors"] == {"address": {"total": ["This field is not known."]}}


def test_what_is_wrong_is_said_and_nothing_is_stored():
    cart = make_cart((make_product(), 1))
    answer = post_order(guest_client(cart), cart, name="4242 4242 4242 4242", address=ADDRESS | {"city": ""})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/validation-failed")
    assert answer.json()["errors"] == {
        "name": ["This looks like a card number. Card details go only into the card form."],
        "address": {"city": ["Enter a town or city."]},
    }
    assert not Order.objects.exists()


def test_validation_comes_before_replay_and_key_before_body():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    post_order(client, cart, "K1")
    assert post_order(client, cart, "K1", name="").json()["type"] == "/problems/validation-failed"
    assert post_order(client, cart, "two words", name="").json()["type"] == "/problems/idempotency-key-invalid"


def test_the_same_key_with_another_body_is_422_and_tells_nothing_of_the_first():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    post_order(client, cart, "K1")
    answer = post_order(client, cart, "K1", name="Eve")
    assert (answer.status_code, answer.json()["order"]) == (422, None)
    assert answer.json()["retry"] == "no"


def test_order_open_names_the_order_and_its_links():
    product = make_product()
    cart = make_cart((product, 1))
    client = guest_client(cart)
    first = post_order(client, cart).json()
    fill(cart, (product, 2))

    answer = post_order(client, cart)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/order-open")
    assert (answer.json()["order"], answer.json()["links"]) == (first["id"], first["links"])


def test_payment_in_progress_may_be_tried_again_with_the_same_key():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    order = post_order(client, cart).json()
    make_attempt(Order.objects.get(), "unknown")

    answer = post_order(client, cart)

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/payment-in-progress")
    assert (answer.json()["retry"], answer.json()["order"]) == ("same-key", order["id"])
    assert answer.json()["payment_status"] == "unknown"
    assert int(answer["Retry-After"]) > 0


def test_out_of_stock_says_which_and_how_many():
    cart = make_cart((make_product(sku="LAMP", stock=1), 3))
    answer = post_order(guest_client(cart), cart)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/out-of-stock")
    (line,) = answer.json()["lines"]
    assert (line["sku"], line["requested"], line["available"]) == ("LAMP", 3, 1)
    assert Product.objects.get().stock == 1


def test_a_shopper_without_a_cart_has_an_empty_one():
    answer = Client().post(
        "/api/orders/", BODY | {"cart_version": "x"}, content_type="application/json", headers={"Idempotency-Key": "k"}
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/cart-empty")
    assert not Cart.objects.exists()


def test_another_sessions_cart_cannot_be_placed():
    cart = make_cart((make_product(), 1))
    answer = post_order(guest_client(), cart)
    assert answer.json()["type"] == "/problems/cart-empty"
    assert not Order.objects.exists()


def test_placing_by_api_takes_this_many_statements(django_assert_num_queries):
    cart = make_cart((make_product(), 1), (make_product(), 1))
    client = guest_client(cart, make_guest())
    body = BODY | {"cart_version": version_of(cart)}
    # session, cart, twelve of placing (test_place.py), lines of the answer, and BEGIN and COMMIT
    with django_assert_num_queries(17):
        client.post("/api/orders/", body, content_type="application/json", headers={"Idempotency-Key": "k"})
    # session, cart, key, lines
    with django_assert_num_queries(4):
        client.post("/api/orders/", body, content_type="application/json", headers={"Idempotency-Key": "k"})


def test_a_cart_version_is_a_digest_and_never_taken_for_a_card_number() -> None:
    cart = make_cart((make_product(), 1))
    unlucky = "4242424242424242".ljust(len(version_of(cart)), "a")
    answer = post_order(guest_client(cart), cart, cart_version=unlucky)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/cart-changed")
