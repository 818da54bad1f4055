"""Builders for tests of the shop: plain functions with overrides."""

import threading
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from shop.models import Cart, CartItem, Product

PASSWORD = "a long enough password"


def product(sku: str = "PEN", **overrides: Any) -> Product:
    values = {"name": f"The {sku}", "slug": sku.lower(), "price_minor": 500, "stock": 10, "currency": "GBP"}
    return Product.objects.create(sku=sku, **(values | overrides))


def user(email: str = "ada@example.com") -> User:
    return User.objects.create_user(email, email, PASSWORD)


def log_in(client: Client, email: str = "ada@example.com", password: str = PASSWORD, **more: str) -> Any:
    return client.post("/account/log-in/", {"username": email, "password": password, **more})


def put(client: Client, sku: str, quantity: object) -> Any:
    return client.put(f"/api/cart/items/{sku}/", {"quantity": quantity}, content_type="application/json")


def held(client: Client) -> dict[str, int]:
    """What the client's cart holds, by the API: sku -> quantity."""
    return {item["sku"]: item["quantity"] for item in client.get("/api/cart/").json()["items"]}


def in_cart(cart: Cart) -> dict[str, int]:
    return dict(CartItem.objects.filter(cart=cart).values_list("product__sku", "quantity"))


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Run the acts in threads of their own, started together; their results, or the errors they raised."""
    results: list[Any] = [None] * len(acts)
    start = threading.Barrier(len(acts))

    def run(number: int, act: Callable[[], Any]) -> None:
        try:
            start.wait()
            results[number] = act()
        except Exception as error:  # noqa: BLE001  the test looks at it
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
