"""Staff look at money in the admin: they find it, they see its story, and they can change nothing there."""

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import Client

from payments.models import Attempt, Payment, PaymentEvent, WebhookEvent
from tests.book import Book
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    return client


def test_a_payment_page_shows_its_presses_and_every_call(book: Book, staff: Client) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    press(client, order)
    payment = Payment.objects.get(order=order)
    page = staff.get(f"/admin/payments/payment/{quote(payment.pk)}/change/")
    text = page.content.decode()
    assert page.status_code == 200
    assert "Stripe: confirm" in text
    assert "Stripe: open the intent" in text
    assert PaymentEvent.objects.filter(order=order, kind="call:create").count() == 1
    assert "declined" in text
    assert "succeeded" in text
    assert 'name="_save"' not in text


@pytest.mark.parametrize("what", ["number", "email", "intent", "charge", "key", "last four"])
def test_a_payment_is_found_by(book: Book, staff: Client, what: str) -> None:
    order, client = placed_order()
    other, other_client = placed_order(email="someone@else.example")
    press(other_client, other, token="pm_card_mastercard")
    key = order.pay_key
    press(client, order)
    payment = Payment.objects.get(order=order)
    words = {
        "number": order.number,
        "email": order.email,
        "intent": payment.intent_id,
        "charge": payment.charge_id,
        "key": key,
        "last four": "4242",
    }
    page = staff.get("/admin/payments/payment/", {"q": words[what] or ""})
    text = page.content.decode()
    assert order.number in text
    assert other.number not in text


def test_nothing_of_money_can_be_changed_or_deleted_by_post(book: Book, staff: Client) -> None:
    order, client = placed_order()
    press(client, order)
    payment = Payment.objects.get(order=order)
    for path in ("change", "delete"):
        answer = staff.post(
            f"/admin/payments/payment/{quote(payment.pk)}/{path}/", {"phase": "canceled", "post": "yes"}
        )
        assert answer.status_code == 403
    assert staff.get("/admin/payments/payment/add/").status_code == 403
    assert Payment.objects.get(pk=payment.pk).phase == "succeeded"


def test_every_list_and_the_product_form_open(book: Book, staff: Client) -> None:
    order, client = placed_order()
    press(client, order)
    attempt = Attempt.objects.get(order=order)
    pages = [f"/admin/payments/{name}/" for name in ("payment", "attempt", "webhookevent", "break")]
    pages += ["/admin/", "/admin/orders/order/", "/admin/shop/product/", "/admin/shop/product/add/"]
    pages += [f"/admin/orders/order/{quote(order.pk)}/change/", f"/admin/payments/attempt/{attempt.pk}/change/"]
    pages += [f"/admin/shop/product/{order.lines.get().product_id}/change/"]
    assert {page: staff.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)
    assert WebhookEvent.objects.count() == 0
