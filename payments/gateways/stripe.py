"""Layer 5 of 5 - gateway idempotency: Stripe, spoken to with one reproducible key per call.

Stops: two charges even if layers 1 to 4 all failed. An order has one intent, which succeeds at most once; a call that
is sent twice carries the same key and parameters, and Stripe runs it once.
Does not stop: what is older than Stripe's memory of keys (24 h); so we never send a key again after 23 h.

The only file that imports stripe.
"""

import functools
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import stripe
from django.conf import settings

from payments.errors import (
    Declined,
    GatewayError,
    Invalid,
    KeyInUse,
    KeyReused,
    Missing,
    NothingSent,
    Undecided,
    WrongState,
)
from payments.gateways.base import (
    NO_ANSWER,
    Call,
    Charge,
    Event,
    Intent,
    SeenCharge,
    SeenDispute,
    SeenRefund,
    Window,
    is_token,
    refuse_while_holding_database,
)
from payments.gateways.transport import Deadline, Transport

T = TypeVar("T")

# Back-off between the tries of one call, in seconds; jitter is added. Stripe: advanced error handling.
_PAUSES = (0.2, 0.6, 1.2)
_EXPAND = ["latest_charge"]
# What the webhook inbox works on, each change once: charge.succeeded and charge.failed say nothing that the intent's
# event does not. Stripe: at most 20 types.
_EVENT_TYPES = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
]
# A key of ours: the environment that its row names, and what it is for.
_OUR_KEY = re.compile(r"[^:]+:(create|confirm|cancel|refund):")
# The deadline travels beside the SDK, whose calls have no place for it.
_deadline: ContextVar[Deadline] = ContextVar("deadline")


class _DeadlineClient(stripe.HTTPClient):
    """The SDK's HTTP client, on our transport. The SDK retries nothing: our loop does."""

    name = "payonce"

    def __init__(self) -> None:
        super().__init__()
        self._transport = Transport()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        if method == "post" and not _OUR_KEY.match((headers or {}).get("Idempotency-Key", "")):
            raise RuntimeError("Bug! A POST to Stripe without a key of ours.")
        content, status, answer_headers = self._transport.exchange(
            method.upper(), url, headers or {}, post_data, _deadline.get()
        )
        return content.decode(), status, answer_headers

    def close(self) -> None:
        pass


class StripeGateway:
    """payments.gateways.base.Gateway, by Stripe."""

    def __init__(self) -> None:
        stripe.enable_telemetry = False
        self._client = stripe.StripeClient(
            settings.STRIPE_SECRET_KEY,
            stripe_version=settings.STRIPE_API_VERSION,
            base_addresses={"api": settings.STRIPE_API_BASE},
            max_network_retries=0,
            http_client=_DeadlineClient(),
        )

    def create_intent(self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]) -> Intent:
        answer = self._call(
            "create",
            key,
            deadline.within(settings.CREATE_TIMEOUT.total_seconds()),
            calls,
            lambda options: self._client.v1.payment_intents.create(params, options),  # type: ignore[arg-type]
        )
        return _intent(answer)

    def confirm_intent(
        self, intent_id: str, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]
    ) -> tuple[Intent, bool]:
        answer = self._call(
            "confirm",
            key,
            deadline.within(settings.CONFIRM_TIMEOUT.total_seconds()),
            calls,
            lambda options: self._client.v1.payment_intents.confirm(
                intent_id,
                {**params, "expand": _EXPAND},  # type: ignore[arg-type]
                options,
            ),
        )
        return _intent(answer), _replayed(answer)

    def retrieve_intent(self, intent_id: str, deadline: Deadline, calls: list[Call]) -> Intent:
        answer = self._call(
            "look",
            "",
            deadline.within(settings.LOOK_TIMEOUT.total_seconds()),
            calls,
            lambda options: self._client.v1.payment_intents.retrieve(intent_id, {"expand": _EXPAND}, options),
        )
        return _intent(answer)

    def cancel_intent(self, intent_id: str, key: str, deadline: Deadline, calls: list[Call]) -> Intent:
        answer = self._call(
            "cancel",
            key,
            deadline.within(settings.CREATE_TIMEOUT.total_seconds()),
            calls,
            lambda options: self._client.v1.payment_intents.cancel(intent_id, {"expand": _EXPAND}, options),
        )
        return _intent(answer)

    def retrieve_account(self, deadline: Deadline) -> str:
        answer = self._look(deadline, [], lambda options: self._client.v1.accounts.retrieve_current({}, options))
        with _in_our_words("an account"):
            return str(answer.to_dict()["id"])

    def create_refund(
        self, params: dict[str, Any], key: str, deadline: Deadline, calls: list[Call]
    ) -> tuple[SeenRefund, bool]:
        answer = self._call(
            "refund",
            key,
            deadline.within(settings.CONFIRM_TIMEOUT.total_seconds()),
            calls,
            lambda options: self._client.v1.refunds.create(params, options),  # type: ignore[arg-type]
        )
        return _refund(answer), _replayed(answer)

    def list_refunds(
        self, deadline: Deadline, calls: list[Call], *, intent_id: str = "", charge_id: str = ""
    ) -> list[SeenRefund]:
        about = {"charge": charge_id} if charge_id else {"payment_intent": intent_id}
        pages = self._pages(
            "list refunds",
            self._client.v1.refunds.list,
            about | {"limit": 100},
            _refund,
            deadline=deadline,
            calls=calls,
        )
        return [one for page in pages for one in page]

    def retrieve_charge(self, charge_id: str, deadline: Deadline, calls: list[Call]) -> SeenCharge:
        return _seen_charge(
            self._look(deadline, calls, lambda options: self._client.v1.charges.retrieve(charge_id, {}, options))
        )

    def retrieve_refund(self, refund_id: str, deadline: Deadline, calls: list[Call]) -> SeenRefund:
        return _refund(
            self._look(deadline, calls, lambda options: self._client.v1.refunds.retrieve(refund_id, {}, options))
        )

    def retrieve_dispute(self, dispute_id: str, deadline: Deadline, calls: list[Call]) -> SeenDispute:
        return _dispute(
            self._look(deadline, calls, lambda options: self._client.v1.disputes.retrieve(dispute_id, {}, options))
        )

    def list_disputes_of(self, charge_id: str, deadline: Deadline, calls: list[Call]) -> list[SeenDispute]:
        answer = self._call(
            "list disputes",
            "",
            deadline.within(settings.LOOK_TIMEOUT.total_seconds()),
            calls,
            lambda options: self._client.v1.disputes.list({"charge": charge_id, "limit": 100}, options),
        )
        return [_dispute(one) for one in answer.data]

    def list_intents(self, window: Window, deadline: Deadline | None = None) -> Iterator[list[Intent]]:
        return self._pages(
            "list intents", self._client.v1.payment_intents.list, _created(window), _intent, deadline=deadline
        )

    def list_charges(self, window: Window) -> Iterator[list[SeenCharge]]:
        return self._pages("list charges", self._client.v1.charges.list, _created(window), _seen_charge)

    def list_refunds_made(self, window: Window) -> Iterator[list[SeenRefund]]:
        return self._pages("list refunds", self._client.v1.refunds.list, _created(window), _refund)

    def list_disputes(self, window: Window) -> Iterator[list[SeenDispute]]:
        return self._pages("list disputes", self._client.v1.disputes.list, _created(window), _dispute)

    def list_events(self, window: Window) -> Iterator[list[Event]]:
        params = _created(window) | {"types": _EVENT_TYPES}
        return self._pages("list events", self._client.v1.events.list, params, _listed_event)

    def _look(self, deadline: Deadline, calls: list[Call], send: Callable[[stripe.RequestOptions], T]) -> T:
        return self._call("look", "", deadline.within(settings.LOOK_TIMEOUT.total_seconds()), calls, send)

    def _pages(
        self,
        operation: str,
        fetch: Callable[..., Any],
        params: dict[str, Any],
        parse: Callable[[Any], T],
        *,
        deadline: Deadline | None = None,
        calls: list[Call] | None = None,
    ) -> Iterator[list[T]]:
        """Page by page, newest first (Stripe: pagination). Nothing is kept of a page but where it ended.

        Args:
            deadline: of all pages together; LIST_TIMEOUT for each unless given.
            calls: where each page's exchange is written down; nowhere unless given.
        """
        while True:
            send = functools.partial(fetch, dict(params))
            seconds = settings.LIST_TIMEOUT.total_seconds()
            page_deadline = deadline.within(seconds) if deadline else Deadline(seconds)
            answer = self._call(operation, "", page_deadline, [] if calls is None else calls, send)
            yield [parse(one) for one in answer.data]
            if not answer.has_more or not answer.data:
                return
            params["starting_after"] = answer.data[-1].id

    def read_event(self, body: bytes, signature: str) -> Event:
        tolerance = int(settings.WEBHOOK_TOLERANCE.total_seconds())
        for secret in settings.STRIPE_WEBHOOK_SECRETS:
            try:
                stripe.WebhookSignature.verify_header(body.decode(), signature, secret, tolerance)
                break
            except (stripe.SignatureVerificationError, ValueError, IndexError, TypeError):
                continue  # TypeError: a signature that is not ASCII
        else:
            raise ValueError("no signature of ours")
        # The SDK refuses an old timestamp, not one from the future.
        sent = next(int(part[2:]) for part in signature.split(",") if part.startswith("t="))
        if sent > time.time() + tolerance:
            raise ValueError("signed in the future")
        return _event(body)

    def _call(
        self,
        operation: str,
        key: str,
        deadline: Deadline,
        calls: list[Call],
        send: Callable[[stripe.RequestOptions], T],
    ) -> T:
        """Send, and within the deadline send the same again where Stripe says or allows it (RULES R63).

        The call is judged by its most doubtful try: after one that may have arrived, only an answer under the same key
        (done, or declined) is an answer; whatever refuses a later try leaves it undecided.
        """
        refuse_while_holding_database()
        options: stripe.RequestOptions = {"idempotency_key": key} if key else {}
        doubt: Undecided | None = None
        for pause in (*_PAUSES, None):
            answer, failure, again = self._try(operation, key, deadline, calls, send, options)
            if answer is not None:
                return answer
            if isinstance(failure, Undecided):
                doubt = failure
            if not again or pause is None or deadline.seconds_left <= pause * 2:
                break
            time.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, no secret
        if doubt is not None and not isinstance(failure, Declined | WrongState):
            raise doubt
        assert failure is not None, "Bug! A try without an answer says why."
        raise failure

    def _try(
        self,
        operation: str,
        key: str,
        deadline: Deadline,
        calls: list[Call],
        send: Callable[[stripe.RequestOptions], T],
        options: stripe.RequestOptions,
    ) -> tuple[T | None, GatewayError | None, bool]:
        """One try: the answer, or what it means that there is none; and whether to try again."""
        _deadline.set(deadline)
        began = time.monotonic()
        status: int | None = None
        request_id = note = ""
        try:
            answer = send(options)
            last = getattr(answer, "last_response", None)
            status, request_id = getattr(last, "code", 200), getattr(last, "request_id", "") or ""
            note = "replayed" if _replayed(answer) else ""
            return answer, None, False
        except (NothingSent, Undecided) as error:
            note = f"{NO_ANSWER}{error}"
            return None, error, True
        except stripe.StripeError as error:
            status, request_id = error.http_status, error.request_id or ""
            failure = _failure(error)
            note = _error_of(error).get("code") or type(failure).__name__
            return None, failure, _may_try_again(error)
        finally:
            calls.append(Call(operation, key, request_id, status, int((time.monotonic() - began) * 1000), note[:200]))


def _may_try_again(error: stripe.StripeError) -> bool:
    said = (error.headers or {}).get("stripe-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return error.http_status in (409, 429)


def _error_of(error: stripe.StripeError) -> dict[str, Any]:
    """The error object of the answer's body: in the SDK `code` is None for 409, 429 and idempotency errors."""
    body = error.json_body
    found = body.get("error") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def _failure(error: stripe.StripeError) -> GatewayError:
    """What an error answer says is known. RULES R24, DESIGN section 11."""
    said = _error_of(error)
    kind, code = said.get("type") or "", said.get("code") or ""
    status = error.http_status or 0
    if not said and status not in (401, 403, 429):
        # Not Stripe's words: a proxy's page, or half a body. The request may have arrived all the same.
        return Undecided(f"{status} without Stripe's error", stored_5xx=status == 500)
    if status == 402:
        intent = said.get("payment_intent") or {}
        charge = said.get("charge") or intent.get("latest_charge")
        return Declined(code, said.get("decline_code") or "", charge or "")
    if code == "idempotency_key_in_use":
        return KeyInUse(code)
    if status == 429 or code == "lock_timeout":
        return NothingSent(code or "rate limited")
    if status in (401, 403):
        return NothingSent(code or kind or "not authorised", needs_staff=True)
    if kind == "idempotency_error":
        return KeyReused(code or kind)
    if code == "payment_intent_unexpected_state":
        return WrongState({"code": code})
    if 400 <= status < 500 and status != 409:
        param = said.get("param") or ""
        missing = status == 404 and code == "resource_missing" and not is_token(param)
        return (Missing if missing else Invalid)(code, param, str(said.get("message") or "")[:200])
    return Undecided(f"{status} {code}".strip(), stored_5xx=status == 500)


def _replayed(answer: Any) -> bool:
    headers = getattr(getattr(answer, "last_response", None), "headers", None) or {}
    return str(headers.get("Idempotent-Replayed", "")).lower() == "true"


@contextmanager
def _in_our_words(noun: str) -> Iterator[None]:
    """Read one object of Stripe's.

    Raises:
        Undecided: the body is something else; a broken answer proves nothing.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Undecided(f"the answer is not {noun}") from error


def _intent(answer: Any) -> Intent:
    """Stripe's object in our words."""
    with _in_our_words("an intent"):
        return _parsed_intent(answer.to_dict())


def _parsed_intent(it: dict[str, Any]) -> Intent:
    latest = it["latest_charge"]
    last_error = it.get("last_payment_error") or {}
    return Intent(
        id=it["id"],
        status=it["status"],
        amount_minor=it["amount"],
        received_minor=it["amount_received"],
        currency=it["currency"].upper(),
        metadata=dict(it["metadata"]),
        livemode=it["livemode"],
        charge=_charge(latest) if isinstance(latest, dict) else None,
        charge_id=(latest["id"] if isinstance(latest, dict) else latest) or "",
        last_error_code=last_error.get("code") or "",
        last_decline_code=last_error.get("decline_code") or "",
        next_action=it["next_action"],
        client_secret=it["client_secret"] or "",
        created=it["created"],
    )


def _charge(it: dict[str, Any]) -> Charge:
    card = _card_of(it)
    return Charge(
        id=it["id"],
        status=it["status"],
        amount_minor=it["amount"],
        captured=it["captured"],
        brand=card.get("brand") or "",
        last4=card.get("last4") or "",
        decline_code=(it.get("outcome") or {}).get("reason") or it.get("failure_code") or "",
    )


def _card_of(it: dict[str, Any]) -> dict[str, Any]:
    """Of a charge; empty where it was not paid by card."""
    return (it.get("payment_method_details") or {}).get("card") or {}


def _refund(answer: Any) -> SeenRefund:
    """Stripe's object in our words."""
    with _in_our_words("a refund"):
        it = answer.to_dict()
        return SeenRefund(
            id=it["id"],
            status=it["status"],
            amount_minor=it["amount"],
            currency=it["currency"].upper(),
            charge_id=it["charge"] or "",
            intent_id=it["payment_intent"] or "",
            created=it["created"],
            metadata=dict(it["metadata"] or {}),
        )


def _created(window: Window) -> dict[str, Any]:
    created = {"gte": window.since} | ({} if window.until is None else {"lt": window.until})
    return {"created": created, "limit": 100}


def _seen_charge(answer: Any) -> SeenCharge:
    """Stripe's object in our words."""
    with _in_our_words("a charge"):
        it = answer.to_dict()
        return SeenCharge(
            id=it["id"],
            status=it["status"],
            amount_minor=it["amount"],
            captured_minor=it["amount_captured"],
            refunded_minor=it["amount_refunded"],
            currency=it["currency"].upper(),
            intent_id=it["payment_intent"] or "",
            created=it["created"],
            metadata=dict(it["metadata"] or {}),
            brand=_card_of(it).get("brand") or "",
            last4=_card_of(it).get("last4") or "",
        )


def _dispute(answer: Any) -> SeenDispute:
    """Stripe's object in our words."""
    with _in_our_words("a dispute"):
        it = answer.to_dict()
        return SeenDispute(
            id=it["id"],
            status=it["status"],
            reason=it["reason"] or "",
            amount_minor=it["amount"],
            currency=it["currency"].upper(),
            charge_id=it["charge"] or "",
            intent_id=it["payment_intent"] or "",
            created=it["created"],
            due_by=(it.get("evidence_details") or {}).get("due_by"),
        )


def _listed_event(answer: Any) -> Event:
    """Stripe's object in our words."""
    with _in_our_words("an event"):
        return _parsed_event(answer.to_dict())


def _event(body: bytes) -> Event:
    try:
        return _parsed_event(json.loads(body))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not an event") from error


def _parsed_event(it: dict[str, Any]) -> Event:
    about = it["data"]["object"]
    is_intent = about["object"] == "payment_intent"
    return Event(
        id=it["id"],
        type=it["type"],
        created=it["created"],
        livemode=it["livemode"],
        object_id=about["id"],
        intent_id=about["id"] if is_intent else about.get("payment_intent") or "",
        metadata={str(k): str(v) for k, v in (about.get("metadata") or {}).items()},
        request_key=(it.get("request") or {}).get("idempotency_key") or "",
    )
