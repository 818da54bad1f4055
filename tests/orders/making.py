"""Builders of rows for tests: plain functions with overrides."""

import datetime
import itertools
from typing import Any

from django.db import transaction
from django.test import Client
from django.utils import timezone

from orders import goods
from orders.models import Order
from orders.ownership import Shopper
from orders.place import Contact, Placed, Wish, place_order
from payments.models import Attempt, Payment, attempt_id, create_key
from shop.ids import new_id
from shop.models import Cart, CartItem, Product, cart_version

_numbers = itertools.count(1)

ADDRESS = {"line1": "1 High Street", "city": "London", "postal_code": "N1 1AA", "country": "GB"}
BODY = {"email": "ada@example.com", "name": "Ada Lovelace", "address": ADDRESS}
CONTACT = Contact(email="ada@example.com", name="Ada Lovelace", **ADDRESS)


def make_product(**fields: Any) -> Product:
    n = next(_numbers)
    defaults = {"sku": f"SKU-{n}", "name": f"Notebook {n}", "slug": f"notebook-{n}", "price_minor": 1250, "stock": 10}
    return Product.objects.create(**defaults | fields)


def make_cart(*goods: tuple[Product, int], **fields: Any) -> Cart:
    cart = Cart.objects.create(**fields)
    fill(cart, *goods)
    return cart


def fill(cart: Cart, *goods: tuple[Product, int]) -> None:
    """The cart holds exactly this."""
    cart.items.all().delete()
    CartItem.objects.bulk_create(CartItem(cart=cart, product=product, quantity=n) for product, n in goods)


def version_of(cart: Cart) -> str:
    cart.refresh_from_db()
    return cart_version(cart, cart.lines())


def make_guest() -> Shopper:
    return Shopper(None, new_id())


def wish_for(cart: Cart, shopper: Shopper, **fields: Any) -> Wish:
    defaults: dict[str, Any] = {"key": new_id(), "contact": CONTACT, "cart_version": version_of(cart)}
    return Wish(cart=cart, shopper=shopper, **defaults | fields)


def place(cart: Cart, shopper: Shopper | None = None, **fields: Any) -> Placed:
    return place_order(wish_for(cart, shopper or make_guest(), **fields))


def make_order(*goods: tuple[Product, int], shopper: Shopper | None = None, **fields: Any) -> Order:
    """A placed order of these goods (one notebook unless said), with columns changed afterwards."""
    order = place(make_cart(*goods or [(make_product(), 1)]), shopper).order
    if fields:
        Order.objects.filter(pk=order.pk).update(**fields)
        order.refresh_from_db()
    return order


def give_up(order: Order, status: str) -> None:
    """As if the order had ended unpaid, without a word to Stripe or to the shopper: its goods are on sale again."""
    with transaction.atomic():
        locked = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
        Order.objects.filter(pk=order.pk).update(status=status, closed_at=timezone.now())
        goods.give_back(locked)


def make_attempt(order: Order, outcome: str, **fields: Any) -> Attempt:
    """A press of Pay that came to this; "" is one still being worked on."""
    number = order.attempts.count() + 1
    payment = order.payments.first() or Payment.objects.create(
        order=order,
        n=1,
        idempotency_key=create_key(order.pk, 1),
        create_params={},
        amount_minor=order.total_minor,
        currency=order.currency,
        phase=Payment.Phase.OPEN,
    )
    ended = outcome in ("succeeded", "declined", "failed", "canceled", "released")
    defaults = {
        "id": attempt_id(order.pk, number),
        "number": number,
        "idempotency_key": new_id(),
        "fingerprint": "x",
        "phase": Attempt.Phase.FINISHED if ended else Attempt.Phase.CONFIRMING,
        "outcome": outcome,
        "claimed_at": timezone.now(),
    }
    return Attempt.objects.create(order=order, payment=payment, **defaults | fields)


def minutes_ago(minutes: float) -> datetime.datetime:
    return timezone.now() - datetime.timedelta(minutes=minutes)


def guest_client(cart: Cart | None = None, shopper: Shopper | None = None) -> Client:
    """A browser whose session holds this cart and this guest's id."""
    client = Client(headers={"Accept": "application/json"})
    session = client.session
    session["guest_id"] = (shopper or make_guest()).guest_id
    if cart is not None:
        session["cart"] = cart.pk
    session.save()
    return client


def post_order(client: Client, cart: Cart, key: str | None = None, **body: Any) -> Any:
    """POST /api/orders/ as a script would."""
    sent = BODY | {"cart_version": version_of(cart)} | body
    return client.post(
        "/api/orders/", sent, content_type="application/json", headers={"Idempotency-Key": key or new_id()}
    )
