"""What happened to money and goods, and what staff did, stays written down: through the ORM and plain SQL as the app's
role (SECURITY SE50). That the admin offers no way either is in test_desk_matrix.py."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, models, transaction

from payments.models import Attempt, Charge, Payment, PaymentEvent, Refund
from shop.acts import Act, Who
from shop.models import StaffAct, StockMovement
from tests.book import Book
from tests.payments.paying import placed_order, press
from tests.payments.planting import refund_row

pytestmark = pytest.mark.django_db(transaction=True)

KEPT: list[type[models.Model]] = [Payment, Attempt, Charge, Refund, PaymentEvent, StaffAct, StockMovement]
APPENDED: list[type[models.Model]] = [PaymentEvent, StaffAct, StockMovement]


@pytest.fixture
def rows(book: Book) -> dict[type[models.Model], list[dict[str, Any]]]:
    """One of each, and how they are."""
    order, client = placed_order()
    press(client, order)
    refund: dict[str, Any] = {"payment": order.payments.get(), "fingerprint": "x", "amount_minor": 1, "currency": "GBP"}
    refund_row(**refund, reason="duplicate", idempotency_key="k")
    who = Who(User.objects.create_user("carl", is_staff=True), None, "")
    Act("look", who, "order", dict, order.pk).record()
    return now()


def now() -> dict[type[models.Model], list[dict[str, Any]]]:
    return {model: list(model._default_manager.order_by("pk").values()) for model in KEPT}


@pytest.mark.parametrize("model", KEPT)
def test_no_row_is_deleted(rows: Any, model: type[models.Model]) -> None:
    table = model._meta.db_table
    one = model._default_manager.all()[0]
    ways = {
        "one": one.delete,
        "all": model._default_manager.all().delete,
        "raw": lambda: model._default_manager.all()._raw_delete("default"),
        "SQL": lambda: connection.cursor().execute(f"DELETE FROM {table}"),
        "TRUNCATE": lambda: connection.cursor().execute(f"TRUNCATE {table} CASCADE"),
    }
    for way, delete in ways.items():
        with pytest.raises((IntegrityError, models.ProtectedError)), transaction.atomic():
            delete()
        assert now() == rows, way


@pytest.mark.parametrize("model", APPENDED)
def test_what_is_written_down_is_not_rewritten(rows: Any, model: type[models.Model]) -> None:
    one = model._default_manager.all()[0]
    ways = {
        "save": lambda: one.save(update_fields=["note"]),
        "update": lambda: model._default_manager.update(note="otherwise"),
        "SQL": lambda: connection.cursor().execute(f"UPDATE {model._meta.db_table} SET note = 'otherwise'"),
    }
    for way, rewrite in ways.items():
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            rewrite()
        assert now() == rows, way


def test_every_trigger_is_on() -> None:
    """A trigger that is disabled, or fires only on a replica, would guard nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgenabled FROM pg_trigger"
            " WHERE NOT tgisinternal AND tgrelid = ANY(%s::regclass[])",
            [[model._meta.db_table for model in KEPT]],
        )
        enabled = cursor.fetchall()
        cursor.execute("SHOW session_replication_role")
        assert cursor.fetchone()[0] == "origin"
    assert {table for table, _ in enabled} == {model._meta.db_table for model in KEPT}
    assert {state for _, state in enabled} == {"O"}
