"""`manage.py seed_shop`: a shop to look at, and a second run that changes nothing."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import CommandError, call_command

from shop.models import Product
from shop.money import CURRENCIES

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _development(settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setenv("STAFF_USERNAME", "staff")
    monkeypatch.setenv("STAFF_PASSWORD", "the first password")


def seed() -> str:
    out = StringIO()
    call_command("seed_shop", stdout=out)
    return out.getvalue()


def test_the_first_run_fills_the_shop():
    assert seed() == "seed_shop: 18 of 18 products added, staff 'staff' added\n"
    products = Product.objects.all()
    assert len(products) == 18
    assert sum(one.stock >= 500 for one in products) >= 3
    assert [one.stock for one in products].count(0) == 1
    assert [one.stock for one in products].count(3) == 1
    assert {one.currency for one in products} == {"GBP"}
    assert min(one.price_minor for one in products) > CURRENCIES["GBP"].smallest_minor
    assert all(one.summary and one.description for one in products)
    assert User.objects.get().is_superuser


def test_every_product_has_its_picture_and_the_picture_no_script():
    seed()
    for one in Product.objects.all():
        found = finders.find(f"img/products/{one.slug}.svg")
        assert found, one.slug
        with open(found) as file:
            assert "<script" not in file.read()


def test_the_second_run_changes_nothing():
    seed()
    Product.objects.filter(sku="PEN-FOUNT-F").update(stock=1, price_minor=9)
    before = list(Product.objects.values())
    password = User.objects.get().password
    assert seed() == "seed_shop: 0 of 18 products added, staff 'staff' was there\n"
    assert list(Product.objects.values()) == before
    assert User.objects.get().password == password


def test_a_password_is_changed_only_when_another_is_given(monkeypatch):
    seed()
    monkeypatch.delenv("STAFF_PASSWORD")
    seed()
    assert User.objects.get().check_password("the first password")
    monkeypatch.setenv("STAFF_PASSWORD", "the second password")
    assert "has the password given" in seed()
    assert User.objects.get().check_password("the second password")


def test_without_a_password_nobody_is_made(monkeypatch):
    monkeypatch.delenv("STAFF_PASSWORD")
    with pytest.raises(CommandError, match="set STAFF_PASSWORD"):
        seed()
    assert User.objects.count() == 0


def test_in_production_nobody_is_made(settings):
    settings.DEBUG = False
    assert "no staff" in seed()
    assert User.objects.count() == 0
