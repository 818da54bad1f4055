"""The database's clock decides whatever moves money or goods: servers whose own clocks differ agree on it."""

import datetime
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, Func


class DatabaseClock(Func):
    """`clock_timestamp()`: leases, holds and the ages of keys are set and compared by it alone."""

    template = "clock_timestamp()"
    output_field = DateTimeField()
    allowed_default = True

    def __init__(self, *expressions: Any, **extra: Any) -> None:
        super().__init__(*expressions, **{"output_field": DateTimeField()} | extra)


def database_now() -> datetime.datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime.datetime = cursor.fetchone()[0]
    return now
