"""Redis, PostgreSQL, Celery and Stripe down, restarted, flushed or deaf, before and in the middle of a press
(DESIGN section 6; RULES R68-R77, C19-C22, C26, C27; FAILURES 55, 58, 59, 115)."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from django.core import mail as outbox
from django.db import connection
from django.test import Client

from orders.mail import send_due_mails
from orders.models import Mail, Order
from payments.models import Attempt, attempt_id
from payments.reconciliation.recovery import complete_due
from shop.redis_pause import end_redis_pause
from shop.stack.postgres import Postgres
from shop.stack.redis import Redis
from tests.book import CREATE, Book
from tests.crashes.conftest import StripeProcess
from tests.crashes.dying import forget_connections, in_background, press_at
from tests.oracles import assert_books_agree
from tests.payments.paying import confirms, let_leases_end, placed_order, press
from tests.services import Stack

pytestmark = pytest.mark.django_db(transaction=True)


def held_press(book: Book, when: str = "after") -> tuple[Order, Client, Future[Any]]:
    """A press whose confirm is inside Stripe; `when="after"`: the charge is made."""
    order, client = placed_order()
    book.rule("hold", when=when, hold="bank")
    running = in_background(press, client, order, order.pay_key)
    book.wait_until_held("bank")
    return order, client, running


def released(book: Book, running: Future[Any]) -> int:
    book.release("bank")
    return int(running.result(60).status_code)


# --- Redis -----------------------------------------------------------------------------------------------------------

REDIS_FAULTS: dict[str, Callable[[Redis], None]] = {
    "killed": Redis.kill,
    "flushed": Redis.flush,
    "restarted empty": Redis.restart,
    "frozen": Redis.pause,
}


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_redis_gone_before_the_press(book: Book, redis_server: Redis, fault: str) -> None:
    order, client = placed_order()
    REDIS_FAULTS[fault](redis_server)
    assert press(client, order, order.pay_key).status_code == 201
    assert press(client, order, order.pay_key).status_code == 201
    assert press(client, order, "another").status_code == 409
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


@pytest.mark.parametrize("fault", REDIS_FAULTS)
def test_redis_lost_in_the_middle_of_a_press(book: Book, redis_server: Redis, fault: str) -> None:
    """The lock is gone, and a second tab comes in: the rows tell it to wait."""
    order, client, running = held_press(book)
    REDIS_FAULTS[fault](redis_server)
    end_redis_pause()
    again = press(client, order, order.pay_key)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/request-in-progress")
    other = press(client, order, "another")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/payment-in-progress")
    assert released(book, running) == 201
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


@pytest.mark.parametrize("fault", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1")])
def test_a_redis_that_takes_no_writes_stops_nobody(book: Book, redis_server: Redis, fault: tuple[str, ...]) -> None:
    """Out of memory; and after a fail-over, when what was the master is a replica."""
    order, client = placed_order()
    assert redis_server.command(*fault) == "+OK"
    try:
        refused = redis_server.command("SET", "a", "b")
        assert refused.startswith(("-OOM", "-READONLY"))
        assert press(client, order, order.pay_key).status_code == 201
        assert press(client, order, "another").json()["type"] == "/problems/order-already-paid"
    finally:
        redis_server.command("REPLICAOF", "NO", "ONE")
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_a_lock_that_a_dead_server_left_behind_keeps_nobody_out(book: Book, redis_server: Redis) -> None:
    order, client = placed_order()
    held = redis_server.command("SET", f":1:lock:pay:test:{order.pk}", "a-dead-one", "EX", "60")
    also = redis_server.command("SET", f"lock:pay:test:{order.pk}", "a-dead-one", "EX", "60")
    assert (held, also) == ("+OK", "+OK")
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Something listens here, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as deaf:
        yield deaf.getsockname()[1]


def test_a_redis_that_takes_connections_and_never_answers(
    book: Book, stack: Callable[..., Stack], deaf_port: int
) -> None:
    deaf = f"redis://127.0.0.1:{deaf_port}"
    servers = stack(env={"REDIS_URL": f"{deaf}/0", "CELERY_BROKER_URL": f"{deaf}/1"})
    pairs = [placed_order() for _ in range(4)]
    presses = [in_background(press_at, servers.urls[0], client, order) for order, client in pairs for _ in range(2)]
    answers = [running.result(60).status for running in presses]
    assert set(answers) <= {201, 409}
    assert all(answers[i : i + 2].count(201) >= 1 for i in range(0, 8, 2))
    assert [len(confirms(book, order)) for order, _ in pairs] == [1] * 4
    assert_books_agree(book, *[order for order, _ in pairs])


def test_without_a_broker_the_receipt_is_sent_later_by_command(book: Book, redis_server: Redis) -> None:
    redis_server.kill()
    order, client = placed_order()
    assert press(client, order).status_code == 201
    assert Mail.objects.get(order=order).state == "due"
    assert (send_due_mails(), send_due_mails()) == (1, 0)
    assert [message.to for message in outbox.outbox] == [[order.email]]
    assert Mail.objects.get(order=order).state == "sent"
    assert_books_agree(book, order)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def back(postgres: Postgres) -> None:
    """It is up again, and no dead connection is left in this process's pool."""
    postgres.restart()
    forget_connections()


def test_no_database_before_the_claim_means_no_call_to_stripe(book: Book, postgres: Postgres) -> None:
    order, client = placed_order()
    postgres.stop(immediate=True)
    for path in (f"/api/orders/{order.pk}/payments/", f"/api/orders/{order.pk}/cancel/"):
        answer = client.post(path, {}, content_type="application/json", headers={"Idempotency-Key": order.pay_key})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["retry"] == "same-key"
        assert int(answer.headers["Retry-After"]) > 0
    assert book.calls() == []
    back(postgres)
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


def test_the_database_dies_during_the_confirm_and_the_completer_finds_the_money(book: Book, postgres: Postgres) -> None:
    """C19: charged, and nothing can be written: not known, so 202 and never failed."""
    order, client, running = held_press(book)
    postgres.stop(immediate=True)
    book.release("bank")
    answer = running.result(60)
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    assert answer.headers["Retry-After"] == "2"
    back(postgres)
    assert Attempt.objects.get(order=order).phase == "confirming"
    let_leases_end(order)
    complete_due()
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert press(client, order, order.pay_key).status_code == 201
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_the_database_restarts_during_the_confirm_and_the_press_is_answered(book: Book, postgres: Postgres) -> None:
    forget_connections()  # few connections: a pool full of dead ones is another test's
    order, _, running = held_press(book)
    postgres.restart(immediate=True)
    connection.close()
    assert released(book, running) == 201
    assert_books_agree(book, order)


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_mastercard"], ids=["the same card", "another card"])
def test_a_claim_that_a_fail_over_lost_is_made_again_and_charges_nothing_twice(book: Book, card: str) -> None:
    """C22: charged and paid, then the last commits are gone with a database. The retry's keys are the same."""
    order, client = placed_order()
    assert press(client, order, order.pay_key).status_code == 201
    _lose_all_that_was_paid(order)
    assert press(client, order, order.pay_key, token=card).status_code == 201
    assert {call["key"] for call in confirms(book, order)} == {f"test:confirm:{attempt_id(order.pk, 1)}"}
    assert {call["key"] for call in book.calls(order.pk, CREATE)} == {f"test:create:{order.pk}:1"}
    assert len(book.intents(order.pk)) == 1
    assert_books_agree(book, order)


def _lose_all_that_was_paid(order: Order) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no triggers: this is a database that was left behind
        for table in ("payments_paymentevent", "payments_attempt", "payments_payment", "orders_mail"):
            cursor.execute(f"DELETE FROM {table} WHERE order_id = %s", [order.pk])
        cursor.execute("UPDATE orders_order SET status = 'pending', paid_at = NULL WHERE id = %s", [order.pk])
        cursor.execute("SET session_replication_role = DEFAULT")


# --- Stripe ----------------------------------------------------------------------------------------------------------


def test_stripe_down_is_503_and_the_same_key_pays_when_it_is_back(book: Book, stripe_process: StripeProcess) -> None:
    order, client = placed_order()
    stripe_process.kill()
    answer = press(client, order, order.pay_key)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert answer.headers["Retry-After"] == "2"
    stripe_process.start()
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


@pytest.mark.parametrize("when", ["before", "after"])
def test_stripe_dies_during_the_confirm_and_comes_back_with_its_book(
    book: Book, stripe_process: StripeProcess, when: str
) -> None:
    order, client, running = held_press(book, when)
    stripe_process.kill()
    answer = running.result(60)
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    stripe_process.start()
    assert len(book.succeeded(order.pk)) == int(when == "after")
    let_leases_end(order)
    complete_due()
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)
