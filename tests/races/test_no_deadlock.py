"""Two hundred random acts of eight actors on the same few orders: no deadlock, no 500, one truth for every order (R37).

The seed decides what each actor does; the machine decides when.
"""

import random
from collections import Counter

import pytest
from django.db import connection, connections
from django.test import Client

from orders.models import Order
from payments import pay
from payments.cancellation import expire_due
from payments.models import Asker, Attempt
from payments.reconciliation import inbox
from payments.reconciliation.recovery import ask_stripe, complete_due
from shop.ids import new_id
from shop.models import Product
from tests.book import Book
from tests.layers.pressing import opened_order
from tests.orders.making import guest_client, make_cart, make_product, post_order
from tests.races.crowd import Answer, at_once, press
from tests.races.truth import deliver, due_now, end_leases

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool", "one_try")]

Goods = list[tuple[Product, int]]

ACTORS, ACTS_EACH = 8, 25
CARDS = ["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_threeDSecure2Required"]


def deadlocks() -> int:
    """As PostgreSQL counts them; connections that are closed have reported theirs."""
    for each in connections.all():
        each.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        counted: int = cursor.fetchone()[0]
    return counted


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_random_acts(book, seed):
    before = deadlocks()
    ready = [opened_order() for _ in range(4)]
    goods = [(make_product(stock=50), 1), (make_product(stock=50), 2)]

    def actor(number: int) -> list[Answer | None]:
        chance = random.Random(seed * 1000 + number)
        return [act(chance, book, chance.choice(ready), goods) for _ in range(ACTS_EACH)]

    answers = [answer for acts in at_once(ACTORS, actor) for answer in acts if answer]

    told = Counter((answer.status, answer.problem) for answer in answers)
    assert all(status < 500 for status, _ in told), told
    assert deadlocks() == before
    finish(book)
    for order in Order.objects.all():
        charged = len(book.succeeded(order.pk))
        assert charged == (1 if order.is_paid else 0), order
        assert Attempt.objects.filter(order=order).live().count() == charged
    for product, quantity in goods:
        orders = Order.objects.filter(lines__product=product).exclude(status__in=Order.CLOSED).count()
        assert Product.objects.get(pk=product.pk).stock == 50 - quantity * orders


def act(chance: random.Random, book: Book, chosen: tuple[Order, Client], goods: Goods) -> Answer | None:
    """One act that somebody in a shop might do; the answer, if it was a request."""
    order, client = Order.objects.get(pk=chosen[0].pk), chosen[1]
    match chance.randrange(9):
        case 0 | 1:
            return press(client, order, token=chance.choice(CARDS))
        case 2:
            return press(client, order, new_id(), token=chance.choice(CARDS))
        case 3:
            return give_up(client, order, chance.choice(["start-over", "start-over", "cancel"]))
        case 4:
            return place(chance.sample(goods, 2))
        case 5:
            ask_stripe(order, Asker.STAFF)
        case 6:
            due_now(order)
            complete_due()
        case 7:
            bring_an_event(chance, book)
        case 8:
            pay.open_ahead(order.pk)
            expire_due()
    return None


def place(goods: Goods) -> Answer:
    cart = make_cart(*goods)
    answer = post_order(guest_client(cart), cart)
    return Answer(answer.status_code, answer.content, False)


def bring_an_event(chance: random.Random, book: Book) -> None:
    if events := book.events():
        deliver(chance.choice(events))
    inbox.work_webhooks()


def give_up(client: Client, order: Order, wish: str) -> Answer:
    answer = client.post(
        f"/api/orders/{order.pk}/{wish}/", {}, content_type="application/json", headers={"Idempotency-Key": "a-wish"}
    )
    return Answer(answer.status_code, answer.content, False)


def finish(book: Book) -> None:
    """Challenges are passed, and the completer runs until nothing is open."""
    for intent in book.intents():
        if intent["status"] == "requires_action":
            book.challenge(intent["id"], "pass")
    for _ in range(5):
        for order in Order.objects.all():
            end_leases(order)
            due_now(order)
        complete_due()
    assert not Attempt.objects.exclude(phase="finished").exists()
    assert not Order.objects.filter(closing_since__isnull=False).exists()
