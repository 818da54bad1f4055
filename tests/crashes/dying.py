"""What crash tests are made of: presses at a real server, and rows held so that it stands still at a known line."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connection, connections
from django.test import Client

from orders.models import Order
from tests.book import Json
from tests.services import services

_CSRF = "c" * 32
_presses = ThreadPoolExecutor(32)


@dataclass
class Answer:
    status: int
    body: Json
    headers: dict[str, str]


def press_at(url: str, client: Client, order: Order, token: str = "pm_card_visa") -> Answer:
    """One press with the order's pay_key at a real server, by the same guest as the client's.

    Raises:
        OSError: the server died with the request in its hands.
    """
    port = int(url.rsplit(":", 1)[1])
    sent = json.dumps({"payment_token": token, "amount": order.total_minor, "currency": order.currency})
    headers = {
        "Cookie": f"sessionid={client.cookies['sessionid'].value}; csrftoken={_CSRF}",
        "X-CSRFToken": _CSRF,
        "Idempotency-Key": order.pay_key,
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    with_server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        with_server.request("POST", f"/api/orders/{order.pk}/payments/", sent, headers)
        answer = with_server.getresponse()
        return Answer(answer.status, json.loads(answer.read()), dict(answer.getheaders()))
    finally:
        with_server.close()


def in_background(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Run it beside the test; its thread gives its database connection back."""

    def run() -> Any:
        try:
            return work(*arguments)
        finally:
            connections.close_all()

    return _presses.submit(run)


def assert_died(press: Future[Any]) -> None:
    """The press was never answered."""
    error = press.exception(timeout=30)
    assert isinstance(error, OSError | http.client.HTTPException), error or press.result()


@contextmanager
def rows_held(sql: str, *values: Any) -> Iterator[None]:
    """A transaction of somebody else's that holds these rows until the block ends."""
    url = services().postgres.url(connection.settings_dict["NAME"])
    with psycopg.connect(url) as other:
        other.execute("SET idle_in_transaction_session_timeout = 0")
        other.execute(sql, values)
        yield
        other.rollback()


def forget_connections() -> None:
    """After an outage: no dead connection is left in this process's pool."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


def wait_for_waiters(count: int, seconds: float = 30) -> None:
    """Until so many sessions wait for a lock of somebody else's."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() == (count,):
                return
        time.sleep(0.01)
    raise AssertionError(f"no {count} sessions waited for a lock within {seconds} s")


def wait_until(true: Callable[[], object], seconds: float = 30) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not so within {seconds} s")
        time.sleep(0.01)


def lose_rows(order: Order, *what: str) -> None:
    """A fail-over to a database that was left behind: it has never heard of the order's `outcome`, or of its `claim`
    either."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no triggers: nobody deletes here
        if what:
            cursor.execute("DELETE FROM orders_mail WHERE order_id = %s", [order.pk])
            cursor.execute(
                "UPDATE orders_order SET status = 'pending', paid_at = NULL, pay_key = %s WHERE id = %s",
                [order.pay_key, order.pk],
            )
        if "claim" in what:
            for table in ("payments_paymentevent", "payments_attempt", "payments_payment"):
                cursor.execute(f"DELETE FROM {table} WHERE order_id = %s", [order.pk])
        elif "outcome" in what:
            cursor.execute(
                "DELETE FROM payments_paymentevent WHERE order_id = %s AND kind <> 'claimed'",
                [order.pk],
            )
            cursor.execute(
                "UPDATE payments_attempt SET phase = 'confirming', outcome = '', finished_at = NULL, charge_id = NULL,"
                " answer_status = NULL, answer_body = NULL, lease_token = 1,"
                " locked_until = now() + interval '60 seconds' WHERE order_id = %s",
                [order.pk],
            )
            cursor.execute(
                "UPDATE payments_payment SET phase = 'open', captured_minor = 0, charge_id = NULL, card_brand = '',"
                " card_last4 = '', succeeded_at = NULL, lease_token = lease_token - 1 WHERE order_id = %s",
                [order.pk],
            )
        cursor.execute("SET session_replication_role = DEFAULT")
