"""`python -m payments.sandbox --port 8001 --book PATH ...`; every option may also come from the environment."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from . import bulk
from .account import Account
from .appointments import Appointments
from .book import Book, BookInUse
from .control import Control
from .faults import Rules
from .gateway import Gateway
from .later import Later
from .pages import Pages
from .server import Server
from .webhooks import Webhooks


def main() -> int:
    options = _options()
    _end_when_told()
    try:
        book = Book(Path(options.book))
    except BookInUse as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    try:
        server = Server(options.port)
    except OSError as error:
        print(f"sandbox: port {options.port}: {error.strerror}", file=sys.stderr)
        return 2
    account = Account(book, base_url=server.url, renders=bulk.RENDERS, place_rows=bulk.place)
    try:
        account.rebuild()
    except ValueError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    later = Later(account.clock)
    rules = Rules()
    webhooks = Webhooks(account, later, options.webhook_url or None, options.webhook_secret)
    Appointments(account, later)
    server.gateway = Gateway(account, rules, options.secret_key, options.publishable_key)
    server.control = Control(account, rules, webhooks, later)
    server.pages = Pages(server.control)
    webhooks.resume()
    print(f"sandbox listening on {server.url}", flush=True)  # the socket listens already
    server.serve_forever()
    return 0


def _end_when_told() -> None:
    """At once, whatever else is going on: every answered effect is in the book already.

    A thread waits for the signals, because a signal may reach any thread, and Python acts on it in the main one only,
    and only when that wakes up.
    """
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)  # inherited by every thread that is started from now on

    def wait() -> None:
        signal.sigwait(endings)
        os._exit(0)

    threading.Thread(target=wait, name="end", daemon=True).start()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m payments.sandbox", description="A local Stripe.")
    env = os.environ.get
    parser.add_argument("--port", type=int, default=int(env("SANDBOX_PORT", "8001")), help="0: any free port")
    parser.add_argument("--book", default=env("SANDBOX_BOOK", ".state/sandbox/book.jsonl"))
    parser.add_argument("--webhook-url", default=env("SANDBOX_WEBHOOK_URL", ""), help="none: no webhooks")
    parser.add_argument("--webhook-secret", default=env("STRIPE_WEBHOOK_SECRET", "whsec_sandbox"))
    parser.add_argument("--secret-key", default=env("STRIPE_SECRET_KEY", "sk_test_sandbox"))
    parser.add_argument("--publishable-key", default=env("STRIPE_PUBLISHABLE_KEY", "pk_test_sandbox"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
