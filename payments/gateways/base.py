"""What a payment gateway must offer, in our words. Amounts in minor units, currencies in ISO upper case."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from payments.gateways.transport import Deadline

# Begins the note of a call whose answer never came.
NO_ANSWER = "no answer: "


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
    created: int = 0


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
class SeenCharge:
    """A charge as a list shows it. `refunded_minor` counts what is on its way back as well."""

    id: str
    status: str  # succeeded, pending, failed
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    currency: str
    intent_id: str
    created: int
    metadata: dict[str, str]
    brand: str = ""
    last4: str = ""


@dataclass(frozen=True)
class SeenDispute:
    """A dispute as it was when the gateway answered; `status` and `reason` are the gateway's words.

    Attributes:
        due_by: until when evidence is taken, where the gateway says.
    """

    id: str
    status: str
    reason: str
    amount_minor: int
    currency: str
    charge_id: str
    intent_id: str
    created: int
    due_by: int | None = None


@dataclass(frozen=True)
class Window:
    """When objects were created, by the gateway's clock, in whole seconds. Without `until` it is open to the future,
    so that clocks that differ hide nothing."""

    since: int
    until: int | None = None  # exclusive


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

    def retrieve_account(self, deadline: Deadline) -> str:
        """The id of the account that our secret key belongs to."""
        ...

    def create_refund(
        self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]
    ) -> tuple[SeenRefund, bool]:
        """The refund, and whether the answer was a replay: then it shows how the refund was when it was made."""
        ...

    def list_refunds(
        self, deadline: Deadline, calls: list[Call], *, intent_id: str = "", charge_id: str = ""
    ) -> list[SeenRefund]:
        """Every refund of an intent or of a charge, however many pages they fill: so absence means something."""
        ...

    def retrieve_charge(self, charge_id: str, deadline: Deadline, calls: list[Call]) -> SeenCharge: ...

    def retrieve_refund(self, refund_id: str, deadline: Deadline, calls: list[Call]) -> SeenRefund: ...

    def retrieve_dispute(self, dispute_id: str, deadline: Deadline, calls: list[Call]) -> SeenDispute: ...

    def list_disputes_of(self, charge_id: str, deadline: Deadline, calls: list[Call]) -> list[SeenDispute]: ...

    # Whole windows of the gateway's book, newest first, one page of at most 100 at a time: each page is one request,
    # made when it is asked for. They belong to no order's story. A list shows what was written before it was asked.

    def list_intents(self, window: Window, deadline: Deadline | None = None) -> Iterator[list[Intent]]:
        """`deadline`: of all pages together; without one each page has its own time."""
        ...

    def list_charges(self, window: Window) -> Iterator[list[SeenCharge]]: ...

    def list_refunds_made(self, window: Window) -> Iterator[list[SeenRefund]]: ...

    def list_disputes(self, window: Window) -> Iterator[list[SeenDispute]]: ...

    def list_events(self, window: Window) -> Iterator[list[Event]]:
        """Of the types that the webhook inbox works on."""
        ...

    def read_event(self, body: bytes, signature: str) -> Event:
        """The event, its signature checked (RULES R78).

        Raises:
            ValueError: the signature is missing, wrong, too old or from the future.
        """
        ...


def is_token(param: str) -> bool:
    """Whether a refusal's parameter is about the shopper's payment details, and not about our call."""
    return param.split("[")[0] in ("payment_method", "confirmation_token")


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
