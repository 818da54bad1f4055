"""One API call, from the bytes to the answer.

key -> version -> form -> rule that refuses -> idempotency key -> parameters -> slow things before the effect
    -> execution under the object's lock -> one line in the book, synced -> the answer, or what a rule makes of it
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from . import API_VERSION, endpoints
from .account import DISPUTE, INTENT, REFUND, Account, Cause
from .answers import Answer
from .cards import Forced
from .endpoint import Context, Endpoint
from .errors import (
    StripeError,
    broken_server,
    invalid_request,
    key_in_use,
    lock_timeout,
    not_permitted,
    rate_limited,
    wrong_key,
)
from .expand import check_expand, expanded
from .faults import ASKING, REFUSALS, Rule, Rules
from .forms import Params, decode, parse
from .idempotency import Stored
from .ids import new_request_id
from .shelf import dump

Json = dict[str, Any]


class HungUp(Exception):
    """The caller gets no answer at all; `how` is reset or hang."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]  # lower-case names
    body: bytes
    peer: str
    wait_until_closed: Callable[[], None]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


class Gateway:
    def __init__(self, account: Account, rules: Rules, secret_key: str, publishable_key: str) -> None:
        self.account = account
        self.rules = rules
        self._secret_key = secret_key
        self._publishable_key = publishable_key

    def answer(self, request: Request) -> Answer:
        call = _Call(self, request)
        self.account.begin_call(call.entry)
        try:
            answer = call.run()
            call.entry["status"] = answer.status
            if answer.wire:
                call.entry["lost"] = answer.wire in ("reset", "hang")
            return answer
        except HungUp:
            call.entry["lost"] = True
            raise
        finally:
            call.entry["ended"] = time.time()
            self.account.end_call(call.entry)

    def is_secret(self, given: str | None) -> bool:
        """True for the secret key, False for the publishable one, else 401 (Stripe: authentication)."""
        if not given:
            raise wrong_key(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
        if hmac.compare_digest(given, self._secret_key):
            return True
        if hmac.compare_digest(given, self._publishable_key):
            return False
        raise wrong_key(f"Invalid API Key provided: {given[:8]}{'*' * 12}{given[-4:]}")


class _Call:
    def __init__(self, gateway: Gateway, request: Request) -> None:
        self.gateway = gateway
        self.account = gateway.account
        self.request = request
        self.request_id = new_request_id()
        self.key = request.headers.get("idempotency-key") or None if request.method == "POST" else None
        self.rule: Rule | None = None
        self.entry: Json = {
            "method": request.method,
            "path": request.path,
            "params": {},
            "key": self.key,
            "request": self.request_id,
            "status": None,
            "replayed": False,
            "lost": False,
            "peer": request.peer,
            "started": time.time(),
            "ended": None,
            "fault": None,
            "order": None,
        }

    def run(self) -> Answer:
        try:
            return self._run()
        except StripeError as error:
            return self._answer_error(error)

    def _run(self) -> Answer:
        secret = self.gateway.is_secret(_api_key(self.request.headers.get("authorization", "")))
        _check_version(self.request.headers.get("stripe-version"))
        found = endpoints.find(self.request.method, self.request.path)
        if found is None:
            raise StripeError(
                404,
                "invalid_request_error",
                f"Unrecognized request URL ({self.request.method}: {self.request.path}). Please see "
                "https://stripe.com/docs or we can help at https://support.stripe.com/.",
                stored=False,
            )
        endpoint, ids = found
        if not secret and not endpoint.publishable:
            raise wrong_key(
                "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a "
                "list of your API keys at https://dashboard.stripe.com/account/apikeys.",
                code="secret_key_required",
            )
        raw = self._params()
        self.entry["params"] = _without_card(raw)
        self.entry["order"] = self._order(endpoint, ids, raw)
        stored = self._claim(raw)
        try:
            self.rule = self.gateway.rules.pick(
                self.request.method, self.request.path, self.entry["order"], stored is not None, _asked(endpoint, raw)
            )
            if self.rule is not None:
                self.entry["fault"] = f"{self.rule.act} {self.rule.when}"
                self._refuse(self.rule)
            if stored is not None:
                with self._slow_before(None):
                    answer = self._replay(stored)
            else:
                answer = self._execute(endpoint, ids, raw, secret)
        finally:
            if stored is None and self.key is not None:
                self.account.keys.release(self.key)
        return self._after(answer)

    def _params(self) -> Params:
        if self.request.method == "POST":
            return decode(self.request.body, self.request.headers.get("content-type", ""))
        return parse(urlsplit(self.request.target).query)

    def _order(self, endpoint: Endpoint, ids: list[str], raw: Params) -> str | None:
        if endpoint.noun == INTENT and ids:
            return self.account.order_of(ids[0])
        intent_id = raw.get("payment_intent")
        if endpoint.noun in (REFUND, DISPUTE) and ids:
            thing = self.account.get(endpoint.noun, ids[0])
            intent_id = thing["payment_intent"] if thing else None
        elif isinstance(raw.get("charge"), str):
            intent_id = self.account.intent_of(raw["charge"])
        if isinstance(intent_id, str):
            return self.account.order_of(intent_id)
        given = raw.get("metadata")
        order = given.get("order") if isinstance(given, dict) else None
        return order if isinstance(order, str) else None

    def _claim(self, raw: Params) -> Stored | None:
        if self.key is None:
            return None
        try:
            return self.account.keys.claim(self.key, self.request.path, raw)
        except StripeError:
            self.key = None  # not ours: another call holds it
            raise

    # Before the effect.

    def _refuse(self, rule: Rule) -> None:
        """What stands before the idempotency layer: nothing is done, nothing is stored."""
        if rule.act == "429":
            raise rate_limited()
        if rule.act == "lock_timeout":
            raise lock_timeout()
        if rule.act == "409_in_use":
            raise key_in_use(self.key or "")
        if rule.act == "401":
            raise wrong_key("Invalid API Key provided: sk_test_************0000")
        if rule.act == "403":
            raise not_permitted()
        assert rule.act not in REFUSALS

    @contextlib.contextmanager
    def _slow_before(self, object_id: str | None) -> Iterator[None]:
        """Delays, holds and losses before the effect, with the object locked unless the rule says otherwise."""
        rule = self.rule
        if rule is None or rule.when == "after":
            with self.account.only_one_on(object_id):
                yield
            return
        if not rule.lock or not rule.slow_before:
            self._suffer(rule)
            with self.account.only_one_on(object_id):
                yield
            return
        with self.account.only_one_on(object_id):
            self._suffer(rule)
            yield

    def _suffer(self, rule: Rule) -> None:
        self.gateway.rules.wait(rule)
        if rule.act == "reset":
            raise HungUp("reset")
        if rule.act == "hang":
            self.request.wait_until_closed()
            raise HungUp("hang")
        if rule.act == "delay":
            time.sleep(rule.seconds)
        if rule.act in ("502", "503"):
            raise broken_server(int(rule.act))

    # The effect.

    def _execute(self, endpoint: Endpoint, ids: list[str], raw: Params, secret: bool) -> Answer:
        params = endpoint.shape.read(raw)
        if "off_session" in params:
            params["off_session"] = params["off_session"] != "false"
        paths: list[str] = params.pop("expand", [])
        check_expand(endpoint.noun, paths, endpoint.is_list)
        cause = Cause(
            self.request_id, self.key, self.request.peer, not (self.rule is not None and self.rule.drop_webhooks)
        )
        change = self.account.begin(cause)
        context = Context(change, secret, self._forced())
        locked = endpoint.locks(self.account, ids, params) if endpoint.locks else None
        written = 0
        with self._slow_before(locked), self.account.lock:
            if self._breaks("before"):
                answer = self._answer_error(broken_server())
            else:
                try:
                    thing = endpoint.run(context, ids, params)
                    body = dump(expanded(self.account, endpoint.noun, thing, paths))
                    answer = Answer(200, body, self._headers())
                except StripeError as error:
                    if not error.stored:
                        raise
                    answer = self._answer_error(error)
                if self._breaks("after"):
                    answer = self._answer_error(broken_server())
            if endpoint.method == "POST":
                if self.key is not None:
                    change.result = self.account.keys.result(
                        self.key, self.request.path, raw, answer.status, answer.body, self.request_id
                    )
                written = change.commit()
        if written:
            self.account.book.wait(written)
        else:
            self.account.book.wait_for_changes()
        change.announce()
        if self.entry["order"] is None and endpoint.noun == INTENT and ids:
            self.entry["order"] = self.account.order_of(ids[0])
        return answer

    def _forced(self) -> Forced | None:
        if self.rule is not None and self.rule.act in ASKING:
            return Forced(self.rule.act, self.rule.decline_code)
        return None

    def _breaks(self, when: str) -> bool:
        return self.rule is not None and self.rule.act == "500" and self.rule.when == when

    def _replay(self, stored: Stored) -> Answer:
        """The historical answer, not the object as it is now."""
        self.entry["replayed"] = True
        headers = self._headers() | {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
        if stored.status >= 400:
            headers["Stripe-Should-Retry"] = "false"
        self.account.book.wait_for_changes()
        return Answer(stored.status, stored.body, headers)

    # After the effect.

    def _after(self, answer: Answer) -> Answer:
        rule = self.rule
        if rule is None:
            return answer
        if rule.act == "drip":
            answer.wire, answer.seconds = "drip", rule.seconds or 1.0
        if rule.when == "before":
            return answer
        self.gateway.rules.wait(rule)
        if rule.act == "delay":
            time.sleep(rule.seconds)
        if rule.act in ("reset", "hang"):
            answer.wire = rule.act
        if rule.act in ("502", "503"):
            return self._answer_error(broken_server(int(rule.act)))
        return answer

    def _headers(self) -> dict[str, str]:
        headers = {"Request-Id": self.request_id, "Stripe-Version": API_VERSION, "Content-Type": "application/json"}
        given = self.request.headers.get("idempotency-key")
        if given and self.request.method == "POST":
            headers["Idempotency-Key"] = given
            headers["Original-Request"] = self.request_id
        return headers

    def _answer_error(self, error: StripeError) -> Answer:
        headers = self._headers()
        if error.status >= 500:
            headers["Stripe-Should-Retry"] = "false" if error.stored else "true"
        elif error.should_retry is not None:
            headers["Stripe-Should-Retry"] = str(error.should_retry).lower()
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Stripe"'
        if error.error.get("code") == "rate_limit":
            headers["Stripe-Rate-Limited-Reason"] = "global-rate"
        return Answer(error.status, dump(error.body(self.request_id)), headers)


def _asked(endpoint: Endpoint, raw: Params) -> str | None:
    """A create asks the bank only when it confirms too."""
    if endpoint.asks_bank == "confirm" and endpoint.locks is None and raw.get("confirm") != "true":
        return None
    return endpoint.asks_bank


def _api_key(header: str) -> str | None:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            return base64.b64decode(rest, validate=True).decode().partition(":")[0]
    return None


def _check_version(version: str | None) -> None:
    if version is not None and version != API_VERSION:
        raise invalid_request(
            f"Invalid Stripe API version: {version}. This sandbox speaks {API_VERSION}.", stored=False
        )


def _without_card(raw: Any) -> Any:
    """No card number or security code reaches the book."""
    if isinstance(raw, dict):
        return {
            name: f"****{value[-4:]}" if name == "number" and isinstance(value, str)
            else "***" if name == "cvc" else _without_card(value)
            for name, value in raw.items()
        }  # fmt: skip
    return [_without_card(each) for each in raw] if isinstance(raw, list) else raw
