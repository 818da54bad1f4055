"""What the bank does later, of itself, also over a restart: it settles charges, ends what is pending, and disputes.

`private["then"]` says what, `private["at"]` when; nothing in `then`, nothing to come.
"""

from __future__ import annotations

from collections.abc import Callable

from . import disputes, intents, refunds
from .account import CHARGE, INTENT, REFUND, Account, Cause, Change
from .charges import SETTLES_AFTER_SECONDS, is_unsettled, settle_charge
from .later import Later

Act = Callable[[Change, str], None]
_ACTS: dict[str, Act] = {
    INTENT: intents.end_as_the_card_does,
    CHARGE: disputes.open_as_the_card_does,
    REFUND: refunds.end_as_the_card_does,
}


class Appointments:
    def __init__(self, account: Account, later: Later) -> None:
        self._account = account
        self._later = later
        account.on_put = self._appoint
        for noun, key in list(account.awaiting):
            self._appoint(noun, key)

    def _appoint(self, noun: str, key: str) -> None:
        if (noun, key) not in self._account.awaiting:
            return
        charge = self._account.get(CHARGE, key) if noun == CHARGE else None
        if charge is not None and is_unsettled(charge):
            self._later.do(lambda: self._keep(settle_charge, key), SETTLES_AFTER_SECONDS)
        private = self._account.private(noun, key)
        if private.get("then") is not None:
            wait = max(0.0, private["at"] - self._account.clock.now())
            self._later.do(lambda: self._keep(_ACTS[noun], key), wait)

    def _keep(self, act: Act, key: str) -> None:
        change = self._account.begin(Cause())
        with self._account.lock:
            act(change, key)
            written = change.commit()
        self._account.book.wait(written)
        change.announce()
