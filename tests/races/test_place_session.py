"""A guest's first two requests at the same moment: both mean one guest, so the order stays the session's."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client

from orders.models import Order
from tests.orders.making import BODY, make_cart, make_product, version_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("round_", range(5))
def test_two_tabs_of_a_new_guest_place_one_order_and_both_can_see_it(round_, monkeypatch):
    monkeypatch.setattr("orders.api.nudge", lambda *args: None)
    cart = make_cart((make_product(stock=5), 1))
    first = Client()
    session = first.session
    session["cart"] = cart.pk  # and no guest id yet: nothing has asked for one
    session.save()
    body = BODY | {"cart_version": version_of(cart)}
    barrier = threading.Barrier(2)

    def place(key):
        client = Client()
        client.cookies = first.cookies
        try:
            barrier.wait()
            return client.post(
                "/api/orders/", body, content_type="application/json", headers={"Idempotency-Key": key}
            ).json()
        finally:
            connection.close()

    connection.close()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(place, ["tab-1", "tab-2"]))

    order = Order.objects.get()
    assert [answer["id"] for answer in answers] == [order.pk, order.pk]
    assert first.get(f"/api/orders/{order.pk}/").status_code == 200
