"""The database's clock: app servers whose own clocks differ agree on it."""

import datetime

from django.db import connection


def database_now() -> datetime.datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime.datetime = cursor.fetchone()[0]
    return now
