"""Exports for tests, and very many payments to export."""

from typing import Any

from django.test import Client
from django.urls import reverse

from orders.models import Order
from tests.payments.planting import no_triggers


def export(client: Client, first: str, last: str, phase: str = "") -> Any:
    return client.post(reverse("desk:export-payments"), {"from_day": first, "to_day": last, "phase": phase})


def many_payments(order: Order, count: int) -> None:
    """As many paid orders like this one, a second apart; every tenth second holds ten of them."""
    copies = """
        WITH copies AS (SELECT i, to_jsonb(template) || jsonb_build_object({columns}) AS columns
                        FROM {table} template, generate_series(1, {count}) i WHERE template.{key} = %s)
        INSERT INTO {table} SELECT made.* FROM copies, jsonb_populate_record(null::{table}, copies.columns) made
    """
    moment = "date_trunc('second', now()) - interval '1 second' * ((i / 10) * 10 + 10)"
    orders = f"'id', 'o' || i, 'number', 'N' || i, 'idempotency_key', 'k' || i, 'cart_id', null, 'placed_at', {moment}"
    payments = (
        f"'id', 'p' || i, 'order_id', 'o' || i, 'idempotency_key', 'c' || i, 'intent_id', 'pi_' || i,"
        f" 'charge_id', 'ch_' || i, 'created_at', {moment}"
    )
    with no_triggers() as cursor:  # foreign keys rest as well
        cursor.execute("SET statement_timeout = 0")
        for table, key, columns in (("orders_order", "id", orders), ("payments_payment", "order_id", payments)):
            cursor.execute(copies.format(table=table, key=key, columns=columns, count=count), [order.pk])
            cursor.execute(f"ANALYZE {table}")
        cursor.execute("RESET statement_timeout")
