"""`kill -9` of a real app server at the gaps between two commits. Each time two presses are in its hands: one is
repaired by the completer alone, the other by the shopper's own retry (RULES crash points C5, C7, C10-C13, C17, C18;
R49-R54; FAILURES 26, 34, 56, 62)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from orders.models import Mail, Order
from payments import pay
from payments.complete import complete_due
from payments.models import Attempt, Payment
from tests.book import CREATE, Book
from tests.crashes.dying import assert_died, in_background, press_at, rows_held, wait_for_waiters
from tests.oracles import assert_books_agree
from tests.payments.paying import confirms, let_leases_end, placed_order, press
from tests.services import Stack

pytestmark = pytest.mark.django_db(transaction=True)

Pair = list[tuple[Order, Client]]
ORDERS = "SELECT 1 FROM orders_order WHERE id = ANY(%s) FOR NO KEY UPDATE"
PAYMENTS = "SELECT 1 FROM payments_payment WHERE order_id = ANY(%s) FOR NO KEY UPDATE"


def two_orders() -> Pair:
    return [placed_order(), placed_order()]


def ids(pair: Pair) -> list[str]:
    return [order.pk for order, _ in pair]


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


def test_killed_after_the_charge_and_before_its_answer(book: Book, stack: Callable[..., Stack]) -> None:
    """C12, C13: the charge is in Stripe's book, and nobody is left who knows."""
    servers, pair = stack(), two_orders()
    book.rule("hold", when="after", hold="bank", times=2)
    presses = pressed(servers, pair)
    book.wait_until_held("bank", 2)
    assert [len(book.succeeded(order.pk)) for order, _ in pair] == [1, 1]
    kill(servers, presses)
    assert left(pair) == [("confirming", "", "open")] * 2
    (first, _), (second, client) = pair
    repaired_by_completer(first)
    assert repaired_by_retry(second, client) == 201
    assert [len(confirms(book, order)) for order, _ in pair] == [1, 1]  # looked at, not confirmed again
    book.release("bank")
    assert_paid_once(book, pair)


def test_killed_after_the_answer_and_before_the_outcome_is_committed(book: Book, stack: Callable[..., Stack]) -> None:
    """C18: Stripe's yes was in the server's memory."""
    servers, pair = stack(), two_orders()
    book.rule("hold", when="after", hold="bank", times=2)
    presses = pressed(servers, pair)
    book.wait_until_held("bank", 2)
    with rows_held(ORDERS, ids(pair)):
        book.release("bank")
        wait_for_waiters(2)
        kill(servers, presses)
    assert left(pair) == [("confirming", "", "open")] * 2
    (first, _), (second, client) = pair
    repaired_by_completer(first)
    assert repaired_by_retry(second, client) == 201
    assert_paid_once(book, pair)


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


def test_killed_before_the_confirm_was_sent(book: Book, stack: Callable[..., Stack]) -> None:
    """C10: the intent is known, `confirming` is not committed: nothing was sent that can charge."""
    servers, pair = stack(), two_orders()
    book.rule("hold", CREATE, when="after", hold="create", times=2)
    presses = pressed(servers, pair)
    book.wait_until_held("create", 2)
    with rows_held(ORDERS, ids(pair)):
        book.release("create")
        wait_for_waiters(2)
        kill(servers, presses)
    assert left(pair) == [("started", "", "open")] * 2
    (first, first_client), (second, client) = pair
    repaired_by_completer(first)
    assert Attempt.objects.get(order=first).outcome == "released"
    assert confirms(book, first) == []
    assert press(first_client, first, first.pay_key).status_code == 201
    assert repaired_by_retry(second, client) == 201
    assert [len(book.intents(order.pk)) for order, _ in pair] == [1, 1]
    assert_paid_once(book, pair)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_during_the_create(book: Book, stack: Callable[..., Stack], when: str) -> None:
    """C7: perhaps there is an intent. It cannot charge, and its create is replayed under its key."""
    servers, pair = stack(), two_orders()
    book.rule("hold", CREATE, when=when, hold="create", times=2, lock=False)
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


def test_killed_between_the_claim_and_the_create(book: Book, stack: Callable[..., Stack]) -> None:
    """C5: the claim is committed, Stripe has heard nothing."""
    servers, pair = stack(), two_orders()
    for order, _ in pair:
        with transaction.atomic():
            pay.new_payment(order, 1)
    with rows_held(PAYMENTS, ids(pair)):
        presses = pressed(servers, pair)
        wait_for_waiters(2)
        kill(servers, presses)
    assert left(pair) == [("started", "", "opening")] * 2
    assert book.calls() == []
    (first, first_client), (second, client) = pair
    repaired_by_completer(first)
    assert Attempt.objects.get(order=first).outcome == "released"
    assert book.calls() == []
    assert press(first_client, first, first.pay_key).status_code == 201
    assert repaired_by_retry(second, client) == 201
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
