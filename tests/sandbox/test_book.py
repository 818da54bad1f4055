"""The book: kill -9 loses no answered effect, and a restart finds everything as it was."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import ROOT, Process, Shop, Sink, error_of, wait_for

Start = Callable[..., Process]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "book.jsonl"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    running: list[Process] = []

    def begin(*more: str) -> Process:
        running.append(Process(path, *more))
        return running[-1]

    yield begin
    for process in running:
        if process.child.poll() is None:
            process.kill()


def test_a_restart_finds_everything_as_it_was(start: Start) -> None:
    before = start()
    shop = Shop(before.client)
    paid = shop.confirm(shop.intent("a", key="create"), key="confirm")
    challenged = shop.challenged()
    declined = shop.intent("c")
    error_of(lambda: shop.confirm(declined, "pm_card_chargeDeclined", key="declined"))
    shop.intent("d", confirm=True, payment_method="pm_card_visa")  # its event of creation shows what is no more
    token = shop.client.v1.test_helpers.confirmation_tokens.create({"payment_method": "pm_card_visa"})
    charge_id = paid.latest_charge
    assert isinstance(charge_id, str)
    wait_for(lambda: all(charge["balance_transaction"] for charge in before.book.succeeded()))
    assert charge_id in {charge["id"] for charge in before.book.succeeded("a")}
    book, calls = _everything(before), before.book.calls()
    before.kill()

    after = start()
    assert _everything(after) == book
    assert [call for call in after.book.calls() if call["path"].startswith("/v1/payment_intents/")][:2] == [
        call for call in calls if call["path"].startswith("/v1/payment_intents/")
    ][:2]
    shop = Shop(after.client)
    assert shop.confirm(paid, key="confirm").to_dict() == paid.to_dict()
    assert error_of(lambda: shop.confirm(declined, "pm_card_chargeDeclined", key="declined")).http_status == 402
    assert after.book.challenge(challenged.id, "pass")["status"] == "succeeded"
    assert shop.confirm(declined, None, confirmation_token=token.id).status == "succeeded"  # type: ignore[arg-type]
    assert error_of(lambda: shop.confirm(paid, key="another")).code == "payment_intent_unexpected_state"
    assert len(after.book.succeeded("a")) == 1


def _everything(process: Process) -> dict[str, Any]:
    return {
        "intents": process.book.intents(),
        "charges": process.book.charges(),
        "events": [event.to_dict() for event in process.client.v1.events.list({"limit": 100}).data],
    }


def test_kill_at_any_moment_loses_no_answered_effect(start: Start) -> None:
    """Four rounds of eight threads, killed in the middle: what was answered is there, under its key, once."""
    answered: dict[str, str] = {}
    for round_number in range(4):
        process = start()
        stop = threading.Event()

        def press(thread: int, process: Process = process, stop: Any = stop, round_number: int = round_number) -> None:
            shop = Shop(process.client)
            for number in range(10_000):
                if stop.is_set():
                    return
                order = f"{round_number}-{thread}-{number}"
                try:
                    intent = shop.intent(order, key=f"create-{order}", confirm=True, payment_method="pm_card_visa")
                except stripe.APIConnectionError:
                    return
                answered[order] = intent.id

        threads = [threading.Thread(target=press, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.25)
        process.kill()
        stop.set()
        for thread in threads:
            thread.join()
    after = start()
    charged = {charge["metadata"]["order"]: charge["payment_intent"] for charge in after.book.succeeded()}
    assert len(answered) > 50
    assert {order: charged.get(order) for order in answered} == answered
    assert len(charged) == len(after.book.succeeded())
    shop = Shop(after.client)
    for order in list(answered)[-5:]:
        again = shop.intent(order, key=f"create-{order}", confirm=True, payment_method="pm_card_visa")
        assert again.id == answered[order]


def test_a_torn_last_line_never_was(start: Start, path: Path) -> None:
    process = start()
    Shop(process.client).paid("a")
    process.kill()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"change","objects":[["payment_in')
    after = start()
    assert len(after.book.succeeded("a")) == 1
    Shop(after.client).paid("b")
    after.kill()
    assert len(start().book.succeeded("b")) == 1
    assert b"payment_in\n" not in path.read_bytes()
    for line in path.read_bytes().splitlines():
        json.loads(line)


def test_the_book_only_ever_grows(start: Start, path: Path) -> None:
    process = start()
    shop = Shop(process.client)
    sizes = []
    for number in range(3):
        shop.paid(f"o{number}")
        content = path.read_bytes()
        sizes.append(content)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(sizes))


def test_an_effect_is_in_the_file_before_it_is_answered(start: Start, path: Path) -> None:
    process = start()
    paid = Shop(process.client).paid("a")
    assert isinstance(paid.latest_charge, str)
    assert paid.latest_charge in path.read_text()


def test_two_sandboxes_never_share_a_book(start: Start, path: Path) -> None:
    start()
    second = subprocess.run(
        [sys.executable, "-m", "payments.sandbox", "--port", "0", "--book", str(path)],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert "another sandbox writes in" in second.stderr


def test_a_busy_port_is_said_in_one_line(start: Start, tmp_path: Path) -> None:
    port = start().url.rpartition(":")[2]
    second = subprocess.run(
        [sys.executable, "-m", "payments.sandbox", "--port", port, "--book", str(tmp_path / "other.jsonl")],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1 and port in second.stderr


def test_undelivered_webhooks_are_due_again_after_a_restart(start: Start, sink: Sink, path: Path) -> None:
    process = start("--webhook-url", "http://127.0.0.1:9/webhooks/stripe/")
    Shop(process.client).intent()
    process.kill()
    again = start("--webhook-url", sink.url)
    wait_for(lambda: sink.types() == ["payment_intent.created"])
    wait_for(lambda: '"kind":"delivered"' in path.read_text().replace(" ", ""))
    again.kill()
    once_more = start("--webhook-url", sink.url)
    assert once_more.book.webhooks()["undelivered"] == 0
    assert len(sink.got) == 1


def test_reset_begins_a_new_book_and_keeps_the_last(start: Start, path: Path) -> None:
    process = start()
    shop = Shop(process.client)
    shop.paid("a")
    process.book.reset()
    assert (process.book.charges(), process.book.intents()) == ([], [])
    assert shop.intent("a", key="key-again").status == "requires_payment_method"
    assert '"order":"a"' in path.with_name("book.previous.jsonl").read_text()
    process.kill()
    assert start().book.charges() == []


def test_reset_lets_go_of_whoever_is_held(start: Start) -> None:
    process = start()
    shop = Shop(process.client)
    intent = shop.intent()
    process.book.rule("hold", hold="bank")
    failed: list[stripe.StripeError] = []
    thread = threading.Thread(target=lambda: failed.append(error_of(lambda: shop.confirm(intent, key="held"))))
    thread.start()
    process.book.wait_until_held("bank")
    process.book.reset()
    thread.join()
    assert failed[0].http_status == 404  # its intent is gone
    assert process.book.charges() == []


@pytest.mark.parametrize("number", ["terminate", "interrupt"])
def test_it_ends_when_told_although_a_call_hangs(start: Start, number: str) -> None:
    import signal

    process = start()
    process.book.rule("hang", "/v1/payment_intents", times=None)
    thread = threading.Thread(target=lambda: error_of(Shop(process.client).intent))
    thread.start()
    wait_for(lambda: process.book.calls())
    process.child.send_signal(signal.SIGTERM if number == "terminate" else signal.SIGINT)
    assert process.child.wait(30) == 0
    assert process.child.stdout is not None
    process.child.stdout.close()
    thread.join()


def test_options_come_from_the_environment_too(tmp_path: Path) -> None:
    import os

    env = {
        **os.environ,
        "SANDBOX_PORT": "0",
        "SANDBOX_BOOK": str(tmp_path / "book.jsonl"),
        "STRIPE_SECRET_KEY": "sk_test_env",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "payments.sandbox"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    url = child.stdout.readline().split()[-1]
    client = stripe.StripeClient("sk_test_env", base_addresses={"api": url}, max_network_retries=0)
    assert client.v1.charges.list().data == []
    child.terminate()
    assert child.wait(30) == 0
    child.stdout.close()


def test_it_imports_nothing_of_ours_and_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; import payments.sandbox.__main__; "
        "print([n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names "
        "and not n.startswith('payments.sandbox') and n not in ('payments', '__main__')])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                          capture_output=True, text=True, check=True, timeout=20)  # fmt: skip
    modules = [
        name for name in json.loads(done.stdout.replace("'", '"')) if not name.startswith(("_", "sitecustomize"))
    ]
    assert modules == []
