"""What every switch of /_sandbox/ needs: the request, the refusal, and a change that the API did not ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .account import Account, Cause, Change
from .errors import StripeError
from .ids import new_request_id

Json = dict[str, Any]


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Ask:
    query: dict[str, str]
    body: Json
    name: str  # the second part of the path: an object's id, or a hold's name


Switch = Callable[[Ask], Any]
Switches = dict[tuple[str, ...], Switch]


def only(body: Json, *names: str) -> Json:
    """A misspelt switch must not pass for a turned one."""
    unknown = set(body) - set(names)
    if unknown:
        raise Refused(400, f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return body


def chosen(body: Json, name: str, *choices: str) -> str:
    choice = body.get(name)
    if choice not in choices:
        raise Refused(400, f"{name} must be one of {', '.join(choices)}")
    return str(choice)


def from_dashboard() -> Cause:
    """A request with an id, and without an idempotency key."""
    return Cause(request_id=new_request_id())


def from_bank() -> Cause:
    """No request at all."""
    return Cause()


def make_change(account: Account, locked: str | None, work: Callable[[Change], Json], cause: Cause) -> Json:
    """Serial with the API's changes of the same object, in the book before it is answered."""
    change = account.begin(cause)
    try:
        with account.only_one_on(locked), account.lock:
            changed = work(change)
            written = change.commit()
    except StripeError as error:
        raise Refused(409 if error.status == 400 else error.status, str(error)) from None
    account.book.wait(written)
    change.announce()
    return changed
