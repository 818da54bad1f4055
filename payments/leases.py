"""Leases: who may write a row of money, until when, and the fencing number that proves it (RULES R48-R52).

The database's clock alone decides. A holder that was frozen past its lease and wakes up finds its token outdated, and
changes nothing. Fencing cannot reach Stripe: there the same gateway key makes a late call collapse (layer 5).
"""

import datetime
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from payments.models import Attempt, Payment, Refund

# Table, and which of its rows are not over.
_OPEN_ROWS = {
    Attempt: ("payments_attempt", "phase <> 'finished'"),
    Payment: ("payments_payment", "phase NOT IN ('succeeded', 'canceled', 'abandoned')"),
    Refund: ("payments_refund", "phase <> 'finished'"),
}


@dataclass(frozen=True)
class Lease:
    """The right to write one attempt, payment or refund while `token` is the row's."""

    model: type[Attempt] | type[Payment] | type[Refund]
    pk: str
    token: int


def take_lease(
    row: Attempt | Payment | Refund, length: datetime.timedelta | None = None, only_token: int | None = None
) -> Lease | None:
    """Take the row over if its lease has ended and it is not over; None if somebody holds it. One statement.

    Args:
        length: how long, LEASE unless given.
        only_token: take it only if the token still is this one, so that a finding cannot touch a newer holder's work.
    """
    model = type(row)
    table, is_open = _OPEN_ROWS[model]
    seconds = (length or settings.LEASE).total_seconds()
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table}"  # noqa: S608 - constants of ours, no input
            " SET lease_token = lease_token + 1, locked_until = clock_timestamp() + make_interval(secs => %s)"
            f" WHERE id = %s AND {is_open}"
            " AND (locked_until IS NULL OR locked_until < clock_timestamp())"
            " AND (%s::bigint IS NULL OR lease_token = %s)"
            " RETURNING lease_token",
            [seconds, row.pk, only_token, only_token],
        )
        taken = cursor.fetchone()
    return Lease(model, row.pk, taken[0]) if taken else None


def end_lease(lease: Lease) -> None:
    """Let the row go early, if it is still ours. Never needed for safety: leases end by themselves."""
    lease.model.objects.filter(pk=lease.pk, lease_token=lease.token).update(locked_until=None)
