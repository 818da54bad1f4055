"""Staff find orders and read them; nothing placed can be edited there."""

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orders.ends import owe_mail
from orders.models import Mail
from tests.orders.making import make_order, make_product

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff():
    client = Client()
    client.force_login(User.objects.create_superuser("staff"))
    return client


def test_an_order_is_found_by_number_e_mail_and_id(staff):
    order, other = make_order(email="grace@example.com"), make_order()
    for sought in (order.number, order.number.lower(), "grace@", order.pk):
        found = staff.get("/admin/orders/order/", {"q": sought}).content.decode()
        assert order.number in found and other.number not in found, sought


def test_an_order_is_shown_with_lines_and_mails(staff):
    order = make_order((make_product(sku="LAMP"), 2))
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    page = staff.get(f"/admin/orders/order/{quote(order.pk)}/change/").content.decode()
    for said in (order.number, order.total_text, "LAMP", "receipt", "due"):
        assert said in page, said


@pytest.mark.parametrize("path", ["order/add/", "mail/add/", "order/{}/delete/", "order/{}/change/"])
def test_nothing_is_added_changed_or_deleted(staff, path):
    order = make_order()
    answer = staff.post(f"/admin/orders/{path.format(quote(order.pk))}", {"status": "paid", "total_minor": 1})
    assert answer.status_code == 403
    before = order.total_minor
    order.refresh_from_db()
    assert (order.status, order.total_minor) == ("pending", before)


def test_a_mail_in_doubt_can_be_listed(staff):
    order = make_order()
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    Mail.objects.update(state="sending", sending_at=timezone.now())
    assert order.number in staff.get("/admin/orders/mail/?state__exact=sending").content.decode()
