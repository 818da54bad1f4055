"""What can go wrong with money, each class saying what is *known*. HTTP codes are the view's business."""

from dataclasses import dataclass, field
from typing import Any


class GatewayError(Exception):
    """A call to the gateway did not give what was asked for."""


class NothingSent(GatewayError):
    """No send of this call can have arrived, or the gateway turned it away before running it. Nothing happened."""

    def __init__(self, text: str, *, needs_staff: bool = False, heard: bool = False) -> None:
        super().__init__(text)
        self.needs_staff = needs_staff  # 401, 403: our key is wrong
        self.heard = heard  # the gateway answers, and yet this cannot be sent


class OtherAmount(NothingSent):
    """A payment asks for another amount or currency than its order's total: nobody shall pay that one."""


class Undecided(GatewayError):
    """Something was sent and the answer is not known: the charge may exist. Never to be read as "not charged"."""

    def __init__(self, text: str, *, stored_5xx: bool = False) -> None:
        super().__init__(text)
        self.stored_5xx = stored_5xx  # the gateway keeps a 5xx under the key: a replay only repeats it


@dataclass
class Declined(GatewayError):
    """The gateway answered under this very key, and the answer is no (402)."""

    code: str
    decline_code: str = ""
    charge_id: str = ""


@dataclass
class Invalid(GatewayError):
    """The gateway refused the parameters (400, 404). `param` names the one, where it said so."""

    code: str
    param: str
    text: str


class Missing(Invalid):
    """The gateway does not know the very object that the call is about (404): another account or mode has it, or its
    book was emptied. This call has done nothing; what an earlier one did is not known by it."""


class KeyInUse(GatewayError):
    """Another of our requests with the same gateway key is inside right now."""


class KeyReused(GatewayError):
    """The same gateway key came before with other parameters: somebody has been here, and our rows may have lost it.
    Never to be read as "there is nothing"."""


@dataclass
class WrongState(GatewayError):
    """The intent is not in a state for this call; look at it and let its state decide."""

    detail: dict[str, Any] = field(default_factory=dict)


class StaleLease(Exception):
    """Somebody else took the row over: write nothing, answer from the row as it is now (RULES R50)."""


class RowBusy(Exception):
    """Another transaction holds the order's row for longer than we wait (2 s). Nothing was done."""
