"""GET /api/products/, GET /api/cart/, PUT /api/cart/items/{sku}/ as DESIGN section 8 has them."""

import pytest
from django.core.management import call_command
from django.test import Client

from shop.models import Cart, CartItem, Product
from tests.shop.making import product, put

pytestmark = pytest.mark.django_db


def test_products_have_the_named_fields_and_only_those_on_sale_are_listed(client):
    product("PEN", price_minor=3200, stock=3)
    product("OLD", on_sale=False)
    response = client.get("/api/products/")
    assert response.status_code == 200
    assert response.json() == [
        {"sku": "PEN", "name": "The PEN", "slug": "pen", "price": 3200, "currency": "GBP", "stock": 3}
    ]


def test_an_empty_cart_has_a_version_and_sets_the_csrf_cookie(client):
    response = client.get("/api/cart/")
    cart = response.json()
    assert (cart["items"], cart["total"], cart["currency"]) == ([], 0, "GBP")
    assert cart["version"]
    assert response.cookies["csrftoken"].value
    assert response["Cache-Control"] == "no-store"


def test_the_cart_answers_with_prices_from_the_database(client):
    product("PEN", price_minor=250)
    product("INK", price_minor=1100)
    put(client, "INK", 1)
    cart = put(client, "PEN", 2).json()
    assert cart["items"] == [
        {"sku": "PEN", "quantity": 2, "price": 250},
        {"sku": "INK", "quantity": 1, "price": 1100},
    ]
    assert (cart["total"], cart["currency"]) == (1600, "GBP")
    assert cart == client.get("/api/cart/").json()


def test_zero_takes_a_product_out_and_needs_no_cart(client):
    product()
    assert put(client, "PEN", 0).json()["items"] == []
    assert Cart.objects.count() == 0
    put(client, "PEN", 2)
    assert put(client, "PEN", 0).json()["items"] == []
    assert CartItem.objects.count() == 0


def test_a_yen_price_has_no_decimals_anywhere(client):
    product("FUDE", price_minor=1200, currency="JPY")
    cart = put(client, "FUDE", 2).json()
    assert (cart["total"], cart["currency"]) == (2400, "JPY")


@pytest.mark.parametrize("quantity", [-1, 0.1, 1.0, 10**9, 100, "1", "1,5", "２", None, True, [1], {"n": 1}, 10**30])
def test_a_quantity_that_is_no_whole_number_from_0_to_99_is_refused(client, quantity):
    product()
    put(client, "PEN", 2)
    response = put(client, "PEN", quantity)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == "/problems/validation-failed"
    assert response.json()["retry"] == "same-key"
    assert list(response.json()["errors"]) == ["quantity"]
    assert CartItem.objects.get().quantity == 2


@pytest.mark.parametrize("body", ["", "[]", "[1]", "null", "{", '{"quantity": NaN}', "{}", '{"quantity":1,"price":1}'])
def test_another_body_is_refused(client, body):
    product(price_minor=500)
    response = client.put("/api/cart/items/PEN/", body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["type"] == "/problems/validation-failed"
    assert CartItem.objects.count() == 0
    assert Product.objects.get().price_minor == 500


def test_more_than_the_stock_may_wait_in_the_cart_because_placement_asks(client):
    product(stock=3)
    assert put(client, "PEN", 99).status_code == 200


def test_an_unknown_product_is_not_found(client):
    product("OLD", on_sale=False)
    for sku in ("NONE", "OLD"):
        response = put(client, sku, 1)
        assert response.status_code == 404
        assert response.json()["type"] == "/problems/not-found"
    assert CartItem.objects.count() == 0


def test_a_guest_without_the_csrf_token_is_refused():
    product()
    strict = Client(enforce_csrf_checks=True)
    response = put(strict, "PEN", 1)
    assert response.status_code == 403
    assert response.json()["type"] == "/problems/forbidden"
    assert CartItem.objects.count() == 0

    token = strict.get("/api/cart/").cookies["csrftoken"].value
    response = strict.put(
        "/api/cart/items/PEN/", {"quantity": 1}, content_type="application/json", headers={"X-CSRFToken": token}
    )
    assert response.status_code == 200


def test_a_limit_of_the_cart_is_a_problem_with_a_sentence(client):
    product("PEN"), product("FUDE", currency="JPY")
    put(client, "PEN", 1)
    response = put(client, "FUDE", 1)
    assert response.status_code == 400
    assert "One order has one currency" in response.json()["detail"]


def test_forms_are_not_json_and_large_bodies_are_too_large(client):
    product()
    assert client.put("/api/cart/items/PEN/", "quantity=1", "application/x-www-form-urlencoded").status_code == 415
    large = '{"quantity": 1' + " " * 20_000 + "}"
    assert client.put("/api/cart/items/PEN/", large, "application/json").status_code == 413
    assert CartItem.objects.count() == 0


@pytest.mark.parametrize("path", ["/api/products", "/api/cart", "/api/cart/items/PEN", "/api/nothing/", "/webhooks/x"])
def test_a_path_without_its_slash_is_not_found_and_never_redirected(client, path):
    for ask in (client.get, client.post, client.put):
        response = ask(path)
        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["instance"] == path


def test_another_method_is_a_problem_that_names_the_allowed_ones(client):
    response = client.post("/api/products/")
    assert response.status_code == 405
    assert response.json()["type"] == "/problems/method-not-allowed"
    assert response["Allow"] == "GET, HEAD, OPTIONS"


def test_statements_of_the_hot_reads(client, django_assert_num_queries):
    product()
    with django_assert_num_queries(1):
        Client().get("/api/products/")
    with django_assert_num_queries(0):
        Client().get("/api/cart/")
    put(client, "PEN", 1)
    with django_assert_num_queries(3):  # session, cart, lines
        client.get("/api/cart/")


def test_the_schema_names_every_operation_of_the_shop(client):
    schema = client.get("/api/schema/?format=json").json()
    operation = schema["paths"]["/api/cart/items/{sku}/"]["put"]
    assert {"200", "400", "403", "404", "413", "415", "503"} == set(operation["responses"])
    assert list(operation["responses"]["404"]["content"]) == ["application/problem+json"]
    assert "get" in schema["paths"]["/api/products/"]
    assert "get" in schema["paths"]["/api/cart/"]


def test_the_schema_is_valid_and_made_without_a_warning(tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


def test_the_viewer_of_the_schema_has_no_inline_script_or_style(client):
    page = client.get("/api/docs/").content.decode()
    assert "<style" not in page
    assert "style=" not in page
    assert all("src=" in script for script in page.split("<script")[1:])
