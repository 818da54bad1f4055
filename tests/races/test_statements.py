"""What each hot path asks of PostgreSQL, statement by statement, and what a replay does not ask (DESIGN section 7).

The numbers are meant to be read, and changed on purpose. Every request also reads its session and its order.
"""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.layers.pressing import opened_order
from tests.orders.making import BODY, guest_client, make_cart, make_product, version_of
from tests.payments.paying import placed_order, status_of
from tests.races.crowd import press
from tests.races.truth import assert_one_truth

pytestmark = pytest.mark.django_db(transaction=True)

CHALLENGE = "pm_card_threeDSecure2Required"


class Asked(CaptureQueriesContext):
    """The statements of a block."""

    def __init__(self) -> None:
        super().__init__(connection)

    @property
    def statements(self) -> list[str]:
        return [query["sql"] for query in self if query["sql"] not in ("BEGIN", "COMMIT", "ROLLBACK")]

    @property
    def reads(self) -> int:
        return len([sql for sql in self.statements if sql.startswith("SELECT")])

    @property
    def writes(self) -> int:
        return len(self.statements) - self.reads

    @property
    def transactions(self) -> int:
        return len([query for query in self if query["sql"] == "BEGIN"])


def test_a_press_on_a_payment_opened_ahead(book):
    order, client = opened_order()

    with Asked() as asked:
        assert press(client, order, order.pay_key).status == 201

    assert (asked.reads, asked.writes, asked.transactions) == (16, 12, 3)  # claim, confirming, settle
    assert [call["path"].rsplit("/", 1)[-1] for call in book.calls(order.pk)] == ["payment_intents", "confirm"]


def test_a_press_that_opens_the_payment(book):
    opened_order()  # whose account our key is was learnt by an earlier opening, and read by an earlier press
    order, client = placed_order()

    with Asked() as asked:
        assert press(client, order, order.pay_key).status == 201

    # More: whether Stripe has its money by another intent; the payment's row, its lease, the mark before the create,
    # and the intent's id after it.
    assert (asked.reads, asked.writes, asked.transactions) == (19, 16, 3)


def test_a_replay_is_one_indexed_read_beside_session_and_order_and_no_write(book):
    order, client = opened_order()
    key = order.pay_key
    first = press(client, order, key)
    calls = len(book.calls())

    with Asked() as asked:
        again = press(client, order, key)

    assert (again.status, again.content, again.replayed) == (201, first.content, True)
    assert (asked.reads, asked.writes, asked.transactions) == (3, 0, 0)
    session, whose, record = asked.statements
    assert '"django_session"' in session and '"orders_order"' in whose and '"payments_attempt"' in record
    assert "Index Scan" in plan_of(record) and "Seq Scan" not in plan_of(record)
    assert len(book.calls()) == calls
    assert assert_one_truth(book, order) == "paid"


def plan_of(statement: str) -> str:
    """How PostgreSQL finds the rows where the table is not as small as a test's."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {statement}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    return plan


def test_a_press_that_meets_a_live_one_reads_and_writes_nothing(book):
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202

    with Asked() as asked:
        assert press(client, order, "another-key").problem == "payment-in-progress"

    assert (asked.reads, asked.writes, asked.transactions) == (6, 0, 1)


def test_placing_an_order(book):
    one, two = make_product(), make_product()
    cart = make_cart((one, 1), (two, 2))
    client, body = guest_client(cart), BODY | {"cart_version": version_of(cart)}

    with Asked() as asked:
        answer = client.post(
            "/api/orders/", body, content_type="application/json", headers={"Idempotency-Key": "place-it"}
        )

    assert answer.status_code == 201
    # Order, lines, stock of each product, and the movements of all of them.
    assert (asked.reads, asked.writes, asked.transactions) == (10, 5, 1)


def test_reading_the_payment_status(book):
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202

    with Asked() as asked:
        assert status_of(client, order)["payment_status"] == "requires_action"

    assert (asked.reads, asked.writes, asked.transactions) == (4, 0, 0)


def test_asking_stripe_for_the_payment_status(book):
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202
    order.attempts.update(looked_at=None)

    with Asked() as asked:
        answer = client.post(f"/api/orders/{order.pk}/payment-status/", {}, content_type="application/json")
    assert answer.json()["next_action"]["type"] == "redirect_to_url"
    # The turn to ask, the lease; then attempt and story.
    assert (asked.reads, asked.writes, asked.transactions) == (11, 4, 1)

    with Asked() as asked:
        assert client.post(f"/api/orders/{order.pk}/payment-status/", {}, content_type="application/json").json()
    assert (asked.reads, asked.writes) == (4, 1)  # within three seconds Stripe is not asked again
