"""A shopper who pays, for tests: plain functions with overrides."""

from typing import Any

from django.test import Client

from orders.models import Order
from orders.ownership import Shopper
from tests.orders.making import guest_client, make_guest, make_order, make_product


def placed_order(stock: int = 10, quantity: int = 1, **fields: Any) -> tuple[Order, Client]:
    """An order that waits to be paid, and the browser of the guest who placed it."""
    shopper = make_guest()
    product = make_product(stock=stock)
    return make_order((product, quantity), shopper=shopper, **fields), guest_client(shopper=shopper)


def client_of(shopper: Shopper) -> Client:
    return guest_client(shopper=shopper)


def press(client: Client, order: Order, key: str | None = None, token: str = "pm_card_visa", **body: Any) -> Any:
    """POST .../payments/ as the pay page would; the order's current pay_key unless another key is given."""
    if key is None:
        key = Order.objects.values_list("pay_key", flat=True).get(pk=order.pk)
    sent = {"payment_token": token, "amount": order.total_minor, "currency": order.currency} | body
    return client.post(
        f"/api/orders/{order.pk}/payments/",
        sent,
        content_type="application/json",
        headers={"Idempotency-Key": key, "Accept": "application/json"},
    )


def status_of(client: Client, order: Order) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/api/orders/{order.pk}/payment-status/").json()
    return answer


def ask_status(client: Client, order: Order) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(
        f"/api/orders/{order.pk}/payment-status/", {}, content_type="application/json"
    ).json()
    return answer
