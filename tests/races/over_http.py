"""A browser's requests to a real app server: session and CSRF cookies, one connection for each sender."""

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.test import Client

from orders.models import Order
from tests.races.crowd import Answer, at_once

CSRF = "c" * 32


class Sender:
    """One connection of one browser to one server, for one request after the other."""

    def __init__(self, url: str, browser: Client) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        session = browser.cookies[settings.SESSION_COOKIE_NAME].value
        self._headers = {
            "Cookie": f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={CSRF}",
            "X-CSRFToken": CSRF,
            "Accept": "application/json",
            "Content-Type": "application/json",
        }

    def post(self, path: str, key: str, body: dict[str, Any]) -> Answer:
        self._connection.request("POST", path, json.dumps(body), self._headers | {"Idempotency-Key": key})
        response = self._connection.getresponse()
        return Answer(response.status, response.read(), response.headers.get("Idempotent-Replayed") == "true")

    def press(self, order_id: str, key: str, amount: int, currency: str, token: str = "pm_card_visa") -> Answer:
        body = {"payment_token": token, "amount": amount, "currency": currency}
        return self.post(f"/api/orders/{order_id}/payments/", key, body)

    def close(self) -> None:
        self._connection.close()


def press_over(url: str, browser: Client, order: Order, key: str) -> Answer:
    """One press of Pay over a connection of its own."""
    with closing(Sender(url, browser)) as sender:
        return sender.press(order.pk, key, order.total_minor, order.currency)


def press_everywhere(urls: list[str], browser: Client, order: Order, keys: list[str]) -> list[Answer]:
    """One press for each key at the same moment, server after server in turn."""
    return at_once(
        len(keys), lambda number: press_over(urls[number % len(urls)], browser, order, keys[number]), connected=False
    )
