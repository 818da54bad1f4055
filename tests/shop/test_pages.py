"""The storefront's pages, and what every page has."""

import re

import pytest
from csp.middleware import CSPMiddleware
from django.http import HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings

from shop.models import Cart, CartItem, Product
from shop.pages import with_stripe
from tests.shop.making import held, product, put, user

pytestmark = pytest.mark.django_db

PAGES = ["/", "/products/pen/", "/cart/", "/account/log-in/", "/account/register/", "/account/password-reset/"]


def test_the_home_page_shows_what_is_on_sale_with_price_and_stock(client):
    product("PEN", price_minor=3200, stock=3)
    product("MUG", stock=0)
    product("OLD", on_sale=False)
    page = client.get("/").content.decode()
    assert "£32.00" in page
    assert "3 left" in page
    assert "Sold out" in page
    assert "Prices include tax, and delivery is free" in page
    assert "The OLD" not in page


def test_a_product_page_offers_the_form_only_while_there_is_stock(client):
    product("PEN", stock=4), product("MUG", stock=0)
    assert 'max="4"' in client.get("/products/pen/").content.decode()
    sold_out = client.get("/products/mug/").content.decode()
    assert "Add to cart" not in sold_out
    assert "Sold out for now" in sold_out


def test_a_product_off_sale_has_no_page(client):
    product(on_sale=False)
    assert client.get("/products/pen/").status_code == 404


def test_adding_ends_in_a_303_and_reloading_adds_nothing(client):
    product()
    response = client.post("/cart/add/", {"sku": "PEN", "quantity": "2"})
    assert (response.status_code, response["Location"]) == (303, "/cart/")
    for _ in range(2):
        page = client.get("/cart/").content.decode()
        assert "£10.00" in page
    assert held(client) == {"PEN": 2}


def test_adding_more_than_there_is_puts_in_what_there_is_and_says_so(client):
    product(stock=3)
    client.post("/cart/add/", {"sku": "PEN", "quantity": "2"})
    client.post("/cart/add/", {"sku": "PEN", "quantity": "2"})
    assert held(client) == {"PEN": 3}
    assert "Only 3 of The PEN are left" in client.get("/cart/").content.decode()


def test_adding_what_is_sold_out_says_so_and_adds_nothing(client):
    product(stock=0)
    response = client.post("/cart/add/", {"sku": "PEN", "quantity": "1"}, follow=True)
    assert "The PEN is sold out." in response.content.decode()
    assert Cart.objects.count() == 0


@pytest.mark.parametrize("quantity", ["", "0", "-1", "1.5", "1,5", "two", "２", "1e3", "100", "99999999999"])
def test_a_strange_quantity_adds_nothing_and_says_what_is_possible(client, quantity):
    product(stock=1000)
    response = client.post("/cart/add/", {"sku": "PEN", "quantity": quantity}, follow=True)
    assert response.redirect_chain == [("/products/pen/", 303)]
    assert "99" in response.content.decode()
    assert CartItem.objects.count() == 0


def test_the_cart_page_changes_and_removes(client):
    product(stock=8)
    put(client, "PEN", 1)
    assert client.post("/cart/items/PEN/", {"quantity": "5"}).status_code == 303
    assert held(client) == {"PEN": 5}
    client.post("/cart/items/PEN/", {"quantity": "9"})
    assert held(client) == {"PEN": 8}
    client.post("/cart/items/PEN/", {"quantity": "x"})
    assert held(client) == {"PEN": 8}
    client.post("/cart/items/PEN/", {"quantity": "0"})
    assert held(client) == {}


def test_an_old_cart_page_posted_by_somebody_without_a_cart_leads_to_the_cart(client):
    product()
    response = client.post("/cart/items/PEN/", {"quantity": "5"})
    assert (response.status_code, response["Location"]) == (303, "/cart/")
    assert Cart.objects.count() == 0


def test_the_cart_page_says_what_is_short_and_what_is_no_longer_sold(client):
    product("PEN"), product("OLD", price_minor=9900)
    put(client, "PEN", 5)
    put(client, "OLD", 1)
    Product.objects.filter(sku="PEN").update(stock=2)
    Product.objects.filter(sku="OLD").update(on_sale=False)
    page = client.get("/cart/").content.decode()
    assert "Only 2 left. Please choose fewer." in page
    assert "The OLD is no longer sold" in page
    assert "£25.00" in page
    assert "£99.00" not in page
    assert 'href="/checkout/"' in page
    assert "Prices include tax, and delivery is free" in page


def test_the_header_counts_what_is_in_the_cart(client):
    product()
    put(client, "PEN", 7)
    assert re.search(r'class="count">7<', client.get("/").content.decode())
    assert 'class="count"' not in Client().get("/").content.decode()


def test_statements_of_the_pages(client, django_assert_num_queries):
    for number in range(12):
        product(f"P{number}")
    with django_assert_num_queries(1):  # products
        Client().get("/")
    with django_assert_num_queries(0):
        Client().get("/cart/")
    for number in range(12):
        put(client, f"P{number}", 1)
    with django_assert_num_queries(3):  # session, products, count in the header
        client.get("/")
    with django_assert_num_queries(3):  # session, cart, lines
        client.get("/cart/")
    client.force_login(user())
    with django_assert_num_queries(4):  # session, user, products, count in the header
        client.get("/")


# --- Every page ---


@pytest.mark.parametrize("path", PAGES)
def test_every_page_sets_the_csrf_cookie_and_has_no_inline_script_or_style(path):
    product()
    response = Client().get(path)
    assert response.status_code == 200
    assert response.cookies["csrftoken"].value
    page = response.content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert all("src=" in script for script in page.split("<script")[1:])


@pytest.mark.parametrize("path", PAGES)
def test_no_page_of_the_shop_lets_anybody_elses_code_in(client, path):
    product()
    assert _directives(client.get(path)) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "object-src": "'none'",
    }


def test_only_a_page_that_takes_a_card_lets_stripe_in(settings):
    @with_stripe
    def pay(request):
        return HttpResponse("pay")

    request = RequestFactory().get("/")
    response = CSPMiddleware(pay).process_response(request, pay(request))
    directives = _directives(response)
    for name in ("script-src", "frame-src", "connect-src"):
        assert settings.STRIPE_CSP[name][0] in directives[name].split()
    assert "unsafe" not in response["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/cart/", "/account/log-in/", "/account/register/", "/account/password-reset/"])
def test_personal_pages_are_kept_by_nobody(client, path):
    assert "no-store" in client.get(path)["Cache-Control"]


@pytest.mark.parametrize(("path", "target"), [("/cart", "/cart/"), ("/products/pen?a=1", "/products/pen/?a=1")])
def test_a_pages_address_without_its_slash_leads_to_the_page(client, path, target):
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (301, target)


@pytest.mark.parametrize("path", ["/nothing", "/nothing/", "/products/none/", "/cart/x/y"])
@pytest.mark.parametrize("debug", [True, False])
def test_an_unknown_address_is_our_page_in_development_as_in_production(client, path, debug):
    with override_settings(DEBUG=debug):
        response = client.get(path)
    assert response.status_code == 404
    assert "There is nothing at this address" in response.content.decode()


def test_an_address_with_two_slashes_leads_nowhere_else(client):
    assert client.get("/", PATH_INFO="//evil.example/cart").status_code == 404


def test_a_form_without_its_token_is_a_calm_page_and_changes_nothing():
    product()
    strict = Client(enforce_csrf_checks=True)
    for path in ("/cart/add/", "/cart/items/PEN/", "/account/log-in/", "/account/register/", "/account/log-out/"):
        response = strict.post(path, {"sku": "PEN", "quantity": "1"})
        assert response.status_code == 403
        assert "This page was too old to use" in response.content.decode()
    assert CartItem.objects.count() == 0


def test_what_staff_type_into_a_product_is_text_and_never_markup(client):
    product(name="<script>alert(1)</script>", summary="<b>", description="<img src=x onerror=alert(1)>")
    put(client, "PEN", 1)
    for path in ("/", "/products/pen/", "/cart/"):
        page = client.get(path).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (2400, "GBP", "£24.00"),
        (2400, "JPY", "¥2,400"),
        (2400, "KWD", "KWD\N{NO-BREAK SPACE}2.400"),
        (0, "EUR", "€0.00"),
    ],
)
def test_money_has_as_many_decimals_as_its_currency(amount, currency, text):
    template = Template("{% load money %}{{ amount|money:currency }}")
    assert template.render(Context({"amount": amount, "currency": currency})) == text


def _directives(response) -> dict[str, str]:
    policy = response["Content-Security-Policy"]
    return dict(part.strip().split(" ", 1) for part in policy.split(";"))
