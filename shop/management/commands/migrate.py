"""`migrate`, and the time-outs that every web request's connection relies on (RULES R39)."""

from typing import Any

from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from shop.checks import ROLE_SETTINGS

_LOCK = 0x50A1  # any number, the same everywhere: two deployments at once take turns
_TIMEOUTS = [name for name in ROLE_SETTINGS if name.endswith("_timeout")]


class Command(DjangoMigrate):
    """First gives our database role its settings, then migrates in a session without time-outs.

    `execute`, not `handle`: the system checks run in between, and shop.E004 asks for these settings.
    """

    def execute(self, *args: Any, **options: Any) -> Any:
        connection = connections[options["database"]]
        if connection.vendor == "postgresql":
            _give_role_settings(connection)
            _lift_timeouts(connection)
        try:
            return super().execute(*args, **options)
        finally:
            if connection.vendor == "postgresql" and not connection.in_atomic_block:
                _leave(connection)


def _give_role_settings(connection: BaseDatabaseWrapper) -> None:
    """For this role in this database. An ordinary role may do that for itself."""
    name = sql.Identifier(connection.settings_dict["NAME"])
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = 0")
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        for setting, value in ROLE_SETTINGS.items():
            statement = sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}")
            cursor.execute(statement.format(name, sql.Identifier(setting), sql.Literal(value)))


def _lift_timeouts(connection: BaseDatabaseWrapper) -> None:
    """A migration may wait and work for as long as it needs."""
    with connection.cursor() as cursor:
        for setting in _TIMEOUTS:
            cursor.execute(sql.SQL("SET {} = 0").format(sql.Identifier(setting)))


def _leave(connection: BaseDatabaseWrapper) -> None:
    """Whoever goes on in this process (a test run) gets new connections, which have the time-outs."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # of the PostgreSQL backend
