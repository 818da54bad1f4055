"""Switches that take a layer out, for tests alone: the shop knows nothing of them.

`put` is monkeypatch.setattr, or plain setattr in a process that is thrown away. The layers stay out of each other's
way: with layer 3 off, the one constraint that is layer 2's record (`one_attempt_per_key`) stays while layer 2 is on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from orders import ends, goods
from orders.models import Order, OrderLine
from payments import cancellation, outcome, pay, row_lock, views
from payments.gateways import base
from payments.gateways.base import Call, Intent
from payments.gateways.stripe import StripeGateway
from payments.gateways.transport import Deadline
from payments.models import Attempt, Payment
from payments.redis_lock import Held
from shop.database_clock import DatabaseClock
from shop.ids import new_id
from shop.models import Product

Put = Callable[[Any, str, Any], None]

RECORD_OF_LAYER_2 = "one_attempt_per_key"
TABLES = ("payments_payment", "payments_attempt")
FREEZING = [("payments_payment", "final_payment_is_frozen"), ("payments_attempt", "final_attempt_is_frozen")]


def layer_2_off(put: Put) -> None:
    """No press is known again: each gets a key of its own, whatever the browser sent."""
    put(views, "required_key", lambda request: new_id())
    put(views, "_stored_answer", lambda order, press: None)


def layer_3_off(put: Put) -> None:
    """No row lock, no question before the claim, no fencing. The constraints go by `no_constraints`."""
    no_row_lock(put)
    put(views, "claim", claim_without_asking)
    no_derived_ids(put)
    put(pay, "_commit_confirming", confirm_without_asking)
    put(outcome, "_refuse_stale", lambda *_: None)


def no_row_lock(put: Put) -> None:
    """`locked_order` and `locked_payment` read, and lock nothing."""
    for module in (views, pay, cancellation, row_lock):
        put(module, "locked_order", read_order)
    put(outcome, "locked_payment", read_payment)


def no_derived_ids(put: Put) -> None:
    """An id that follows from the order and a number is a unique key too, by the primary key."""
    for derived in ("attempt_id", "payment_id"):
        put(pay, derived, lambda order_id, number: new_id())


def layer_4_off(put: Put) -> None:
    """A lock that everybody gets."""
    put(views, "redis_lock", lock_for_everybody)


def layer_5_off(put: Put) -> None:
    """A gateway that forgets: a new key for every call, and a new intent for every press."""
    put(settings, "PAYMENT_GATEWAY", f"{__name__}.ForgetfulGateway")
    base.gateway.cache_clear()


@contextmanager
def read_order(order_id: str) -> Iterator[Order]:
    with transaction.atomic(durable=True):
        yield Order.objects.annotate(read_at_now=DatabaseClock()).get(pk=order_id)


@contextmanager
def read_payment(payment_id: str, order_id: str) -> Iterator[tuple[Order, Payment]]:
    with read_order(order_id) as order:
        yield order, Payment.objects.get(pk=payment_id)


def claim_without_asking(order: Order, press: pay.Press) -> pay.Claimed:
    """Neither a live attempt nor a paid order is a reason to refuse."""
    open_one = Payment.objects.filter(order=order, phase__in=("opening", "open")).order_by("-n").first()
    return pay._begin(order, open_one or pay.new_payment(order, 1), press)


def confirm_without_asking(claimed: pay.Claimed, payment: Payment) -> None:
    Attempt.objects.filter(pk=claimed.attempt.pk).update(phase=Attempt.Phase.CONFIRMING)
    claimed.attempt.phase, claimed.attempt.payment = Attempt.Phase.CONFIRMING, payment


@contextmanager
def lock_for_everybody(order_id: str) -> Iterator[Held]:
    yield Held.BY_US


class ForgetfulGateway(StripeGateway):
    """What a checkout without gateway idempotency does (FAILURES 26, 47)."""

    def create_intent(self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]) -> Intent:
        return super().create_intent(params, _forgotten("create"), deadline, calls)

    def confirm_intent(
        self, intent_id: str, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]
    ) -> tuple[Intent, bool]:
        opened = self.retrieve_intent(intent_id, deadline, calls)
        again = {
            "amount": opened.amount_minor,
            "currency": opened.currency.lower(),
            "automatic_payment_methods": {"enabled": True},
            "metadata": opened.metadata,
        }
        fresh = self.create_intent(again, key, deadline, calls)
        return super().confirm_intent(fresh.id, params, _forgotten("confirm"), deadline, calls)


def _forgotten(call: str) -> str:
    """A key that the gateway lets through as one of ours, and that nobody can send again."""
    return f"{settings.PAYMENT_ENV}:{call}:{new_id()}"


# --- goods (docs/guarantees.md) ---------------------------------------------------------------------------------------

# The triggers behind what a line holds: table, name.
GOODS_TRIGGERS = [
    ("orders_orderline", "goods_move_with_their_movement"),
    ("shop_stockmovement", "goods_move_with_their_line"),
]


def status_move_off(put: Put) -> None:
    """An order ends again and again, whatever it is."""
    put(ends, "_move", move_from_anything)


def held_fact_off(put: Put) -> None:
    """Goods go back without a look at whether the line holds them."""
    put(goods, "_let_go", let_go_in_any_case)


def conditional_stock_off(put: Put) -> None:
    """Stock is taken without a look at whether it is there."""
    put(Product, "hold_stock", classmethod(hold_in_any_case))


def move_from_anything(order: Order, leaving: Order.Status, **columns: object) -> bool:
    Order.objects.filter(pk=order.pk).update(**columns)
    return True


def let_go_in_any_case(line: OrderLine) -> bool:
    OrderLine.objects.filter(pk=line.pk).update(held=0)
    return True


def hold_in_any_case(cls: type[Product], product_id: int, quantity: int) -> bool:
    return cls.objects.filter(pk=product_id).update(stock=F("stock") - quantity) == 1


@contextmanager
def no_goods_triggers() -> Iterator[None]:
    with connection.cursor() as cursor:
        for table, trigger in GOODS_TRIGGERS:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for table, trigger in GOODS_TRIGGERS:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


@contextmanager
def no_stock_check() -> Iterator[None]:
    """Stock may fall below 0; what has fallen is lifted again when the block ends."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shop_product DROP CONSTRAINT stock_is_never_oversold")
    try:
        yield
    finally:
        Product.objects.filter(stock__lt=0).update(stock=0)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_product ADD CONSTRAINT stock_is_never_oversold CHECK (stock >= 0)")


# --- constraints of money ---------------------------------------------------------------------------------------------


@contextmanager
def no_constraints(*keep: str) -> Iterator[list[str]]:
    """`drop_constraints` on the test database, put back over empty tables when the block ends. What is gone."""
    with connection.cursor() as cursor:
        gone, put_back = drop_constraints(cursor, *keep)
    try:
        yield gone
    finally:
        with connection.cursor() as cursor:
            put_back_over_empty_tables(cursor, put_back, *TABLES)


def drop_constraints(cursor: Any, *keep: str) -> tuple[list[str], list[str]]:
    """Drop every unique constraint of payments and attempts but `keep`, and the triggers that freeze what is final.

    By SQL, on a database that is thrown away. The names of what is gone, and the statements that put it back.
    """
    gone, put_back = drop_unique(cursor, *TABLES, keep=keep)
    for table, trigger in FREEZING:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        put_back.append(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")
    return gone + [trigger for _, trigger in FREEZING], put_back


def drop_unique(cursor: Any, *tables: str, keep: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Drop every unique constraint of these tables but `keep`: the names, and the statements that put them back."""
    gone, put_back = [], []
    for name, table, index, rule in _unique_indexes(cursor, *tables):
        if name not in keep:
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"' if rule else f'DROP INDEX "{name}"')
            put_back.append(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {rule}' if rule else index)
            gone.append(name)
    return gone, put_back


def put_back_over_empty_tables(cursor: Any, put_back: list[str], *tables: str) -> None:
    """The guard against TRUNCATE rests meanwhile, as do the foreign keys."""
    empty = f"TRUNCATE {', '.join(tables)} CASCADE"
    cursor.execute(f"SET session_replication_role = replica; {empty}; RESET session_replication_role")
    for statement in put_back:
        cursor.execute(statement)


def _unique_indexes(cursor: Any, *tables: str) -> list[tuple[str, str, str, str | None]]:
    """(name, table, the index's SQL, the constraint's SQL if it is one) of all but the primary keys."""
    cursor.execute(
        "SELECT index.relname, owner.relname, pg_get_indexdef(i.indexrelid), pg_get_constraintdef(con.oid)"
        " FROM pg_index i JOIN pg_class index ON index.oid = i.indexrelid"
        " JOIN pg_class owner ON owner.oid = i.indrelid"
        " LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype = 'u'"
        " WHERE i.indisunique AND NOT i.indisprimary AND owner.relname = ANY(%s)"
        " ORDER BY 1",
        [list(tables)],
    )
    found: list[tuple[str, str, str, str | None]] = cursor.fetchall()
    return found
