"""Whose an order is: a user's, or the session's that placed it."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.http import Http404
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from orders.ownership import Shopper, adopt_orders, own_order
from tests.orders.making import guest_client, make_cart, make_guest, make_order, make_product, place, post_order

pytestmark = pytest.mark.django_db(transaction=True)


def request_of(user=None, guest: str = ""):
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    request.session = SessionStore()
    if guest:
        request.session["guest_id"] = guest
    return request


def owns(order, user=None, guest: str = "") -> bool:
    try:
        return bool(own_order(request_of(user, guest), order.pk) == order)
    except Http404:
        return False


def test_a_guests_order_is_the_sessions():
    guest = make_guest()
    order = make_order(shopper=guest)
    assert owns(order, guest=guest.guest_id)
    assert not owns(order, guest=make_guest().guest_id)
    assert not owns(order)
    assert not owns(order, user=User.objects.create_user("eve"))


def test_a_users_order_is_the_users_in_every_session():
    ada, eve = User.objects.create_user("ada"), User.objects.create_user("eve")
    order = make_order(shopper=Shopper(ada.pk, "g" * 32))
    assert owns(order, user=ada)
    assert owns(order, user=ada, guest="other")
    assert not owns(order, user=eve)
    assert not owns(order, guest="g" * 32)  # logged out: the session's guest id opens no user's order


def test_an_order_without_a_guest_id_is_not_everybodys():
    order = make_order(guest_id="", principal="guest:lost")
    assert not owns(order)
    assert not owns(order, guest="x")


def test_log_in_adopts_the_sessions_orders_and_nobody_elses():
    guest, ada = make_guest(), User.objects.create_user("ada")
    mine, other = make_order(shopper=guest), make_order()

    assert adopt_orders(request_of(), ada, guest.guest_id) == 1
    assert adopt_orders(request_of(), ada, guest.guest_id) == 0
    assert adopt_orders(request_of(), ada, "") == 0

    mine.refresh_from_db()
    other.refresh_from_db()
    assert mine.user == ada and other.user is None
    assert owns(mine, user=ada)
    assert not owns(mine, guest=guest.guest_id)


def test_logging_in_by_the_page_adopts_and_keeps_the_key():
    User.objects.create_user("ada@example.com", "ada@example.com", "correct horse battery")
    cart = make_cart((make_product(), 1))
    client = guest_client(cart)
    order = post_order(client, cart, "K1").json()

    client.post("/account/log-in/", {"username": "ada@example.com", "password": "correct horse battery"})

    assert client.get(order["links"]["self"]).status_code == 200
    again = post_order(client, cart, "K1")
    assert (again.status_code, again.json()["id"]) == (201, order["id"])


def test_with_lock_one_row_lock_is_taken_before_anything_is_written():
    guest = make_guest()
    order = place(make_cart((make_product(), 1)), guest).order
    with transaction.atomic(), CaptureQueriesContext(connection) as asked:
        own_order(request_of(guest=guest.guest_id), order.pk, lock=True)
    assert len(asked) == 1
    assert asked[0]["sql"].endswith('LIMIT 1 FOR NO KEY UPDATE OF "orders_order"')
