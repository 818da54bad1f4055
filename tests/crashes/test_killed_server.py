"""`kill -9` of a real app server while Stripe still works on its call, and one that wakes up too late (RULES crash
points C7, C12, C17; R49-R54; FAILURES 26, 34, 56, 62). All others: test_every_crash_point.py. Each time two presses
are in its hands: one is repaired by the completer alone, the other by the shopper's own retry."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from orders.models import Mail, Order
from payments.models import Attempt, Payment
from payments.reconciliation.recovery import complete_due
from tests.book import CREATE, Book
from tests.crashes.dying import assert_died, in_background, press_at
from tests.oracles import assert_books_agree
from tests.payments.paying import confirms, let_leases_end, placed_order, press
from tests.services import Stack

pytestmark = pytest.mark.django_db(transaction=True)

Pair = list[tuple[Order, Client]]


def two_orders() -> Pair:
    return [placed_order(), placed_order()]


def pressed(stack: Stack, pair: Pair, token: str = "pm_card_visa") -> list[Any]:
    return [in_background(press_at, stack.urls[0], client, order, token) for order, client in pair]


def kill(stack: Stack, presses: list[Any]) -> None:
    stack.servers[0].kill()
    for each in presses:
        assert_died(each)


def left(pair: Pair) -> list[tuple[str, str, str]]:
    """What lies in the rows of each order: phase and outcome of the attempt, phase of the payment."""
    return [Attempt.objects.values_list("phase", "outcome", "payment__phase").get(order=order) for order, _ in pair]


def repaired_by_completer(order: Order) -> None:
    let_leases_end(order)
    complete_due()


def repaired_by_retry(order: Order, client: Client) -> int:
    """Within the lease the retry is told to wait, whatever the dead server left in Redis; after it, it is answered."""
    waiting = press(client, order, order.pay_key)
    assert (waiting.status_code, waiting.json()["type"]) == (409, "/problems/request-in-progress")
    let_leases_end(order)
    return int(press(client, order, order.pay_key).status_code)


def assert_paid_once(book: Book, pair: Pair) -> None:
    for order, client in pair:
        assert Order.objects.get(pk=order.pk).status == "paid"
        assert len(book.charges(order.pk)) == 1
        assert Mail.objects.get(order=order, kind="receipt").state == "due"
        assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, *[order for order, _ in pair])


def test_killed_while_stripe_works_on_the_confirm(book: Book, stack: Callable[..., Stack]) -> None:
    """C12 and R52: the dead server's call is still under way, and is carried out later."""
    servers, pair = stack(), two_orders()
    book.rule("hold", when="before", hold="bank", times=2, lock=False)
    presses = pressed(servers, pair)
    book.wait_until_held("bank", 2)
    kill(servers, presses)
    (first, _), (second, client) = pair
    repaired_by_completer(first)  # meets its own key inside Stripe: not a decline, not a new key
    assert Attempt.objects.get(order=first).outcome == "unknown"
    let_leases_end(second)
    meets_itself = press(client, second, second.pay_key)
    assert (meets_itself.status_code, meets_itself.json()["type"]) == (409, "/problems/request-in-progress")
    assert book.charges() == []
    book.release("bank")
    for order, _ in pair:
        repaired_by_completer(order)
    for order, _ in pair:
        assert {call["key"] for call in confirms(book, order)} == {Attempt.objects.get(order=order).confirm_key}
    assert_paid_once(book, pair)


def test_killed_while_stripe_works_on_the_create(book: Book, stack: Callable[..., Stack]) -> None:
    """C7: the dead server's create is carried out later. It cannot charge, and is replayed under its key."""
    servers, pair = stack(), two_orders()
    book.rule("hold", CREATE, when="before", hold="create", times=2, lock=False)
    presses = pressed(servers, pair)
    book.wait_until_held("create", 2)
    kill(servers, presses)
    assert left(pair) == [("started", "", "opening")] * 2
    book.release("create")
    (first, first_client), (second, client) = pair
    repaired_by_completer(first)
    assert Attempt.objects.get(order=first).outcome == "released"
    assert press(first_client, first, first.pay_key).status_code == 201
    assert repaired_by_retry(second, client) == 201
    assert [len(book.intents(order.pk)) for order, _ in pair] == [1, 1]
    assert_paid_once(book, pair)


def test_a_server_frozen_past_its_lease_changes_nothing_when_it_wakes(book: Book, stack: Callable[..., Stack]) -> None:
    """C17: its successor has found both outcomes; a later press of the declined order has paid."""
    servers = stack()
    (paid, paid_client), (declined, client) = two_orders()
    book.rule("hold", when="after", hold="bank", times=2)
    yes = in_background(press_at, servers.urls[0], paid_client, paid)
    no = in_background(press_at, servers.urls[0], client, declined, "pm_card_chargeDeclined")
    book.wait_until_held("bank", 2)
    servers.servers[0].pause()
    for order in (paid, declined):
        repaired_by_completer(order)
    assert Attempt.objects.get(order=declined).outcome == "declined"
    assert press(client, declined).status_code == 201
    before = [list(Attempt.objects.order_by("id").values()), list(Payment.objects.order_by("id").values())]
    book.release("bank")
    servers.servers[0].resume()
    assert [yes.result(60).status, no.result(60).status] == [201, 402]
    assert [list(Attempt.objects.order_by("id").values()), list(Payment.objects.order_by("id").values())] == before
    assert_books_agree(book, paid, declined)
