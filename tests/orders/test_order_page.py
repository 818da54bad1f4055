"""The order page in every state, my orders, and the way back into the cart."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from orders.ends import end_unpaid, mark_paid
from orders.models import Order
from orders.ownership import Shopper
from orders.states import Shown
from payments.models import Payment
from shop.env import BASE_DIR
from shop.models import CartItem, Product
from tests.orders.making import guest_client, make_attempt, make_guest, make_order, make_product, minutes_ago

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def guest():
    return make_guest()


@pytest.fixture
def client(guest):
    return guest_client(shopper=guest)


def text_of(response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def page_of(client, order):
    response = client.get(f"/orders/{order.pk}/")
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store, private"
    return response


def pays(response, order) -> bool:
    return f'href="/orders/{order.pk}/pay/"' in response.content.decode()


def test_an_order_that_waits_leads_to_payment(client, guest):
    order = make_order(shopper=guest)
    page = page_of(client, order)
    assert "Your order waits for payment" in text_of(page)
    assert pays(page, order)
    assert f'action="/orders/{order.pk}/cancel/"' in page.content.decode()
    assert 'data-state="open"' in page.content.decode()


@pytest.mark.parametrize("outcome", ["", "unknown", "processing", "succeeded"])
def test_an_outcome_we_do_not_know_is_asked_for_and_never_called_failed(client, guest, outcome):
    order = make_order(shopper=guest)
    make_attempt(order, outcome)
    page = page_of(client, order)
    text, html = text_of(page), page.content.decode()
    assert "We are asking your bank" in text
    assert "You will not be charged twice." in text
    assert "You may close this page: we will e-mail you at ada@example.com" in text
    assert order.number in text
    assert not re.search(r"fail|declin|not charged|canceled|wrong", text, re.IGNORECASE)
    assert not pays(page, order) and "cancel/" not in re.sub(r'data-\S+="[^"]*"', "", html)
    assert f'data-status-url="/api/orders/{order.pk}/payment-status/"' in html
    assert 'data-state="asking"' in html and "js/order.js" in html


def test_a_left_challenge_can_be_continued_or_started_over(client, guest):
    order = make_order(shopper=guest)
    make_attempt(order, "requires_action")
    page = page_of(client, order)
    assert "Continue with your bank" in text_of(page) and not pays(page, order)
    assert f'action="/orders/{order.pk}/start-over/"' in page.content.decode()
    assert not re.search(r"fail|declin|not charged", text_of(page), re.IGNORECASE)  # it may be paid by now


@pytest.mark.parametrize("outcome", ["declined", "failed"])
def test_a_definite_no_says_not_charged_and_offers_another_card(client, guest, outcome):
    order = make_order(shopper=guest)
    make_attempt(order, outcome)
    page = page_of(client, order)
    assert "You were not charged." in text_of(page) and pays(page, order)


@pytest.mark.parametrize("outcome", ["released", "canceled"])
def test_after_a_release_or_a_start_over_the_order_just_waits(client, guest, outcome):
    order = make_order(shopper=guest)
    make_attempt(order, outcome)
    page = page_of(client, order)
    assert "Your order waits for payment" in text_of(page) and pays(page, order)


def test_a_decline_of_the_past_is_not_shown_over_the_press_under_way(client, guest):
    order = make_order(shopper=guest)
    make_attempt(order, "declined")
    make_attempt(order, "unknown")
    assert "We are asking your bank" in text_of(page_of(client, order))


@pytest.mark.parametrize("outcome", [None, "unknown", "requires_action"])
def test_while_closing_nobody_is_asked_to_pay(client, guest, outcome):
    order = make_order(shopper=guest, closing_since=timezone.now(), closing_reason="cancel")
    if outcome:
        make_attempt(order, outcome)
    page = page_of(client, order)
    assert "The bank has the last word." in text_of(page)
    assert not pays(page, order)


def test_a_receipt_has_reference_amount_card_and_lines(client, guest):
    order = make_order((make_product(name="Lamp", price_minor=2400), 2), shopper=guest)
    make_attempt(order, "succeeded")
    Payment.objects.update(phase="succeeded", captured_minor=4800, card_brand="visa", card_last4="4242")
    with transaction.atomic():
        mark_paid(order, timezone.now())
    page = page_of(client, order)
    text = text_of(page)
    for said in ("your order is paid", order.number, "£48.00", "Visa ending in 4242", "2 × Lamp", "What happens next"):
        assert said in text
    assert not pays(page, order) and 'name="cancel' not in page.content.decode()
    assert "data-print" in page.content.decode()


def test_a_refund_is_shown_on_the_receipt_and_a_full_one_has_its_page(client, guest):
    order = make_order((make_product(price_minor=2400), 1), shopper=guest)
    make_attempt(order, "succeeded")
    Payment.objects.update(phase="succeeded", captured_minor=2400, refunded_minor=500)
    with transaction.atomic():
        mark_paid(order, timezone.now())
    assert "Refunded £5.00" in text_of(page_of(client, order))
    Order.objects.update(status="refunded")
    assert "This order was refunded" in text_of(page_of(client, order))


@pytest.mark.parametrize("status", Order.CLOSED)
def test_an_order_given_up_says_not_charged_unless_money_came_late(client, guest, status):
    order = make_order(shopper=guest)
    make_attempt(order, "canceled")
    with transaction.atomic():
        end_unpaid(order, status, timezone.now())
    page = page_of(client, order)
    assert "You were not charged." in text_of(page)
    assert not pays(page, order)

    Payment.objects.update(phase="succeeded", captured_minor=order.total_minor)
    text = text_of(page_of(client, order))
    assert "You were not charged." not in text
    assert f"A payment of {order.total_text} reached us after that." in text


def test_put_back_fills_the_cart_once(client, guest):
    book, gone = make_product(stock=9), make_product(stock=9)
    order = make_order((book, 2), (gone, 1), shopper=guest)
    with transaction.atomic():
        end_unpaid(order, Order.Status.EXPIRED, timezone.now())
    CartItem.objects.all().delete()
    Product.objects.filter(pk=gone.pk).update(on_sale=False)

    for _ in range(2):
        answer = client.post(f"/orders/{order.pk}/put-back/")
        assert (answer.status_code, answer["Location"]) == (303, "/cart/")

    assert [(item.product, item.quantity) for item in CartItem.objects.all()] == [(book, 2)]
    assert f"We could not put everything back: {gone.name}." in text_of(client.get("/cart/"))


def test_put_back_of_an_order_that_is_not_over_changes_nothing(client, guest):
    order = make_order(shopper=guest)
    CartItem.objects.all().delete()
    answer = client.post(f"/orders/{order.pk}/put-back/")
    assert (answer.status_code, answer["Location"]) == (303, f"/orders/{order.pk}/")
    assert not CartItem.objects.exists()


@pytest.mark.parametrize(("method", "path"), [("get", ""), ("post", "put-back/")])
def test_anothers_order_is_unknown(method, path):
    order = make_order()
    stranger = guest_client()
    for order_id in (order.pk, "x" * 32, "x"):
        assert getattr(stranger, method)(f"/orders/{order_id}/{path}").status_code == 404


def test_looking_changes_nothing_and_is_few_statements(client, guest, django_assert_num_queries):
    order = make_order(shopper=guest)
    make_attempt(order, "unknown")
    # session, order, newest press, payment, lines
    with django_assert_num_queries(5):
        page_of(client, order)


def test_my_orders_are_mine(client, guest):
    mine = [make_order(shopper=guest), make_order(shopper=guest)]
    make_attempt(mine[0], "unknown")
    other = make_order()
    text = text_of(client.get("/account/orders/"))
    assert all(order.number in text for order in mine) and other.number not in text
    assert "With your bank" in text and "Waits for payment" in text


def test_a_users_orders_are_shown_after_log_in_on_any_device():
    ada = User.objects.create_user("ada")
    order = make_order(shopper=Shopper(ada.pk, ""))
    client = guest_client()
    assert order.number not in text_of(client.get("/account/orders/"))
    client.force_login(ada)
    assert order.number in text_of(client.get("/account/orders/"))


def test_my_orders_come_in_pages(client, guest, django_assert_max_num_queries):
    product = make_product(stock=99)
    for _ in range(21):
        make_order((product, 1), shopper=guest)
    with django_assert_max_num_queries(4):
        page = client.get("/account/orders/")
    assert page.content.decode().count('class="reference"') == 20
    assert "?page=2" in page.content.decode()
    assert client.get("/account/orders/?page=2").content.decode().count('class="reference"') == 1


def test_hold_time_is_said(client, guest):
    order = make_order(shopper=guest, expires_at=minutes_ago(-25))
    assert f"until {order.expires_at:%H:%M} UTC" in text_of(page_of(client, order))


@pytest.mark.parametrize("state", list(Shown))
def test_every_state_has_a_page_without_inline_script_or_forbidden_words(state):
    source = (BASE_DIR / "templates" / "orders" / f"order_{state}.html").read_text()
    assert "<script>" not in source and "style=" not in source and "onclick" not in source
    assert not re.search(r"do not (refresh|reload|close|press)|don.t (refresh|reload|close)", source, re.IGNORECASE)
    if state in (Shown.ASKING, Shown.ACTION, Shown.CLOSING):
        assert not re.search(r"fail|declin", source, re.IGNORECASE)
