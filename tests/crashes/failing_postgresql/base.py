"""Django's PostgreSQL backend, with a failpoint before and after each commit that matters to a payment. What is being
committed is told by the SQL that was run, so the money code has to say nothing."""

from collections.abc import Callable
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql import base

from tests.crashes.failpoints import reached


def _written_by(sql: object) -> str:
    """What this statement writes, if a crash point lies there."""
    changed = str(sql).split(" WHERE ", 1)[0]
    if changed.startswith('INSERT INTO "payments_attempt"'):
        return "claim"
    if changed.startswith('UPDATE "payments_payment"'):
        return "intent" if '"intent_id" = ' in changed else ""
    if changed.startswith('UPDATE "payments_attempt"'):
        for column, name in (("latest_charge_before", "confirming"), ("answer_status", "outcome")):
            if f'"{column}" = ' in changed:
                return name
    return ""


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._writing = ""
        self.execute_wrappers.append(self._watched)

    def _watched(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        name = _written_by(sql)
        if not name:
            return execute(sql, params, many, context)
        if self.in_atomic_block:
            result = execute(sql, params, many, context)
            self._writing = name
            reached(f"rows:{name}:written")
            return result
        reached(f"commit:{name}:before", self._lost)  # it commits by itself
        result = execute(sql, params, many, context)
        reached(f"commit:{name}:after", self._lost)
        return result

    def _commit(self) -> None:
        name, self._writing = self._writing, ""
        if name:
            reached(f"commit:{name}:before", self._lost)
        super()._commit()  # type: ignore[misc]
        if name:
            reached(f"commit:{name}:after", self._lost)

    def _rollback(self) -> None:
        self._writing = ""
        super()._rollback()  # type: ignore[misc]

    def _lost(self) -> Exception:
        """The line to the server breaks here, and nobody hears what became of the commit."""
        if self.connection is not None:
            self.connection.close()
        return OperationalError("failpoint: the connection was lost")
