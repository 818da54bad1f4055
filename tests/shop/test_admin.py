"""Staff edit products, and stock only moves by differences."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shop.models import Product
from tests.shop.making import product

FORM = {"name": "The pen", "slug": "pen", "price_minor": "700", "currency": "GBP", "on_sale": "on", "position": "1"}

pytestmark = pytest.mark.django_db


def test_a_price_is_changed_and_the_stock_is_not_written(admin_client):
    pen = product(stock=10)
    with CaptureQueriesContext(connection) as queries:
        response = admin_client.post(f"/admin/shop/product/{pen.pk}/change/", FORM | {"stock": "99", "sku": "X"})
    assert response.status_code == 302
    pen.refresh_from_db()
    assert (pen.price_minor, pen.stock, pen.sku) == (700, 10, "PEN")
    [update] = [one["sql"] for one in queries if one["sql"].startswith('UPDATE "shop_product"')]
    assert '"stock"' not in update


def test_a_new_product_has_a_stock_and_one_that_exists_cannot_be_deleted(admin_client):
    admin_client.post("/admin/shop/product/add/", FORM | {"stock": "12", "sku": "NEW"})
    new = Product.objects.get()
    assert (new.sku, new.stock) == ("NEW", 12)
    assert admin_client.post(f"/admin/shop/product/{new.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Product.objects.count() == 1


def test_a_product_without_a_picture_of_its_own_has_a_plain_one(client):
    product("NEW")
    assert 'src="/static/img/no-picture.svg"' in client.get("/").content.decode()


@pytest.mark.parametrize("path", ["", "shop/product/", "shop/product/add/"])
def test_the_admin_needs_no_inline_script_or_style(admin_client, path):
    page = admin_client.get(f"/admin/{path}").content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
    scripts = [script for script in page.split("<script")[1:] if "src=" not in script.split(">")[0]]
    assert all('type="application/json"' in script or "json" in script.split(">")[0] for script in scripts)


def test_a_shopper_has_no_admin(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("ada"))
    assert client.get("/admin/").status_code == 302
