"""What a payment gateway must offer, in our words. Amounts in minor units, currencies in ISO upper case."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from payments.gateways.transport import Deadline


@dataclass(frozen=True)
class Call:
    """One exchange with the gateway, for the order's story. No secrets."""

    operation: str
    gateway_key: str
    request_id: str
    http_status: int | None
    milliseconds: int
    note: str = ""


@dataclass(frozen=True)
class Charge:
    id: str
    status: str  # succeeded, pending, failed
    amount_minor: int
    captured: bool
    brand: str
    last4: str
    decline_code: str


@dataclass(frozen=True)
class Intent:
    """A PaymentIntent as it was when the gateway answered."""

    id: str
    status: str
    amount_minor: int
    received_minor: int
    currency: str
    metadata: dict[str, str]
    livemode: bool
    charge: Charge | None  # the latest; None if it was only named
    charge_id: str
    last_error_code: str
    last_decline_code: str
    next_action: dict[str, Any] | None = field(repr=False)
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class SeenRefund:
    """A refund as it was when the gateway answered. status: pending, requires_action, succeeded, failed, canceled."""

    id: str
    status: str
    amount_minor: int
    currency: str
    charge_id: str
    intent_id: str
    created: int
    metadata: dict[str, str]


@dataclass(frozen=True)
class Event:
    """A webhook event whose signature held: an allow-list of what it says, no secrets."""

    id: str
    type: str
    created: int
    livemode: bool
    object_id: str
    intent_id: str
    metadata: dict[str, str]
    request_key: str


class Gateway(Protocol):
    """Every call is given its idempotency key and a deadline, logs each try into `calls`, and raises payments.errors.

    No call may be made inside a database transaction, or while holding a database connection.
    """

    def create_intent(self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]) -> Intent: ...

    def confirm_intent(
        self, intent_id: str, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]
    ) -> tuple[Intent, bool]:
        """The intent, and whether the answer was a replay: then it only shows that the confirm ran."""
        ...

    def retrieve_intent(self, intent_id: str, deadline: Deadline, calls: list[Call]) -> Intent: ...

    def cancel_intent(self, intent_id: str, key: str, deadline: Deadline, calls: list[Call]) -> Intent: ...

    def create_refund(self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]) -> SeenRefund: ...

    def list_refunds(self, intent_id: str, deadline: Deadline, calls: list[Call]) -> list[SeenRefund]: ...

    def read_event(self, body: bytes, signature: str) -> Event:
        """The event, its signature checked (RULES R78).

        Raises:
            ValueError: the signature is missing, wrong, too old or from the future.
        """
        ...


@cache
def gateway() -> Gateway:
    """The gateway that settings name."""
    made: Gateway = import_string(settings.PAYMENT_GATEWAY)()
    return made


def refuse_while_holding_database() -> None:
    """Calling the gateway with a transaction or a connection in hand is a bug (RULES R33)."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            raise RuntimeError("Bug! The gateway was called inside a database transaction.")
        if connection.connection is not None:
            raise RuntimeError("Bug! The gateway was called while holding a database connection.")
