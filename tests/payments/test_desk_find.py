"""Staff find money by whatever the shopper or Stripe names, in milliseconds however many orders there are."""

import datetime
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model, QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from payments.backoffice.search import MOST, amounts_in, break_searches, find, find_payments, searches
from payments.models import Attempt, Break, Payment, Refund
from payments.reconciliation.double_charges import give_back
from shop.ids import new_id
from tests.book import Book
from tests.orders.making import make_attempt, make_order, make_product
from tests.payments.paying import at_stripe, placed_order, press
from tests.payments.planting import ours, paid_order, payment_of, refund_row, second_charge, swept

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _in_a_hurry(settings: Any) -> None:
    """The sweep of these tests counts everything as old enough."""
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    settings.SWEEP_REQUESTS_PER_SECOND = 100_000


def numbers(text: str) -> list[str]:
    return [order.number for order in find(text).orders]


# --- what is found ----------------------------------------------------------------------------------------------------


def test_an_order_is_found_by_all_that_names_it_and_no_other_one_is(book: Book) -> None:
    other, client = placed_order(email="someone@else.example", quantity=2)
    press(client, other, token="pm_card_mastercard")
    order, client = placed_order()
    declined_key, declined = order.pay_key, press(client, order, token="pm_card_chargeDeclined")
    assert declined.status_code == 402
    order.refresh_from_db()
    key = order.pay_key
    assert press(client, order).status_code == 201
    payment = payment_of(order)
    made = at_stripe("refunds", charge=payment.charge_id, amount=100)
    refund = refund_row(
        payment=payment,
        idempotency_key="the-refunds-key",
        fingerprint="",
        amount_minor=100,
        currency="GBP",
        reason="duplicate",
        refund_id=made["id"],
        gateway_key="test:refund:the-refunds-id:0",
        id="the-refunds-id",
    )
    attempt = Attempt.objects.get(order=order, outcome="succeeded")
    failed_charge = Attempt.objects.get(order=order, outcome="declined").charge_id
    names = {
        "e-mail": order.email,
        "e-mail in capitals": order.email.upper(),
        "number": order.number,
        "number as spoken": order.number.lower().replace("-", " "),
        "number with a hash": f"#{order.number}",
        "number as in a mail": f"Order #{order.number}",
        "number as it is called": f"order number: {order.number},",
        "number with a long dash": order.number.replace("-", "\N{EN DASH}"),
        "e-mail in brackets": f"<{order.email}>",
        "e-mail in other brackets": f"\u2039{order.email}\u203a",
        "e-mail in quotes": f"\u201c{order.email}\u201d.",
        "e-mail with stars": f"*{order.email}*",
        "e-mail of a link": f"mailto:{order.email}?subject=twice",
        "e-mail with its name": f"Ada <mailto:{order.email}>",
        "last four with stars": "**** 4242",
        "id": order.pk,
        "address": f"https://shop.example/orders/{order.pk}/pay/",
        "last four": "4242",
        "amount": order.total_text,
        "amount without a sign": "12.50",
        "amount with a code": "gbp 12,50",
        "intent": payment.intent_id,
        "charge": payment.charge_id,
        "charge that was declined": failed_charge,
        "refund": made["id"],
        "payment": payment.pk,
        "press key": key,
        "press key of the declined one": declined_key,
        "key of the create": payment.idempotency_key,
        "key of the refund": "the-refunds-key",
        "key of the placement": order.idempotency_key,
        "gateway key of the confirm": attempt.confirm_key,
        "gateway key of the refund": refund.gateway_key,
        "gateway key of a cancel": payment.cancel_key,
    }
    found = {what: (numbers(f" {name} "), find_payments(str(name))[0]) for what, name in names.items()}
    assert found == dict.fromkeys(names, ([order.number], [payment.pk]))


def test_a_duplicate_is_found_by_what_only_its_break_knows(book: Book, settings: Any) -> None:
    order = paid_order()
    intent = second_charge(book, order)
    swept()
    found = Break.objects.get(kind="double_charge")
    refund = give_back(found)
    assert refund is not None
    key = Refund.objects.get(charge=found.charge_id).gateway_key
    for name in (found.subject, intent["id"], str(refund.refund_id), key):
        assert numbers(name) == [order.number], name
        assert find_payments(name)[0] == [payment_of(order).pk], name


def test_money_that_belongs_to_no_order_is_found_by_its_break(book: Book) -> None:
    Break.objects.create(kind="missing_local", subject="pi_9", evidence={"intent": "pi_9", "charge": "ch_9"})
    for name in ("pi_9", "ch_9"):
        found = find(name)
        assert ([one.subject for one in found.strays], found.orders, found.more) == (["pi_9"], [], False)
    assert find("ch_10").strays == []


def test_an_open_break_without_an_order_is_found_by_its_amount_and_the_card_s_last_four_digits(book: Book) -> None:
    theirs = book.foreign_payment(1990, metadata=ours(new_id()))
    swept()
    for text in ("19.90", "£19.90", "4242"):
        assert [one.subject for one in find(text).strays] == [theirs["id"]], text
    for text in ("19.91", "$19.90", "4243"):
        assert find(text).strays == [], text
    Break.objects.update(resolved_at=timezone.now())
    assert find("19.90").strays == find("4242").strays == []


def test_what_nothing_is_called_finds_nothing() -> None:
    make_order()
    for name in (
        "",
        " ",
        "?",
        "\0",
        "nobody@example.com",
        "pi_",
        "9999",
        "99999.99",
        "x" * 32,
        "ZZZZ-ZZZZ",
        "%",
        "a'b",
    ):
        found = find(name)
        assert (found.orders, found.strays, find_payments(name)) == ([], [], ([], False)), name


def test_the_newest_are_shown_and_that_there_are_more_is_said() -> None:
    one = make_order((make_product(stock=9), 1))
    columns = {column.attname: getattr(one, column.attname) for column in Order._meta.fields}
    orders = []
    for number in range(MOST):
        order = Order(**columns)
        order.pk, order.number, order.cart_id, order.idempotency_key = new_id(), new_id()[:12], None, new_id()
        order.placed_at = one.placed_at + datetime.timedelta(minutes=number + 1)
        orders.append(order)
    assert not find(one.email).more
    Order.objects.bulk_create(orders)
    Order.objects.filter(pk__in=[order.pk for order in orders]).update(
        placed_at=one.placed_at + datetime.timedelta(days=1)
    )
    found = find(one.email)
    assert found.more
    assert len(found.orders) == MOST
    assert one not in found.orders


def test_an_amount_is_read_as_on_a_statement() -> None:
    two = ["CHF", "EUR", "GBP", "SEK", "USD"]
    assert amounts_in("24.00") == [(24, ["JPY", "KRW"]), (2400, two), (24000, ["BHD", "KWD"])]
    assert amounts_in("24") == amounts_in("24,00") == amounts_in(" 24.0 ") == amounts_in("24.00")
    assert amounts_in("2400")[0] == (2400, ["JPY", "KRW"])  # £24.00 is never meant
    assert amounts_in("£24") == amounts_in("24 GBP") == amounts_in("gbp24.00") == [(2400, ["GBP"])]
    assert amounts_in("¥2,400") == [(2400, ["JPY"])]
    assert amounts_in("CHF\N{NO-BREAK SPACE}24.00") == [(2400, ["CHF"])]
    assert amounts_in("1,234.56") == amounts_in("1.234,56") == amounts_in("1234.56")
    assert (123456, two) in amounts_in("1234.56")
    assert amounts_in("2.401") == [(2401, ["BHD", "KWD"])]
    for no_amount in ("", "£", "0", "0.00", "-24", "24.0.0", "2,4,0", "٢٤", "24 pounds", "1" * 20, "GBP"):
        assert amounts_in(no_amount) == [], no_amount


# --- as fast on 200,000 orders ----------------------------------------------------------------------------------------

PLANTED = 200_000
_TABLES = {"orders_order", "payments_payment", "payments_attempt", "payments_refund", "payments_break"}


@pytest.fixture
def many(db: None) -> dict[str, str]:
    """200,000 orders, each paid by one press, a tenth of them refunded; and breaks. What the middle one is called.

    In a schema of their own before ours, that goes with the transaction: DELETE would leave the other tests half a
    gigabyte of dead rows to read over.
    """
    attempt = make_attempt(make_order(), "succeeded")
    refund_row(
        payment=attempt.payment, idempotency_key="r", fingerprint="", amount_minor=1, currency="GBP", reason="duplicate"
    )
    Break.objects.create(kind="double_charge", subject="x")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL maintenance_work_mem = '128MB'; CREATE SCHEMA many")
        _plant(cursor, Order, _ORDER)
        _plant(cursor, Payment, _PAYMENT)
        _plant(cursor, Attempt, _ATTEMPT)
        _plant(cursor, Refund, _REFUND, PLANTED // 10)
        _plant(cursor, Break, _BREAK, PLANTED // 10)
        cursor.execute("SET LOCAL search_path = many, public; SET LOCAL statement_timeout = '5s'")
    return {
        "e-mail": "Shopper50000@example.com",
        "number": "0100-0000",
        "id": "order-100000".ljust(32, "x"),
        "last four": "0042",
        "amount": "£1000.00",
        "amount of no currency": "1000",
        "intent": "pi_100000",
        "charge": "ch_100000",
        "refund": "re_10000",
        "press key": "press-100000",
        "key of the create": "create-100000",
        "key of the refund": "refund-10000",
        "key of the placement": "place-100000",
        "charge of a duplicate": "ch_dup_10000",
        "intent of a duplicate": "pi_dup_10000",
        "refund of a duplicate": "re_dup_10000",
    }


_AGO = "now() - i * interval '1 minute'"
_ORDER_ID, _PAYMENT_ID = "rpad('order-' || i, 32, 'x')", "rpad('payment-' || i, 32, 'x')"
_ORDER = {
    "id": _ORDER_ID,
    "number": "'0' || lpad((i / 1000)::text, 3, '0') || '-0' || lpad((i % 1000)::text, 3, '0')",
    "email": "'shopper' || i / 2 || '@example.com'",
    "idempotency_key": "'place-' || i",
    "guest_id": "'guest-' || i / 2",
    "cart_id": "null",
    "placed_at": _AGO,
}
_PAYMENT = {
    "id": _PAYMENT_ID,
    "order_id": _ORDER_ID,
    "phase": "'succeeded'",
    "idempotency_key": "'create-' || i",
    "intent_id": "'pi_' || i",
    "charge_id": "'ch_' || i",
    "card_last4": "lpad((i % 10000)::text, 4, '0')",
    "amount_minor": "i % 5000 * 100 + 100",
    "created_at": _AGO,
}
_ATTEMPT = {
    "id": "rpad('attempt-' || i, 32, 'x')",
    "order_id": _ORDER_ID,
    "payment_id": _PAYMENT_ID,
    "idempotency_key": "'press-' || i",
    "charge_id": "'ch_' || i",
    "pressed_at": _AGO,
}
_REFUND = {
    "id": "rpad('refund-' || i, 32, 'x')",
    "payment_id": _PAYMENT_ID,
    "idempotency_key": "'refund-' || i",
    "refund_id": "'re_' || i",
    "created_at": _AGO,
}
_BREAK = {
    "id": "i + 1000000",
    "subject": "'ch_dup_' || i",
    "order_id": _ORDER_ID,
    "evidence": "jsonb_build_object('intent', 'pi_dup_' || i, 'refund', jsonb_build_object('id', 're_dup_' || i))",
    "found_at": _AGO,
}


def _plant(cursor: Any, model: type[Model], columns: dict[str, str], count: int = PLANTED) -> None:
    """So many rows like the one that is there, but for these columns; then every index that the real table has."""
    table = model._meta.db_table
    own = [str(field.column) for field in model._meta.concrete_fields]
    names, values = ", ".join(own), ", ".join(columns.get(name, name) for name in own)
    cursor.execute(f"CREATE TABLE many.{table} (LIKE public.{table})")
    cursor.execute(
        f"INSERT INTO many.{table} ({names}) SELECT {values} FROM public.{table}, generate_series(1, {count}) i"
    )
    cursor.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = %s", [table])
    for (definition,) in cursor.fetchall():
        cursor.execute(definition.replace(" ON public.", " ON many."))
    cursor.execute(f"ANALYZE many.{table}")


@pytest.mark.django_db(transaction=False)
def test_200_000_orders_are_searched_by_index_alone(many: dict[str, str]) -> None:
    for what, name in many.items():
        assert 1 <= len(find(name).orders) <= MOST, what
        for search in [*searches(name), *break_searches(name)]:
            assert read_whole(search) == set(), (what, str(search.query))
    staff = Client()
    staff.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    for name in ("", *many.values()):
        with CaptureQueriesContext(connection) as asked:
            assert staff.get("/admin/payments/payment/", {"q": name}).status_code == 200
        lists = [one["sql"] for one in asked if " FROM " in one["sql"] and " COUNT(*) " not in one["sql"]]
        assert any('FROM "payments_payment"' in sql for sql in lists)
        for sql in lists:
            assert tables_read_whole(sql) == set(), sql


def read_whole(search: QuerySet[Any, Any]) -> set[str]:
    return _seq_scans(json.loads(search.explain(format="json")))


def tables_read_whole(sql: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        return _seq_scans(cursor.fetchone()[0])


def _seq_scans(plan: Any) -> set[str]:
    """The big tables that a plan reads from end to end."""
    if isinstance(plan, list):
        return {name for part in plan for name in _seq_scans(part)}
    if not isinstance(plan, dict):
        return set()
    below = {name for part in plan.values() for name in _seq_scans(part)}
    return below | ({plan["Relation Name"]} & _TABLES if plan.get("Node Type") == "Seq Scan" else set())
