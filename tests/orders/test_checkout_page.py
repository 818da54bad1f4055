"""The checkout page: the same core as the API, every refusal on the same page, nothing typed is lost."""

import re

import pytest
from django.test import Client

from orders.checkout import new_place_key
from orders.models import Order
from shop.models import Product
from tests.orders.making import (
    fill,
    guest_client,
    make_attempt,
    make_cart,
    make_guest,
    make_order,
    make_product,
    version_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

TYPED = {
    "email": "ada@example.com",
    "name": "Ada Lovelace",
    "line1": "1 High Street",
    "line2": "",
    "city": "London",
    "region": "",
    "postal_code": "N1 1AA",
    "country": "GB",
}
# What a browser and a password manager fill in; compared with the page (EXPERIENCE UX2).
AUTOCOMPLETE = {
    "email": "email",
    "name": "name",
    "line1": "address-line1",
    "line2": "address-line2",
    "city": "address-level2",
    "region": "address-level1",
    "postal_code": "postal-code",
    "country": "country",
}


@pytest.fixture(autouse=True)
def nudges(monkeypatch):
    sent = []
    monkeypatch.setattr("orders.checkout.nudge", lambda *args: sent.append(args))
    return sent


def post(client, cart, **typed):
    return client.post("/checkout/", TYPED | {"cart_version": version_of(cart), "key": new_place_key()} | typed)


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def hidden(response, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found
    return found[1]


def test_the_page_shows_the_full_total_before_any_card_field():
    cart = make_cart((make_product(name="Lamp", price_minor=2400), 2))
    page = guest_client(cart).get("/checkout/")
    text = text_of(page)
    assert page.status_code == 200
    assert page["Cache-Control"] == "no-store, private"
    assert "2 × Lamp" in text and "£48.00" in text
    assert "Prices include tax, delivery is free." in text
    assert "card number" not in text.lower()


def test_every_field_has_a_label_and_its_autocomplete_token():
    page = guest_client(make_cart((make_product(), 1))).get("/checkout/").content.decode()
    for name, token in AUTOCOMPLETE.items():
        assert re.search(rf'<label for="id_{name}">', page), name
        assert re.search(rf'name="{name}"[^>]*autocomplete="{token}"', page), name
    assert re.search(r'<input type="email" name="email"[^>]*inputmode="email"', page)
    assert "<script>" not in page and "style=" not in page and "onclick" not in page


def test_an_empty_cart_leads_back_to_the_cart():
    assert Client().get("/checkout/")["Location"] == "/cart/"


def test_placing_answers_303_to_the_pay_page(nudges):
    cart = make_cart((make_product(stock=5), 2))
    answer = post(guest_client(cart), cart)
    order = Order.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, f"/orders/{order.pk}/pay/")
    assert (order.email, order.line1, order.line2) == ("ada@example.com", "1 High Street", "")
    assert nudges == [("payments.open_payment", order.pk)]


def test_the_same_form_posted_twice_is_one_order(nudges):
    cart = make_cart((make_product(stock=5), 2))
    client, key = guest_client(cart), new_place_key()
    first = post(client, cart, key=key)
    second = post(client, cart, key=key)
    assert (second.status_code, second["Location"]) == (303, first["Location"])
    assert Order.objects.count() == 1
    assert Product.objects.get().stock == 3
    assert len(nudges) == 1


def test_two_tabs_are_one_order():
    cart = make_cart((make_product(stock=5), 2))
    client = guest_client(cart)
    keys = {hidden(client.get("/checkout/"), "key") for _ in range(2)}
    assert len(keys) == 2
    places = {post(client, cart, key=key)["Location"] for key in keys}
    assert places == {f"/orders/{Order.objects.get().pk}/pay/"}


def test_every_error_is_shown_on_the_same_page_and_everything_typed_is_kept():
    cart = make_cart((make_product(), 1))
    client, key = guest_client(cart), new_place_key()

    page = post(client, cart, key=key, email="ada", line1="", country="XX")

    html = page.content.decode()
    assert page.status_code == 422
    assert "<title>Error: Checkout" in html
    for field, sentence in (
        ("email", "Enter an e-mail address in the form name@example.com."),
        ("line1", "Enter the first line of the address."),
        ("country", "Choose a country by its two letters, such as GB."),
    ):
        assert f'<a href="#id_{field}">{sentence}</a>' in html  # the summary
        assert re.search(rf'name="{field}"[^>]*aria-invalid="true"', html), field
    assert 'value="ada"' in html and 'value="Ada Lovelace"' in html
    assert hidden(page, "key") == key  # nothing was placed under it: the corrected form may use it
    assert not Order.objects.exists()


def test_what_was_typed_is_there_again_on_the_next_visit():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    post(client, cart, email="", name="Grace Hopper")
    assert 'value="Grace Hopper"' in client.get("/checkout/").content.decode()
    post(client, cart, name="Grace Hopper")
    assert "checkout" not in client.session


def test_a_returning_shopper_finds_the_last_address():
    guest = make_guest()
    make_order(shopper=guest, line1="7 Old Lane")
    cart = make_cart((make_product(), 1))
    assert 'value="7 Old Lane"' in guest_client(cart, guest).get("/checkout/").content.decode()
    assert 'value="7 Old Lane"' not in guest_client(cart).get("/checkout/").content.decode()


def test_a_card_number_is_refused_and_not_kept_in_the_session():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    page = post(client, cart, name="4242 4242 4242 4242")
    assert "This looks like a card number." in text_of(page)
    assert not Order.objects.exists()
    assert "4242" not in str(dict(client.session))


def test_a_changed_price_shows_the_new_total_and_the_next_press_places_it():
    product = make_product(price_minor=1000)
    cart = make_cart((product, 1))
    client = guest_client(cart)
    seen, key = version_of(cart), new_place_key()
    Product.objects.update(price_minor=1100)

    page = post(client, cart, cart_version=seen, key=key)

    assert page.status_code == 409
    assert "the total is £11.00 now" in text_of(page)
    assert hidden(page, "cart_version") == version_of(cart)
    assert hidden(page, "key") != key
    assert not Order.objects.exists()
    again = post(client, cart, cart_version=hidden(page, "cart_version"), key=hidden(page, "key"))
    assert again.status_code == 303
    assert Order.objects.get().total_minor == 1100


def test_a_short_line_is_named():
    cart = make_cart((make_product(name="Lamp", stock=1), 3), (make_product(name="Pen", stock=0), 1))
    page = post(guest_client(cart), cart)
    text = text_of(page)
    assert page.status_code == 409
    assert "Lamp: only 1 left, you asked for 3" in text and "Pen: sold out" in text
    assert not Order.objects.exists()


def test_an_open_order_offers_to_be_paid_or_canceled():
    product = make_product()
    cart = make_cart((product, 1))
    client = guest_client(cart)
    post(client, cart)
    order = Order.objects.get()
    fill(cart, (product, 2))

    page = post(client, cart, name="Grace Hopper")

    html = page.content.decode()
    assert page.status_code == 409
    assert f'href="/orders/{order.pk}/pay/">Finish paying {order.number} ({order.total_text})' in html
    assert f'action="/orders/{order.pk}/cancel/" data-cancel-then-place="/api/orders/{order.pk}/cancel/"' in html
    assert 'value="Grace Hopper"' in html


def test_back_and_another_address_with_the_used_key_is_judged_as_a_new_wish():
    cart = make_cart((make_product(), 1))
    client, key = guest_client(cart), new_place_key()
    post(client, cart, key=key)
    page = post(client, cart, key=key, line1="2 Low Road")
    assert page.status_code == 409
    assert f"Finish paying {Order.objects.get().number}" in text_of(page)


def test_a_payment_under_way_is_shown_and_nothing_else_can_be_ordered():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    post(client, cart)
    order = Order.objects.get()
    make_attempt(order, "unknown")

    page = post(client, cart)

    assert page.status_code == 409
    assert f"See how order {order.number} is doing" in text_of(page)
    assert "You will not be charged twice." in text_of(page)
    assert "failed" not in text_of(page).lower()


def test_the_same_goods_again_are_asked_about_and_yes_goes_on():
    from django.db import transaction
    from django.utils import timezone

    from orders.ends import mark_paid

    product = make_product(stock=9)
    cart = make_cart((product, 1))
    client = guest_client(cart)
    post(client, cart)
    with transaction.atomic():
        mark_paid(Order.objects.get(), timezone.now())
    first = Order.objects.get()
    fill(cart, (product, 1))

    page = post(client, cart)

    html = page.content.decode()
    assert page.status_code == 409
    assert f'href="/orders/{first.pk}/">Look at order {first.number}' in html
    assert (
        '<button class="button secondary" form="checkout" name="again" value="yes">Yes, order it again</button>' in html
    )
    again = post(client, cart, key=hidden(page, "key"), again="yes")
    assert again.status_code == 303
    assert Order.objects.count() == 2


def test_whoever_comes_back_is_told_of_the_order_that_waits():
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    post(client, cart)
    order = Order.objects.get()
    text = text_of(client.get("/checkout/"))
    assert f"Your order {order.number} of {order.total_text} waits for payment." in text


def test_the_form_needs_its_csrf_token():
    cart = make_cart((make_product(), 1))
    client = Client(enforce_csrf_checks=True)
    client.cookies = guest_client(cart).cookies
    assert post(client, cart).status_code == 403
    assert not Order.objects.exists()


@pytest.mark.parametrize("key", ["", "x", "PLACE_short", "two words", "PLACE_" + "x" * 300])
def test_a_key_that_is_not_ours_is_replaced(key):
    cart = make_cart((make_product(), 1))
    assert post(guest_client(cart), cart, key=key).status_code == 303
    assert Order.objects.get().idempotency_key.startswith("PLACE_")


def test_what_a_shopper_typed_is_escaped():
    cart = make_cart((make_product(), 1))
    page = post(guest_client(cart), cart, email="x", name='"><script>alert(1)</script>')
    assert "<script>alert" not in page.content.decode()
