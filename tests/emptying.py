"""Emptying the test database quickly between tests.

Django's flush TRUNCATEs every table and then makes every permission anew: several times the cost of most tests. Rows
are few here, so DELETE is faster; content types, permissions and the groups that a migration made stay.
"""

from django.db import connections
from django.test import TransactionTestCase

_KEPT = {
    "django_migrations",
    "django_content_type",
    "auth_permission",
    "auth_group",
    "auth_group_permissions",
}


def _empty_database(case: TransactionTestCase) -> None:
    for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        connection = connections[alias]
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        deletes = "".join(f'DELETE FROM "{name}";' for name in names if name not in _KEPT)
        with connection.cursor() as cursor:
            # Foreign keys and the triggers that keep money append-only rest meanwhile.
            cursor.execute(f"SET session_replication_role = replica; {deletes} SET session_replication_role = DEFAULT")


def empty_by_deleting() -> None:
    """Let every transactional test end so. Called once, before the first test."""
    TransactionTestCase._fixture_teardown = _empty_database  # type: ignore[attr-defined]
