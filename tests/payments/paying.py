"""A shopper who pays, for tests: plain functions with overrides."""

import base64
import datetime
import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.test import Client
from django.utils import timezone

from orders.models import Order
from orders.ownership import Shopper
from payments.models import Attempt, Payment
from payments.reconciliation.recovery import complete_due
from shop.database_clock import DatabaseClock
from shop.ids import new_id
from tests.book import Book, Json
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
    """POST payment-status: ask Stripe now, as if the last question were long ago."""
    undecided(order).update(looked_at=None)
    answer: dict[str, Any] = client.post(
        f"/api/orders/{order.pk}/payment-status/", {}, content_type="application/json"
    ).json()
    return answer


def cancel(client: Client, order: Order, key: str | None = None) -> Any:
    return _give_up(client, order, "cancel", key)


def start_over(client: Client, order: Order, key: str | None = None) -> Any:
    return _give_up(client, order, "start-over", key)


def _give_up(client: Client, order: Order, how: str, key: str | None) -> Any:
    return client.post(
        f"/api/orders/{order.pk}/{how}/",
        {},
        content_type="application/json",
        headers={"Idempotency-Key": key or new_id(), "Accept": "application/json"},
    )


class Told(NamedTuple):
    """One row of the outcome table (RULES R24): what a press came to, for the shopper, in our rows and in the book."""

    outcome: str
    http: int
    problem: str | None
    retry: str | None
    retry_after: str | None
    order: str
    rotated: bool
    charges: int


def told(answer: Any, order: Order, book: Book) -> Told:
    """`order` is as it was before the press."""
    body = answer.json()
    now = Order.objects.get(pk=order.pk)
    attempt = Attempt.objects.filter(order=order).order_by("-number").first()
    return Told(
        outcome=attempt.payment_status if attempt else "none",
        http=answer.status_code,
        problem=body["type"].removeprefix("/problems/") if answer.status_code >= 400 else None,
        retry=body.get("retry"),
        retry_after=answer.headers.get("Retry-After"),
        order=now.status,
        rotated=now.pay_key != order.pay_key,
        charges=len(book.succeeded(order.pk)),
    )


def undecided(order: Order) -> Any:
    return Attempt.objects.filter(order=order).undecided()


def let_leases_end(order: Order) -> None:
    """As if time had passed: nobody holds the order's rows, and the next look at its attempt or closing is due."""
    past = DatabaseClock() - datetime.timedelta(seconds=1)
    Attempt.objects.filter(order=order, locked_until__isnull=False).update(locked_until=past)
    Attempt.objects.filter(order=order).exclude(phase="finished").update(next_look_at=past)
    Payment.objects.filter(order=order, locked_until__isnull=False).update(locked_until=past)
    Payment.objects.filter(order=order, next_look_at__isnull=False).update(next_look_at=past)


def clicked(order: Order, ago: datetime.timedelta) -> None:
    """As if Pay had been pressed so long ago."""
    undecided(order).update(claimed_at=timezone.now() - ago)


def complete(order: Order) -> tuple[int, int]:
    """One round of the completer, when it is due."""
    let_leases_end(order)
    return complete_due()


def confirms(book: Book, order: Order) -> list[Json]:
    """The calls that may charge."""
    return book.calls(order.pk, "/v1/payment_intents/*/confirm")


def posts(book: Book, order: Order) -> list[Json]:
    return [call for call in book.calls(order.pk) if call["method"] == "POST"]


def intent_of(order: Order) -> str:
    intent = Payment.objects.filter(order=order).order_by("-n").values_list("intent_id", flat=True)[0]
    assert intent is not None
    return intent


def at_stripe(path: str, key: str = "", **params: Any) -> Json:
    """Something done in Stripe's dashboard, or by Stripe.js: not by our shop."""
    request = urllib.request.Request(f"{book_url()}/v1/{path}", urlencode(params).encode(), method="POST")
    token = base64.b64encode(f"{settings.STRIPE_SECRET_KEY}:".encode()).decode()
    request.add_header("Authorization", f"Basic {token}")
    if key:
        request.add_header("Idempotency-Key", key)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            made: Json = json.load(answer)
    except urllib.error.HTTPError as error:
        refused: Json = json.load(error)
        return refused
    return made


def book_url() -> str:
    from tests.services import services

    return services().sandbox.url
