"""Start-up checks on the database: what the money rows rely on is asked for, not hoped for (RULES R34, R39)."""

import datetime
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

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
    """Asked with `check --database default` and by `migrate`. A fresh connection is looked at, not an open one."""
    found: list[CheckMessage] = []
    for alias in databases or []:
        if settings.DATABASES[alias].get("ATOMIC_REQUESTS"):
            found.append(
                Error(
                    f"ATOMIC_REQUESTS is on for database {alias!r}.",
                    hint="Turn it off: the claim of an attempt must be committed before Stripe is called (RULES R34).",
                    id="shop.E001",
                )
            )
        connection = connections[alias]
        if connection.vendor != "postgresql":
            found.append(
                Error(
                    f"Database {alias!r} is {connection.vendor}, not PostgreSQL.",
                    hint="Set DATABASE_URL=postgresql://...: partial unique indexes and row locks are what we rely on.",
                    id="shop.E002",
                )
            )
            continue
        found += _check_postgresql(alias)
    return found


def _check_postgresql(alias: str) -> list[CheckMessage]:
    fresh = connections.create_connection(alias)
    try:
        with fresh.cursor() as cursor:
            version = fresh.connection.info.server_version
            cursor.execute("SELECT name, setting, unit FROM pg_settings WHERE name = ANY(%s)", [list(ROLE_SETTINGS)])
            rows = cursor.fetchall()
    finally:
        fresh.close()
    found: list[CheckMessage] = []
    if version < POSTGRESQL_LEAST:
        found.append(
            Error(
                f"PostgreSQL of database {alias!r} is {version // 10_000}; at least 15 is needed.",
                hint="Upgrade the server.",
                id="shop.E003",
            )
        )
    wrong = [f"{name} is {value}{unit or ''}" for name, value, unit in rows if not _is_safe(name, value, unit)]
    if wrong:
        found.append(
            Error(
                f"Connections to database {alias!r} have unsafe settings: {', '.join(sorted(wrong))}.",
                hint="Run `manage.py migrate`: it gives them to the database role (RULES R39).",
                id="shop.E004",
            )
        )
    return found


def _is_safe(name: str, value: str, unit: str | None) -> bool:
    """A time-out is safe when it is set and not longer than ours; `synchronous_commit` when it is not off."""
    if name == "synchronous_commit":
        return value != "off"
    return datetime.timedelta(0) < _duration(value + (unit or "")) <= _duration(ROLE_SETTINGS[name])


def _duration(text: str) -> datetime.timedelta:
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()  # type: ignore[union-attr]
    return datetime.timedelta(**{"ms": {"milliseconds": int(number)}, "s": {"seconds": int(number)}}[unit])
