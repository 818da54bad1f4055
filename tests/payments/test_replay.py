"""A final answer is replayed for ever: same status, same bytes, no call, no write, no secret (RULES R16-R22, R28)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from orders.models import Mail, Order
from payments.models import Attempt, PaymentEvent, WebhookEvent
from shop.stack.redis import Redis
from tests.book import Book
from tests.oracles import assert_books_agree
from tests.payments.paying import ask_status, complete, intent_of, placed_order, press, status_of

pytestmark = pytest.mark.django_db(transaction=True)

FINALS = {
    "succeeded": "pm_card_visa",
    "declined": "pm_card_chargeDeclinedInsufficientFunds",
    "failed": "pm_1nowhere",
}


@pytest.mark.parametrize("outcome", FINALS)
def test_a_final_answer_is_replayed_byte_for_byte(book: Book, outcome: str) -> None:
    order, client = placed_order()
    first = press(client, order, order.pay_key, token=FINALS[outcome])
    assert Attempt.objects.get(order=order).outcome == outcome
    again = press(client, order, order.pay_key, token=FINALS[outcome])
    assert (again.status_code, again.content) == (first.status_code, first.content)
    own = {"Content-Type", "Location", "Cache-Control"}
    assert {name: again.headers[name] for name in own} == {name: first.headers[name] for name in own}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert "Set-Cookie" not in again.headers and again.cookies == {}
    assert_books_agree(book, order)


def test_a_canceled_answer_is_replayed_too(book: Book) -> None:
    order, client = placed_order()
    book.rule("500", when="before")
    press(client, order, order.pay_key)
    complete(order)
    first = press(client, order, order.pay_key)
    second = press(client, order, order.pay_key)
    assert (first.status_code, first.json()["type"]) == (402, "/problems/payment-refused")
    assert (second.status_code, second.content) == (first.status_code, first.content)


def test_200_replays_in_parallel_are_200_identical_bodies(book: Book) -> None:
    order, client = placed_order()
    first = press(client, order, order.pay_key)
    calls = len(book.calls())

    def ten_times(_: int) -> list[tuple[int, bytes]]:
        try:
            return [(a.status_code, a.content) for a in (press(client, order, order.pay_key) for _ in range(10))]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as tabs:
        answers = [answer for ten in tabs.map(ten_times, range(20)) for answer in ten]
    assert len(answers) == 200
    assert set(answers) == {(201, first.content)}
    assert len(book.calls()) == calls
    assert_books_agree(book, order)


def test_a_replay_needs_neither_stripe_nor_redis(book: Book, redis_server: Redis, no_stripe: Any) -> None:
    no_stripe()
    order, client = placed_order()
    first = press(client, order, order.pay_key)
    book.rule("500", path="*", method="*", times=None)
    redis_server.kill()
    again = press(client, order, order.pay_key)
    assert (again.status_code, again.content) == (201, first.content)
    assert status_of(client, order)["payment_status"] == "succeeded"


def test_a_replay_reads_and_writes_nothing(book: Book) -> None:
    order, client = placed_order()
    press(client, order, order.pay_key)
    before = rows(order)
    calls = len(book.calls())
    with CaptureQueriesContext(connection) as queries:
        press(client, order, order.pay_key)
    said = [query["sql"] for query in queries.captured_queries]
    assert [sql for sql in said if not sql.startswith("SELECT")] == []
    assert len([sql for sql in said if "payments_" in sql]) == 1
    assert len(said) == 3  # session, order, attempt
    assert [sql for sql in said if "FOR " in sql] == []
    assert rows(order) == before
    assert len(book.calls()) == calls
    assert_books_agree(book, order)


def rows(order: Order) -> list[Any]:
    return [
        list(Order.objects.filter(pk=order.pk).values()),
        list(Attempt.objects.filter(order=order).values()),
        list(order.payments.values()),
        PaymentEvent.objects.count(),
        Mail.objects.count(),
        WebhookEvent.objects.count(),
    ]


def test_the_status_is_live_while_the_replay_is_history(book: Book) -> None:
    order, client = placed_order()
    press(client, order, order.pay_key, token="pm_card_chargeDeclined")
    press(client, order)
    assert status_of(client, order)["payment_status"] == "succeeded"
    old = press(client, order, order.pay_key, token="pm_card_chargeDeclined")
    assert (old.status_code, old.json()["payment_status"]) == (402, "declined")


def test_a_202_is_built_anew_and_its_secret_is_nowhere_stored(book: Book) -> None:
    order, client = placed_order()
    token = "pm_card_threeDSecure2Required"
    answer = press(client, order, order.pay_key, token=token).json()
    secret, url = answer["next_action"]["client_secret"], answer["next_action"]["url"]
    assert secret.startswith(intent_of(order) + "_secret_")
    assert Attempt.objects.get(order=order).answer_body is None
    asked = ask_status(client, order)
    assert asked["next_action"]["client_secret"] == secret
    assert status_of(client, order)["next_action"] is None
    book.challenge(intent_of(order), "pass")
    ask_status(client, order)
    stored = everything_stored()
    assert secret not in stored and url not in stored
    assert press(client, order, order.pay_key, token=token).json()["next_action"] is None


def test_what_is_stored_of_a_payment_holds_no_personal_detail(book: Book) -> None:
    """A scan of every column of every table of ours."""
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    press(client, order)
    stored = everything_stored()
    for personal in (order.email, order.name, order.line1, order.postal_code, "client_secret", "_secret_"):
        assert personal not in stored
    assert "4242" in stored and "424242" not in stored
    assert '"card":' not in stored and "cvc" not in stored and "exp_month" not in stored


def everything_stored() -> str:
    said = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("payments_"):
                cursor.execute(f"SELECT to_jsonb(t)::text FROM {table} t")
                said += [row[0] for row in cursor.fetchall()]
                if table == "payments_attempt":
                    cursor.execute("SELECT convert_from(answer_body, 'UTF8') FROM payments_attempt")
                    said += [row[0] for row in cursor.fetchall() if row[0]]
    assert said
    return "\n".join(said)
