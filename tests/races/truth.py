"""What must be so when a race is over, whoever won it; and the two clocks a test may turn."""

import datetime
import json
import time
from collections.abc import Callable

import stripe
from django.conf import settings
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.models import Attempt, Payment, PaymentEvent
from shop.database_clock import DatabaseClock
from tests.book import Book, Json


def assert_one_truth(book: Book, order: Order, stock: int = 10) -> str:
    """The order's status; paid means one charge, one receipt, one settlement; anything else means none of them.

    `stock` is what the product had before this order of one piece was placed.
    """
    order.refresh_from_db()
    charged = len(book.succeeded(order.pk))
    paid = order.is_paid
    assert charged == (1 if paid else 0), f"{order.status} with {charged} charges"
    assert Mail.objects.filter(order=order, kind="receipt").count() == charged
    assert Attempt.objects.filter(order=order, outcome="succeeded").count() == charged
    assert Payment.objects.filter(order=order, phase="succeeded").count() == charged
    assert settled(order, "succeeded") == charged
    held = 0 if order.is_closed else 1
    assert order.lines.get().product.stock == stock - held
    return order.status


def settled(order: Order, to_state: str) -> int:
    """How often the order's story says that something came to this."""
    return PaymentEvent.objects.filter(order=order, kind="settled", to_state=to_state).count()


def end_leases(order: Order) -> None:
    """The database's clock alone ends a lease; for the rows of this order it is a minute later now."""
    a_minute_ago = DatabaseClock() - datetime.timedelta(seconds=60)
    Attempt.objects.filter(order=order, locked_until__isnull=False).update(locked_until=a_minute_ago)
    Payment.objects.filter(order=order, locked_until__isnull=False).update(locked_until=a_minute_ago)


def due_now(order: Order) -> None:
    """The ladder's next look is due."""
    Attempt.objects.filter(order=order, next_look_at__isnull=False).update(next_look_at=timezone.now())


def wait_until(so: Callable[[], bool], seconds: float = 30) -> None:
    """Another process will have done it."""
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "it did not come to this"
        time.sleep(0.02)


def deliver(event: Json) -> int:
    """The sandbox's event, signed as Stripe signs, brought to the shop's own address: what the shop answered."""
    body = json.dumps(event)
    moment = int(time.time())
    secret = settings.STRIPE_WEBHOOK_SECRETS[0]
    signature = stripe.WebhookSignature._compute_signature(f"{moment}.{body}", secret)
    answer = Client().post(
        "/webhooks/stripe/",
        body,
        content_type="application/json",
        headers={"Stripe-Signature": f"t={moment},v1={signature}"},
    )
    return answer.status_code


def event_of(book: Book, order: Order, kind: str) -> Json:
    """The newest event of this kind about the order's intents."""
    intents = {intent["id"] for intent in book.intents(order.pk)}
    events = [event for intent in intents for event in book.events(intent) if event["type"] == kind]
    return max(events, key=lambda event: event["created"])
