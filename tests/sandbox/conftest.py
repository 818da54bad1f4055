"""The sandbox's own tests: a real process, spoken to through the official `stripe` package. No Django, no database."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.book import Book

ROOT = Path(__file__).parents[2]
SECRET_KEY, PUBLISHABLE_KEY, WEBHOOK_SECRET = "sk_test_abc123", "pk_test_abc123", "whsec_abc123"
_NUMBERS = itertools.count(1)

if os.environ.get("BROWSER") == "0":
    collect_ignore_glob = ["test_stripe_js.py"]


class Process:
    """One sandbox on a book of its own; `kill` is `kill -9`."""

    def __init__(self, book: Path, *more: str) -> None:
        command = [sys.executable, "-m", "payments.sandbox", "--port", "0", "--book", str(book)]
        command += ["--secret-key", SECRET_KEY, "--publishable-key", PUBLISHABLE_KEY]
        command += ["--webhook-secret", WEBHOOK_SECRET, *more]
        self.child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line.startswith("sandbox listening on http://127.0.0.1:"), line
        self.url = line.split()[-1]
        self.client = client_for(self.url)
        self.book = Book(self.url)

    def kill(self) -> int:
        self.child.kill()
        return self._ended()

    def stop(self) -> int:
        self.child.terminate()
        return self._ended()

    def _ended(self) -> int:
        code = self.child.wait(10)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return code


def client_for(url: str, key: str = SECRET_KEY, timeout: float = 30, **options: Any) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=timeout),
        **options,
    )


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(tmp_path_factory.mktemp("sandbox") / "book.jsonl")
    yield running
    assert running.stop() == 0


@pytest.fixture
def url(process: Process) -> str:
    return process.url


@pytest.fixture
def book(process: Process) -> Iterator[Book]:
    process.book.reset()
    yield process.book
    process.book.reset()


@pytest.fixture
def client(process: Process, book: Book) -> stripe.StripeClient:
    return process.client


@dataclass
class Shop:
    """Makes intents as the shop does."""

    client: stripe.StripeClient
    options: dict[str, Any] = field(default_factory=dict)

    def intent(self, order: str = "order_1", key: str | None = None, **params: Any) -> stripe.PaymentIntent:
        whole: dict[str, Any] = {
            "amount": 2400,
            "currency": "gbp",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"order": order},
            **params,
        }
        whole = {name: value for name, value in whole.items() if value is not None}
        return self.client.v1.payment_intents.create(whole, _options(key))  # type: ignore[arg-type]

    def confirm(
        self, intent: str | stripe.PaymentIntent, card: str = "pm_card_visa", key: str | None = None, **params: Any
    ) -> stripe.PaymentIntent:
        intent_id = intent if isinstance(intent, str) else intent.id
        whole: dict[str, Any] = {"payment_method": card, **params}
        whole = {name: value for name, value in whole.items() if value is not None}
        return self.client.v1.payment_intents.confirm(intent_id, whole, _options(key))  # type: ignore[arg-type]

    def paid(self, order: str = "order_1", **params: Any) -> stripe.PaymentIntent:
        return self.confirm(self.intent(order, **params))

    def challenged(self, card: str = "pm_card_threeDSecure2Required", **params: Any) -> stripe.PaymentIntent:
        return self.confirm(self.intent(), card, **params)


def _options(key: str | None) -> Any:
    return {"idempotency_key": key or f"key-{next(_NUMBERS)}"}


@pytest.fixture
def shop(client: stripe.StripeClient) -> Shop:
    return Shop(client)


class Sink:
    """A shop's webhook endpoint: keeps what comes, answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, float]] = []  # body, signature, when
        self.answers: list[int] = []
        self.lock = threading.Lock()
        sink = self

        class Endpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                with sink.lock:
                    sink.got.append((body, self.headers["Stripe-Signature"], time.monotonic()))
                    status = sink.answers.pop(0) if sink.answers else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/webhooks/stripe/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def events(self) -> list[dict[str, Any]]:
        with self.lock:
            return [json.loads(body) for body, _, _ in self.got]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events()]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def sink(book: Book) -> Iterator[Sink]:
    running = Sink()
    book.webhooks("normal", url=running.url)
    yield running
    book.webhooks("normal", url="")
    running.close()


def wait_for(fact: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := fact():
            return result
        time.sleep(0.01)
    raise AssertionError("it never became true")


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results, or the exceptions, of so many threads that start at once."""
    start = threading.Barrier(count)
    results: list[Any] = [None] * count

    def one(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except stripe.StripeError as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def error_of(work: Callable[[], Any]) -> stripe.StripeError:
    with pytest.raises(stripe.StripeError) as caught:
        work()
    return caught.value


def body_of(error: stripe.StripeError) -> dict[str, Any]:
    assert isinstance(error.json_body, dict)
    inner: dict[str, Any] = error.json_body["error"]
    return inner
