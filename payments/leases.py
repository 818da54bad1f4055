"""Leases: who may write a row of money, until when, and the fencing number that proves it (RULES R48-R52).

The database's clock alone decides. A holder that was frozen past its lease and wakes up finds its token outdated, and
changes nothing. Fencing cannot reach Stripe: there the same gateway key makes a late call collapse (layer 5).
"""

import datetime
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

from payments.models import Asker, Attempt, Payment, PaymentEvent, Refund

# Table, which of its rows are not over, and whose story they belong to: order, payment, attempt.
_OPEN_ROWS = {
    Attempt: ("payments_attempt", "phase <> 'finished'", ("order_id", "payment_id", "id")),
    Payment: ("payments_payment", "phase NOT IN ('succeeded', 'canceled', 'abandoned')", ("order_id", "id", "NULL")),
    Refund: (
        "payments_refund",
        "phase <> 'finished'",
        ("(SELECT order_id FROM payments_payment WHERE id = payment_id)", "payment_id", "NULL"),
    ),
}


@dataclass(frozen=True)
class Lease:
    """The right to write one attempt, payment or refund while `token` is the row's."""

    model: type[Attempt] | type[Payment] | type[Refund]
    pk: str
    token: int


def take_lease(
    row: Attempt | Payment | Refund,
    length: datetime.timedelta | None = None,
    only_token: int | None = None,
    asked_by: Asker = Asker.COMPLETER,
    actor: str = "",
) -> Lease | None:
    """Take the row over if its lease has ended and it is not over; None if somebody holds it. One statement.

    A lease that ran out without being let go leaves an event in the order's story, written by the same statement: its
    holder died, or hangs, and may still wake up (RULES R52).

    Args:
        length: how long, LEASE unless given.
        only_token: take it only if the token still is this one, so that a finding cannot touch a newer holder's work.
        asked_by: who takes it, and which `actor`.
    """
    model = type(row)
    table, is_open, (order, payment, attempt) = _OPEN_ROWS[model]
    seconds = (length or settings.LEASE).total_seconds()
    sql = _TAKE.format(table=table, is_open=is_open, order=order, payment=payment, attempt=attempt)
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "pk": row.pk,
                "only_token": only_token,
                "seconds": seconds,
                "asked_by": asked_by,
                "actor": actor[:80],
                "kind": _TAKEN_OVER,
            },
        )
        taken = cursor.fetchone()
    return Lease(model, row.pk, taken[0]) if taken else None


_TAKEN_OVER = "taken over"
# The row is locked before it is judged, so that whoever waited for another taker sees it as it is then.
_TAKE = """
WITH held AS (
    SELECT id, locked_until, held_by, {order} AS of_order, {payment} AS of_payment, {attempt} AS of_attempt
    FROM {table}
    WHERE id = %(pk)s AND {is_open}
        AND (locked_until IS NULL OR locked_until < clock_timestamp())
        AND (%(only_token)s::bigint IS NULL OR lease_token = %(only_token)s)
    FOR NO KEY UPDATE
), taken AS (
    UPDATE {table} AS leased
    SET lease_token = lease_token + 1,
        locked_until = clock_timestamp() + make_interval(secs => %(seconds)s),
        held_by = %(asked_by)s
    FROM held WHERE leased.id = held.id
    RETURNING leased.lease_token
), told AS (
    INSERT INTO payments_paymentevent (order_id, payment_id, attempt_id, kind, from_state, to_state,
        asked_by, actor, gateway_key, request_id, note)
    SELECT of_order, of_payment, of_attempt, %(kind)s, held_by, %(asked_by)s,
        %(asked_by)s, %(actor)s, '', '',
        to_char(locked_until AT TIME ZONE 'UTC', '"it ran out at" YYYY-MM-DD HH24:MI:SS "UTC"')
    FROM held, taken WHERE locked_until IS NOT NULL
)
SELECT lease_token FROM taken
"""


def taken_over(attempt: Attempt, asked_by: Asker) -> PaymentEvent:
    """That event, not saved yet: for a claim, which takes over under the order's lock what a dead holder left."""
    ran_out = attempt.locked_until and attempt.locked_until.astimezone(datetime.UTC)
    return PaymentEvent(
        order_id=attempt.order_id,
        payment_id=attempt.payment_id,
        attempt=attempt,
        kind=_TAKEN_OVER,
        from_state=attempt.held_by,
        to_state=asked_by,
        asked_by=asked_by,
        note=f"it ran out at {ran_out:%Y-%m-%d %H:%M:%S} UTC",
    )


def end_lease(lease: Lease) -> None:
    """Let the row go early, if it is still ours. Never needed for safety: leases end by themselves."""
    lease.model.objects.filter(pk=lease.pk, lease_token=lease.token).update(locked_until=None)
