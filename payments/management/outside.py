"""The shop and the sandbox from outside, over HTTP: for a command that plays shoppers, a bank, and staff."""

import datetime
import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.conf import settings

from shop.ids import new_id

Json = dict[str, Any]

CONFIRM = "/v1/payment_intents/*/confirm"
ADDRESS = {"line1": "12 Garden Row", "city": "London", "postal_code": "SE1 6HA", "country": "GB"}


class Answer(NamedTuple):
    status: int
    body: Any


class Browser:
    """One session at the shop, with its cookies."""

    def __init__(self) -> None:
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def send(self, method: str, path: str, body: Json | None = None, key: str = "") -> Answer:
        """JSON there and back."""
        csrf = next((cookie.value or "" for cookie in self._cookies if cookie.name.endswith("csrftoken")), "")
        headers = {"Accept": "application/json", "Content-Type": "application/json", "X-CSRFToken": csrf}
        if key:
            headers["Idempotency-Key"] = key
        content = None if body is None else json.dumps(body).encode()
        return _read(self._opener, _request(method, f"{settings.BASE_URL}{path}", content, headers))

    def log_in_to_admin(self, username: str, password: str) -> bool:
        """By the log-in page's own form. Whether it was let in."""
        self.send("GET", "/api/cart/")
        csrf = next(cookie.value or "" for cookie in self._cookies if cookie.name.endswith("csrftoken"))
        form = {"username": username, "password": password, "csrfmiddlewaretoken": csrf, "next": "/admin/"}
        content = urllib.parse.urlencode(form).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"{settings.BASE_URL}/admin/login/"}
        _read(self._opener, _request("POST", f"{settings.BASE_URL}/admin/login/", content, kind))
        return any(cookie.name.endswith("sessionid") for cookie in self._cookies)


class Shopper(Browser):
    """A guest who buys."""

    def __init__(self, email: str) -> None:
        super().__init__()
        self.email = email
        self.order: Json = {}

    def place(self, sku: str) -> str:
        """An order of one piece that waits to be paid: its id."""
        self.send("GET", "/api/cart/")
        cart = self.send("PUT", f"/api/cart/items/{sku}/", {"quantity": 1}).body
        wish = {"email": self.email, "name": "Ada Lovelace", "address": ADDRESS, "cart_version": cart["version"]}
        placed = self.send("POST", "/api/orders/", wish, new_id())
        if placed.status != 201:
            raise Unexpected("placing", placed)
        self.order = placed.body
        return str(self.order["id"])

    def press(self, card: str = "pm_card_visa") -> Answer:
        """Pay, with the order's key as it is now."""
        order = self.send("GET", f"/api/orders/{self.order['id']}/").body
        body = {"payment_token": card, "amount": order["total"], "currency": order["currency"]}
        return self.send("POST", f"/api/orders/{order['id']}/payments/", body, order["pay_key"])


class Bank:
    """The sandbox's control API: what Stripe and the bank do that no shop can ask for."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method: str, switch: str, body: Json | None = None) -> Answer:
        content = None if body is None else json.dumps(body).encode()
        address = f"{settings.STRIPE_API_BASE}/_sandbox/{switch}"
        return _read(self._opener, _request(method, address, content, {"Content-Type": "application/json"}))

    def is_sandbox(self) -> bool:
        """Whether it is one: no other Stripe answers this."""
        try:
            return self.ask("GET", "health").status == 200
        except (OSError, ValueError):
            return False

    def rule(self, act: str, order_id: str, **parts: Any) -> None:
        """Spoil this order's next confirm calls, and nobody else's."""
        self.ask("POST", "rules", {"act": act, "path": CONFIRM, "metadata_order": order_id, "times": 1, **parts})

    def past_payment(self, amount_minor: int, currency: str, created: datetime.datetime, metadata: Json) -> str:
        """A payment that was taken then, and not by this shop; its intent. No event tells of it."""
        row = {"amount": amount_minor, "currency": currency, "created": int(created.timestamp()), "metadata": metadata}
        content, kind = json.dumps(row).encode(), {"Content-Type": "application/x-ndjson"}
        address = f"{settings.STRIPE_API_BASE}/_sandbox/bulk"
        made = _read(self._opener, _request("POST", address, content, kind))
        if made.status != 200:
            raise Unexpected("a payment past the shop", made)
        return str(made.body[0]["intent"])

    @contextmanager
    def webhooks_held_back(self) -> Iterator[None]:
        """Nothing is delivered meanwhile; the reader of events finds it within a minute."""
        mode = self.ask("GET", "webhooks").body["mode"]
        self.ask("PUT", "webhooks", {"mode": "never"})
        try:
            yield
        finally:
            self.ask("PUT", "webhooks", {"mode": mode})


class Unexpected(Exception):
    """The shop did not do what the scenario needs; says what it answered."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: {answer.status} {str(answer.body)[:300]}")


def _request(method: str, address: str, content: bytes | None, headers: dict[str, str]) -> urllib.request.Request:
    return urllib.request.Request(address, content, headers, method=method)  # noqa: S310 - our own settings


def _read(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> Answer:
    try:
        with opener.open(request, timeout=60) as answer:
            return Answer(answer.status, _parsed(answer.read()))
    except urllib.error.HTTPError as error:
        return Answer(error.code, _parsed(error.read()))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content[:300].decode(errors="replace")
