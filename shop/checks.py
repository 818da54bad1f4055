"""Start-up checks. On the database: what the money rows rely on is asked for, not hoped for (RULES R34, R39); and on
who gets into the admin."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

POSTGRESQL_LEAST = 150_000  # 15: what DESIGN section 4 asks for

# What a web request's connection must have (RULES R39). `manage.py migrate` gives it to the database role.
ROLE_SETTINGS = {
    "lock_timeout": "2s",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
}


@register(Tags.database)
def check_database(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Asked by `check --database default` and by `migrate`. A fresh connection is looked at, not one from the pool."""
    return [message for alias in databases or [] for message in _check(connections[alias])]


@register(Tags.security)
def staff_have_a_second_factor(app_configs: object = None, **_: Any) -> list[CheckMessage]:
    """A guessed or stolen password must not be enough to give money back (SECURITY SE47)."""
    if settings.DEBUG or settings.STAFF_SECOND_FACTOR:
        return []
    hint = "Unset STAFF_SECOND_FACTOR, or silence this check where something in front of the admin asks for one."
    return [CheckWarning("Staff need no second factor, and DEBUG is off.", hint=hint, id="shop.W001")]


def _check(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    alias = connection.alias
    if connection.settings_dict["ATOMIC_REQUESTS"]:
        yield Error(
            f"ATOMIC_REQUESTS is on for database {alias!r}.",
            hint="Turn it off: the claim of an attempt must be committed before Stripe is called (RULES R34).",
            id="shop.E001",
        )
    if connection.vendor != "postgresql":
        yield Error(
            f"Database {alias!r} is {connection.vendor}, not PostgreSQL.",
            hint="Set DATABASE_URL=postgresql://...: partial unique indexes and row locks are what we rely on.",
            id="shop.E002",
        )
        return
    try:
        version, found = _ask_fresh_connection(connection)
    except OperationalError as error:
        yield Error(
            f"Database {alias!r} cannot be asked: {error}", hint="Start it, or set DATABASE_URL.", id="shop.E005"
        )
        return
    if version < POSTGRESQL_LEAST:
        yield Error(
            f"PostgreSQL of database {alias!r} is version {version // 10_000}; at least 15 is needed.",
            hint="Upgrade the server.",
            id="shop.E003",
        )
    if wrong := [f"{name} is {value}{unit}" for name, value, unit in found if not _is_safe(name, value, unit)]:
        yield Error(
            f"Connections to database {alias!r} have unsafe settings: {', '.join(sorted(wrong))}.",
            hint="Run `manage.py migrate`: it gives the database role its time-outs (RULES R39).",
            id="shop.E004",
        )


def _ask_fresh_connection(connection: BaseDatabaseWrapper) -> tuple[int, list[tuple[str, str, str]]]:
    """The server's version number, and (name, value, unit) of each of ROLE_SETTINGS."""
    fresh = connection.copy()
    fresh.settings_dict["OPTIONS"].pop("pool", None)
    try:
        with fresh.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int")
            version: int = cursor.fetchone()[0]
            cursor.execute(
                "SELECT name, setting, coalesce(unit, '') FROM pg_settings WHERE name = ANY(%s)", [list(ROLE_SETTINGS)]
            )
            return version, cursor.fetchall()
    finally:
        fresh.close()


def _is_safe(name: str, value: str, unit: str) -> bool:
    """A time-out is safe when it is set and not longer than ours; `synchronous_commit` when it is not off."""
    if name == "synchronous_commit":
        return value != "off"
    assert unit == "ms", f"PostgreSQL counts {name} in {unit}?"
    return 0 < int(value) <= 1000 * int(ROLE_SETTINGS[name].removesuffix("s"))
