"""The sandbox's book: the verdict of every test that touches money.

A small client of the sandbox's control API (`/_sandbox/*`), standard library only, so that any test can ask "what did
Stripe's book say in the end" and can spoil the next answer.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

Json = dict[str, Any]

CONFIRM = "/v1/payment_intents/*/confirm"
CREATE = "/v1/payment_intents"
CANCEL = "/v1/payment_intents/*/cancel"
REFUND = "/v1/refunds"


class BookRefused(Exception):
    """The sandbox said no to a control call."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class Book:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    # The verdict.

    def charges(self, order: str | None = None) -> list[Json]:
        found: list[Json] = self._ask("GET", "charges", order=order)
        return found

    def succeeded(self, order: str | None = None) -> list[Json]:
        """The charges that took money. For one order there must never be two."""
        return [charge for charge in self.charges(order) if charge["status"] == "succeeded" and charge["captured"]]

    def intents(self, order: str | None = None) -> list[Json]:
        found: list[Json] = self._ask("GET", "intents", order=order)
        return found

    def refunds(self, order: str | None = None) -> list[Json]:
        """Whatever became of them. Each with `idempotency_key`: None when made in the dashboard."""
        found: list[Json] = self._ask("GET", "refunds", order=order)
        return found

    def refunded(self, order: str) -> int:
        """Minor units on the way back to the shopper, or there already."""
        return sum(refund["amount"] for refund in self.refunds(order) if refund["status"] not in ("failed", "canceled"))

    def calls(self, order: str | None = None, path: str | None = None) -> list[Json]:
        """method, path, params, key, request, status, replayed, lost, peer, started, ended, fault, order."""
        found: list[Json] = self._ask("GET", "calls", order=order, path=path)
        return found

    def events(self, intent: str | None = None) -> list[Json]:
        found: list[Json] = self._ask("GET", "events", intent=intent)
        return found

    # The switches.

    def rule(self, act: str, path: str = CONFIRM, **parts: Any) -> Json:
        """`when`, `seconds`, `times` (1 unless told; None for ever), `method`, `metadata_order`, `hold`, ..."""
        rule: Json = self._ask("POST", "rules", {"act": act, "path": path, "times": 1, **parts})
        return rule

    def rules(self) -> list[Json]:
        found: list[Json] = self._ask("GET", "rules")
        return found

    def clear_rules(self) -> None:
        self._ask("DELETE", "rules")

    def release(self, name: str) -> None:
        self._ask("POST", f"release/{quote(name)}", {})

    def wait_until_held(self, name: str, count: int = 1, seconds: float = 30) -> None:
        """Until so many calls are blocked by the rule that holds under this name."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if sum(rule["holding"] for rule in self.rules() if rule["hold"] == name) >= count:
                return
            time.sleep(0.01)
        raise AssertionError(f"no {count} calls were held by {name} within {seconds} s")

    def webhooks(self, mode: str | None = None, **parts: Any) -> Json:
        """With a mode (normal, late, repeated, never, reordered): switch. Without: the state as it is."""
        state: Json = self._ask("PUT", "webhooks", {"mode": mode, **parts}) if mode else self._ask("GET", "webhooks")
        return state

    def send_webhook(
        self,
        event: str | None = None,
        *,
        intent: str | None = None,
        type: str | None = None,  # noqa: A002 - Stripe's word
        times: int = 1,
        simultaneous: bool = False,
        **wrong: Any,
    ) -> list[int]:
        """Deliver now, whatever the mode; the statuses that the shop answered.

        `forged=True`, `secret`, `age_seconds`, `livemode=True` or `account`: what shall be wrong with it.
        """
        wanted = _given(event=event, intent=intent, type=type, times=times, simultaneous=simultaneous, **wrong)
        sent: Json = self._ask("POST", "webhooks/send", wanted)
        statuses: list[int] = sent["statuses"]
        return statuses

    def challenge(self, intent: str, outcome: str) -> Json:
        """What the shopper does at the bank: pass or fail."""
        after: Json = self._ask("POST", f"intents/{intent}/challenge", {"outcome": outcome})
        return after

    def end_processing(self, intent: str, outcome: str) -> Json:
        """The bank's late word: succeed or fail."""
        after: Json = self._ask("POST", f"intents/{intent}/processing-end", {"outcome": outcome})
        return after

    def end_refund(self, refund: str, outcome: str, reason: str | None = None) -> Json:
        """The bank's late word: succeeded or failed (also of one that had succeeded); canceled if it needed action."""
        after: Json = self._ask("POST", f"refunds/{refund}/end", _given(outcome=outcome, reason=reason))
        return after

    def disputes(self, order: str | None = None) -> list[Json]:
        found: list[Json] = self._ask("GET", "disputes", order=order)
        return found

    def dispute(
        self, charge: str, reason: str = "fraudulent", status: str = "needs_response", amount: int | None = None
    ) -> Json:
        """The shopper's bank takes the money back; with `warning_needs_response` it only asks."""
        wanted = _given(reason=reason, status=status, amount=amount)
        made: Json = self._ask("POST", f"charges/{charge}/dispute", wanted)
        return made

    def move_dispute(self, dispute: str, status: str) -> Json:
        """under_review, won, lost; of an inquiry warning_under_review, warning_closed, or needs_response."""
        after: Json = self._ask("POST", f"disputes/{dispute}/move", {"status": status})
        return after

    # In Stripe's dashboard: no idempotency key, but the same webhooks.

    def dashboard_refund(
        self,
        charge: str,
        amount: int | None = None,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> Json:
        """All that is left, unless an amount is given."""
        wanted = _given(amount=amount, reason=reason, metadata=metadata)
        made: Json = self._ask("POST", f"charges/{charge}/refund", wanted)
        return made

    def dashboard_cancel(self, intent: str, reason: str | None = None) -> Json:
        after: Json = self._ask("POST", f"intents/{intent}/cancel", _given(cancellation_reason=reason))
        return after

    def dashboard_update(
        self, intent: str, amount: int | None = None, metadata: dict[str, str] | None = None, **parts: str
    ) -> Json:
        """`currency` and `description` too."""
        wanted = _given(amount=amount, metadata=metadata, **parts)
        after: Json = self._ask("POST", f"intents/{intent}/update", wanted)
        return after

    def foreign_payment(
        self,
        amount: int = 5000,
        currency: str = "gbp",
        metadata: dict[str, str] | None = None,
        card: str = "pm_card_visa",
        **parts: str,
    ) -> Json:
        """A payment by another system on the same account; returns its intent. Its webhooks come to us as well.

        `description`, and the other system's `idempotency_key`, may be given.
        """
        wanted = _given(amount=amount, currency=currency, metadata=metadata, card=card, **parts)
        made: Json = self._ask("POST", "payments", wanted)
        return made

    def bulk(
        self, payments: int | Iterable[Json], since: float | None = None, until: float | None = None, **parts: Any
    ) -> list[Json]:
        """Succeeded payments by the hundred thousand, without events: order, intent and charge of each.

        Either rows of order, payment, amount, currency, created, env, metadata; or how many, evenly spread over the
        time, with `amount`, `currency` and `env`.
        """
        if isinstance(payments, int):
            made: list[Json] = self._ask("POST", "bulk", _given(payments=payments, since=since, until=until, **parts))
            return made
        content = "\n".join(json.dumps(row) for row in payments).encode()
        brought: list[Json] = self._send("POST", "bulk", content, "application/x-ndjson")
        return brought

    # Time.

    def advance(self, seconds: float) -> float:
        """Move the sandbox's clock; returns its time. What was to come later comes now; keys are pruned after 24 h."""
        clock: Json = self._ask("POST", "clock", {"advance_seconds": seconds})
        now: float = clock["now"]
        return now

    def search_lag(self, seconds: float) -> None:
        """How long ago everything was as a search sees it; 60 s unless told."""
        self._ask("PUT", "search", {"lag_seconds": seconds})

    def now(self) -> float:
        clock: Json = self._ask("GET", "clock")
        now: float = clock["now"]
        return now

    def reset(self, *, another_account: bool = False) -> str:
        """Empty state, no rules, webhooks normal, a new book; the id of the account that the keys belong to."""
        made: Json = self._ask("POST", "reset", {"account": "change"} if another_account else {})
        account: str = made["account"]
        return account

    def healthy(self) -> bool:
        try:
            return bool(self._ask("GET", "health")["ok"])
        except OSError:
            return False

    def _ask(self, method: str, switch: str, body: Json | None = None, **query: str | None) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        content = None if body is None else json.dumps(body).encode()
        return self._send(method, switch + (f"?{urlencode(given)}" if given else ""), content, "application/json")

    def _send(self, method: str, switch: str, content: bytes | None, kind: str) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{switch}", content, {"Content-Type": kind}, method=method
        )
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise BookRefused(error.code, error.read().decode()) from None


def _given(**parts: Any) -> Json:
    return {name: value for name, value in parts.items() if value is not None}


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
