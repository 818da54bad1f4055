"""Books that do not match, for tests of the sweep: what a lost database, another system or a bug would leave."""

import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from orders.models import Order
from payments.charges import credited_charge
from payments.models import Break, Charge, Payment, Refund, cancel_key, create_key, payment_id
from payments.reconciliation.run import Swept, sweep
from shop.ids import new_id
from tests.book import Book, Json
from tests.payments.paying import placed_order, press


def swept(hours: float = 2, **options: Any) -> Swept:
    """One round over the last so many hours."""
    return sweep(timezone.now() - datetime.timedelta(hours=hours), **options)


def sweep_payments(capsys: Any, *options: str) -> tuple[int, dict[str, Any], str]:
    """The command's exit code, what it says with --json, and what it tells on stderr."""
    try:
        call_command("sweep_payments", "--json", *options)
    except SystemExit as exit_:
        code = int(str(exit_.code))
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def open_breaks() -> list[tuple[str, str]]:
    return list(Break.objects.filter(resolved_at=None).order_by("kind", "subject").values_list("kind", "subject"))


def paid_order(**fields: Any) -> Order:
    order, client = placed_order(**fields)
    assert press(client, order).status_code == 201
    order.refresh_from_db()
    return order


def payment_of(order: Order) -> Payment:
    return Payment.objects.get(order=order)


def ours(order: Order | str, payment: str = "") -> dict[str, str]:
    """Metadata as every intent of ours carries it."""
    return {
        "order": order if isinstance(order, str) else order.pk,
        "payment": payment or new_id(),
        "env": settings.PAYMENT_ENV,
    }


def second_charge(book: Book, order: Order, **parts: Any) -> Json:
    """An intent that a bug made for an order which is paid already."""
    return book.foreign_payment(order.total_minor, order.currency.lower(), ours(order), **parts)


@contextmanager
def no_triggers() -> Iterator[Any]:
    """A cursor that may write what our triggers refuse: this is a database that was left behind, or tampered with."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        try:
            yield cursor
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")


def lose_payment(order: Order) -> None:
    """The last commits are gone with a database (crash point C22): nothing here knows that the order was paid."""
    with no_triggers() as cursor:
        for table in ("payments_paymentevent", "payments_attempt", "payments_payment", "orders_mail"):
            cursor.execute(f"DELETE FROM {table} WHERE order_id = %s", [order.pk])
        cursor.execute("UPDATE orders_order SET status = 'pending', paid_at = NULL WHERE id = %s", [order.pk])


def refund_row(payment: Payment, **columns: Any) -> Refund:
    """A refund as its row could be, of the charge that pays the order unless another is named."""
    charge = columns.pop("charge", None) or credited_charge(payment)
    if charge is None:  # a payment that a test planted without its charge
        taken = {"captured_minor": payment.captured_minor or 10**9, "currency": payment.currency}
        charge, _ = Charge.objects.get_or_create(pk=f"ch_of_{payment.pk}", defaults={"order": payment.order, **taken})
        Payment.objects.filter(pk=payment.pk, captured_minor__gt=0).update(charge_id=charge.pk)
    defaults: dict[str, Any] = {
        "id": new_id(),
        "fingerprint": "",
        "currency": payment.currency,
        "reason": Refund.Reason.REQUESTED_BY_CUSTOMER,
    }
    return Refund.objects.create(payment=payment, charge=charge, **defaults | columns)


def tamper(payment: Payment, **columns: Any) -> None:
    with no_triggers() as cursor:
        for column, value in columns.items():
            cursor.execute(f"UPDATE payments_payment SET {column} = %s WHERE id = %s", [value, payment.pk])


def change_total(order: Order, **columns: object) -> None:
    """As only somebody could who switches our triggers off."""
    with no_triggers() as cursor:
        for column, worth in (columns or {"total_minor": order.total_minor + 100}).items():
            cursor.execute(f"UPDATE orders_order SET {column} = %s WHERE id = %s", [worth, order.pk])
    order.refresh_from_db()


def whole_database() -> dict[str, list[Any]]:
    """Every row of ours, to show that nothing was written."""
    with connection.cursor() as cursor:
        tables = [
            name for name in connection.introspection.table_names(cursor) if name.startswith(("pay", "ord", "shop"))
        ]
        rows = {}
        for table in (name for name in tables if name.startswith(("payments_", "orders_", "shop_"))):
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" t ORDER BY 1')
            rows[table] = cursor.fetchall()
    return rows


def bulk_paid(book: Book, count: int, minutes: float = 60, until: datetime.datetime | None = None) -> list[Payment]:
    """Paid orders in both books, evenly spread over so many minutes."""
    template, until = paid_order(stock=1), until or timezone.now()
    columns = {column.attname: getattr(template, column.attname) for column in Order._meta.fields}
    orders, moments = [], []
    for number in range(count):
        order = Order(**columns)
        order.pk, order.number, order.cart_id = new_id(), new_id()[:12], None
        order.idempotency_key, order.pay_key = new_id(), new_id()
        orders.append(order)
        moments.append(until - datetime.timedelta(minutes=minutes * (number + 1) / (count + 1)))
    rows = [
        {"amount": order.total_minor, "created": int(at.timestamp()), "metadata": ours(order, payment_id(order.pk, 1))}
        for order, at in zip(orders, moments, strict=True)
    ]
    made = book.bulk(rows)
    Order.objects.bulk_create(orders, batch_size=2000)
    payments = [_succeeded(order, at, one) for order, at, one in zip(orders, moments, made, strict=True)]
    return Payment.objects.bulk_create(payments, batch_size=2000)


def _succeeded(order: Order, at: datetime.datetime, made: Json) -> Payment:
    return Payment(
        id=payment_id(order.pk, 1),
        order=order,
        n=1,
        phase=Payment.Phase.SUCCEEDED,
        idempotency_key=create_key(order.pk, 1),
        cancel_key=cancel_key(settings.PAYMENT_ENV, payment_id(order.pk, 1), 0),
        create_params={},
        intent_id=made["intent"],
        charge_id=made["charge"],
        amount_minor=order.total_minor,
        captured_minor=order.total_minor,
        currency=order.currency,
        first_sent_at=at,
        succeeded_at=at,
    )
