"""Every crash point of a checkout, C1 to C30 (RULES), by a real server or worker that dies, stalls or loses an answer
just there. Each time two presses are in its hands: of the first order nobody ever presses again, and completer, webhook
worker, sweep and mails run; the second order's shopper sends the same key again. Then Stripe's book is the judge.
"""

import datetime
import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.test import Client

from orders.mail import send_due_mails
from orders.models import Mail, Order
from payments.models import Attempt, Payment, PaymentEvent, WebhookEvent
from payments.reconciliation.inbox import work_webhooks
from shop.env import BASE_DIR
from shop.stack.redis import Redis
from tests.book import Book
from tests.crashes.crash_points import FOLDER, POINTS, SETTINGS, WHERE, Failpoint, kill_at
from tests.crashes.dying import Answer, assert_died, in_background, lose_rows, press_at, wait_until
from tests.oracles import assert_repaired
from tests.payments.paying import confirms, let_leases_end, placed_order, press
from tests.services import Stack, services, start_stack

pytestmark = pytest.mark.django_db(transaction=True)

Pair = list[tuple[Order, Client]]
Left = tuple[str, str, str]  # phase and outcome of the attempt, phase of the payment

NOTHING: list[Left] = []
STARTED = [("started", "", "opening")]
STARTED_OPEN = [("started", "", "open")]
RELEASED = [("finished", "released", "opening")]
CONFIRMING = [("confirming", "", "open")]
UNKNOWN = [("confirming", "unknown", "open")]
PAID = [("finished", "succeeded", "succeeded")]


@dataclass
class Crashing:
    """A server that dies at armed points, and is started again by its parent when it does."""

    stack: Stack
    folder: Path

    def arm(self, point: str, act: str, order: Order) -> Failpoint:
        return Failpoint(self.folder, point, act, order.pk).arm()

    def press(self, order: Order, client: Client) -> Future[Answer]:
        return in_background(press_at, self.stack.urls[0], client, order)


def start_crashing(folder: Path, **options: Any) -> Crashing:
    database_url = services().postgres.url(connection.settings_dict["NAME"])
    ours = {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": SETTINGS, FOLDER: str(folder / "failpoints")}
    return Crashing(start_stack(folder, dict(os.environ) | ours, **options), folder / "failpoints")


@pytest.fixture(scope="module")
def crashing(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashing]:
    started = start_crashing(tmp_path_factory.mktemp("crashing"))
    yield started
    started.stack.kill()


@pytest.fixture(autouse=True)
def _sweep_judges_the_young(settings: Any) -> None:
    """As if what it meets were older than any press."""
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)


# --- what repairs -----------------------------------------------------------------------------------------------------


def nobody_comes(order: Order) -> None:
    """Time passes, and only the shop's own repair runs, as cron would run it."""
    let_leases_end(order)
    for command in ("reconcile_payments", "sweep_payments"):
        with pytest.raises(SystemExit) as ended:
            call_command(command)
        assert ended.value.code == 0, f"{command} found a break"
    send_due_mails()


def same_key_again(order: Order, client: Client) -> int:
    """The shopper's own retry. Within the lease of the dead it is told to wait; after it, it is answered."""
    first = press(client, order, order.pay_key)
    if (first.status_code, first.json().get("type")) == (409, "/problems/request-in-progress"):
        let_leases_end(order)
        first = press(client, order, order.pay_key)
    return int(first.status_code)


def left(order: Order) -> list[Left]:
    return list(Attempt.objects.filter(order=order).values_list("phase", "outcome", "payment__phase"))


def status_of(order: Order) -> str:
    return Order.objects.values_list("status", flat=True).get(pk=order.pk)


def assert_ends_paid_once(book: Book, pair: Pair, written_ahead: bool = True) -> None:
    """Whatever was left unpaid is paid by its shopper now, by the order's key as it is now."""
    orders = [order for order, _ in pair]
    assert_repaired(book, *orders, written_ahead=written_ahead)
    for order, client in pair:
        if status_of(order) != "paid":
            assert book.charges(order.pk) == []
            assert press(client, order).status_code == 201
    send_due_mails()
    assert_repaired(book, *orders, written_ahead=written_ahead)
    for order in orders:
        assert status_of(order) == "paid"
        assert len(book.charges(order.pk)) == 1
        assert Mail.objects.get(order=order, kind="receipt").state == "sent"


# --- killed: `kill -9` of the process in which both presses have come to the point ------------------------------------


@dataclass(frozen=True)
class Killed:
    left: list[Left]
    alone: str  # what becomes of the order to which nobody comes back
    charged: bool = False  # whether Stripe has the charge before the kill
    lose: tuple[str, ...] = field(default=())  # what the database forgets then: a fail-over


KILLED = {
    "C1": Killed(NOTHING, "pending"),
    "C2": Killed(NOTHING, "pending"),
    "C3": Killed(NOTHING, "pending"),
    "C5": Killed(STARTED, "pending"),
    "C7": Killed(STARTED, "pending"),
    "C9": Killed(STARTED, "pending"),
    "C10": Killed(STARTED_OPEN, "pending"),
    "C11": Killed(CONFIRMING, "paid"),
    "C12": Killed(CONFIRMING, "paid", charged=True),
    "C18": Killed(CONFIRMING, "paid", charged=True),
    "C21": Killed(PAID, "paid", charged=True, lose=("outcome",)),
    "C22": Killed(PAID, "paid", charged=True, lose=("outcome", "claim")),
    "C23": Killed(PAID, "paid", charged=True),
    "C24": Killed(PAID, "paid", charged=True),
}


@pytest.mark.parametrize("point", KILLED)
def test_killed(point: str, book: Book, crashing: Crashing) -> None:
    case, pair = KILLED[point], [placed_order(), placed_order()]
    paused = [crashing.arm(point, "pause", order) for order, _ in pair]
    presses = [crashing.press(order, client) for order, client in pair]
    for each in paused:
        each.wait_until_hit()
    if case.charged:
        wait_until(lambda: all(book.succeeded(order.pk) for order, _ in pair))
    kill_at(*paused)
    for running in presses:
        assert_died(running)
    assert [left(order) for order, _ in pair] == [case.left] * 2
    for order, _ in pair:
        lose_rows(order, *case.lose)
    (alone, _), (retried, client) = pair
    assert same_key_again(retried, client) == 201
    nobody_comes(alone)
    assert status_of(alone) == case.alone
    assert_ends_paid_once(book, pair, written_ahead=not case.lose)
    assert [len(book.intents(order.pk)) for order, _ in pair] == [1, 1]
    if case.charged and not case.lose:  # looked at, not confirmed again
        assert [len(confirms(book, order)) for order, _ in pair] == [1, 1]


def test_killed_by_itself_while_it_waits_for_the_bank(book: Book, crashing: Crashing) -> None:
    """C16: as the machine out of memory does it, one worker of a server, and its parent starts another."""
    pair = [placed_order(), placed_order()]
    for order, client in pair:
        point = crashing.arm("C16", "kill", order)
        running = crashing.press(order, client)
        point.wait_until_hit()
        assert_died(running)
        wait_until(partial(book.succeeded, order.pk))
        assert left(order) == CONFIRMING
    (alone, _), (retried, client) = pair
    nobody_comes(alone)
    assert status_of(alone) == "paid"
    assert same_key_again(retried, client) == 201
    assert_ends_paid_once(book, pair)


# --- lost: the process lives, and what it waited for never comes ------------------------------------------------------


@dataclass(frozen=True)
class Lost:
    act: str
    answer: int
    left: list[Left]
    alone: str
    again: int = 201
    rule: str = ""  # a fault of Stripe's own, made by the sandbox


LOST = {
    "C4": Lost("drop", 201, PAID, "paid"),
    "C6": Lost("drop-all", 503, RELEASED, "pending"),
    "C8": Lost("drop-all", 503, RELEASED, "pending"),
    "C13": Lost("drop-all", 202, UNKNOWN, "paid"),
    "C14": Lost("", 202, UNKNOWN, "paid", rule="after"),
    "C15": Lost("", 202, UNKNOWN, "pending", again=402, rule="before"),
    "C19": Lost("drop-all", 202, CONFIRMING, "paid"),
    "C20": Lost("drop", 201, PAID, "paid"),
    "C27": Lost("drop", 201, PAID, "paid"),
    "C30": Lost("drop-all", 202, UNKNOWN, "paid"),
}


@pytest.mark.parametrize("point", LOST)
def test_lost(point: str, book: Book, crashing: Crashing) -> None:
    case, pair = LOST[point], [placed_order(), placed_order()]
    for order, _ in pair:
        if case.rule:
            book.rule("500", when=case.rule, metadata_order=order.pk)
        else:
            crashing.arm(point, case.act, order)
    answers = [crashing.press(order, client).result(60) for order, client in pair]
    assert [answer.status for answer in answers] == [case.answer] * 2
    assert [left(order) for order, _ in pair] == [case.left] * 2
    (alone, _), (retried, client) = pair
    assert same_key_again(retried, client) == case.again
    nobody_comes(alone)
    assert status_of(alone) == case.alone
    assert_ends_paid_once(book, pair)


def test_without_webhooks_and_completer_the_sweep_finds_the_money(book: Book, crashing: Crashing) -> None:
    """C30 again: of all that repairs, only the comparison with Stripe's book runs."""
    order, client = placed_order()
    crashing.arm("C30", "drop-all", order)
    assert crashing.press(order, client).result(60).status == 202
    let_leases_end(order)
    with pytest.raises(SystemExit):
        call_command("sweep_payments")
    assert status_of(order) == "paid"
    assert_ends_paid_once(book, [(order, client)])


# --- paused: the answer is in its hands, and meanwhile the world goes on ----------------------------------------------


def paused_presses(crashing: Crashing, point: str, pair: Pair) -> tuple[list[Failpoint], list[Future[Answer]]]:
    paused = [crashing.arm(point, "pause", order) for order, _ in pair]
    presses = [crashing.press(order, client) for order, client in pair]
    for each in paused:
        each.wait_until_hit()
    return paused, presses


def let_go(paused: list[Failpoint], presses: list[Future[Answer]]) -> list[int]:
    for each in paused:
        each.go_on()
    return [running.result(60).status for running in presses]


def test_paused_beyond_its_lease(book: Book, crashing: Crashing) -> None:
    """C17: it wakes up when its successors have finished, and answers from the row."""
    pair = [placed_order(), placed_order()]
    paused, presses = paused_presses(crashing, "C17", pair)
    (alone, _), (retried, client) = pair
    nobody_comes(alone)
    assert same_key_again(retried, client) == 201
    before = list(Attempt.objects.order_by("pk").values()), list(Payment.objects.order_by("pk").values())
    assert let_go(paused, presses) == [201, 201]
    assert before == (list(Attempt.objects.order_by("pk").values()), list(Payment.objects.order_by("pk").values()))
    assert_ends_paid_once(book, pair)


def test_redis_loses_the_lock_in_the_middle(book: Book, crashing: Crashing, redis_server: Redis) -> None:
    """C26: second requests come in, by the same key and by another; the rows tell them to wait."""
    pair = [placed_order(), placed_order()]
    paused, presses = paused_presses(crashing, "C26", pair)
    redis_server.restart()
    for order, client in pair:
        assert press(client, order, order.pay_key).json()["type"] == "/problems/request-in-progress"
        assert press(client, order, "another-key").json()["type"] == "/problems/payment-in-progress"
    assert let_go(paused, presses) == [201, 201]
    assert_ends_paid_once(book, pair)


def test_the_webhook_is_faster(book: Book, crashing: Crashing) -> None:
    """C28: Stripe tells of the charge while the press still has its answer in hand."""
    pair = [placed_order(), placed_order()]
    paused, presses = paused_presses(crashing, "C28", pair)
    for order, _ in pair:
        intent = book.intents(order.pk)[0]["id"]
        assert book.send_webhook(intent=intent, type="payment_intent.succeeded") == [200]
    with pytest.raises(SystemExit):
        call_command("reconcile_payments")
    assert [status_of(order) for order, _ in pair] == ["paid", "paid"]
    assert let_go(paused, presses) == [201, 201]
    assert_ends_paid_once(book, pair)


# --- Celery's workers -------------------------------------------------------------------------------------------------


@pytest.fixture
def worker(redis_server: Redis, tmp_path: Path) -> Iterator[Callable[[], Crashing]]:
    """A Celery worker that dies at armed points; started when the points are."""
    started: list[Crashing] = []

    def start() -> Crashing:
        started.append(start_crashing(tmp_path, servers=0, celery=True))
        return started[-1]

    yield start
    for running in started:
        running.stack.kill()


def test_a_worker_dies_with_its_work_done_and_the_message_not_acknowledged(
    book: Book, crashing: Crashing, worker: Callable[[], Crashing], tmp_path: Path
) -> None:
    """C25: the message comes again, and the receipt does not."""
    pair = [placed_order()]
    point = Failpoint(tmp_path / "failpoints", "C25", "kill").arm()
    worker()
    assert [crashing.press(order, client).result(60).status for order, client in pair] == [201]
    point.wait_until_hit()
    again = Failpoint(tmp_path / "failpoints", "C25", "drop").arm()
    again.wait_until_hit()
    assert Mail.objects.get(order=pair[0][0], kind="receipt").state == "sent"
    assert_ends_paid_once(book, pair)


def test_a_worker_dies_in_the_middle_of_a_webhook(
    book: Book, crashing: Crashing, worker: Callable[[], Crashing], tmp_path: Path
) -> None:
    """C29: the event stays in the inbox, and both the worker's next round and the completer find the money."""
    pair = [placed_order(), placed_order()]
    for order, _ in pair:
        crashing.arm("C13", "drop-all", order)
    assert [crashing.press(order, client).result(60).status for order, client in pair] == [202, 202]
    running = worker()
    for order, _ in pair:
        point = Failpoint(tmp_path / "failpoints", "C29", "kill").arm()
        intent = book.intents(order.pk)[0]["id"]
        assert book.send_webhook(intent=intent, type="payment_intent.succeeded") == [200]
        point.wait_until_hit()
    assert set(WebhookEvent.objects.values_list("state", flat=True)) == {"stored"}
    running.stack.kill()
    (alone, _), (retried, client) = pair
    nobody_comes(alone)
    assert status_of(alone) == "paid"
    assert same_key_again(retried, client) == 201
    assert_ends_paid_once(book, pair)


def test_a_server_dies_between_storing_a_webhook_and_saying_so(book: Book, crashing: Crashing) -> None:
    """C29, earlier: the event is stored, Stripe never hears the 200 and sends it again: one row, one transition."""
    order, client = placed_order()
    assert press(client, order, token="pm_card_threeDSecure2Required").status_code == 202
    intent = book.intents(order.pk)[0]["id"]
    told_before = len(book.events(intent))
    dies = Failpoint(crashing.folder, "C23", "kill").arm()  # at any answer: the next request is a webhook's
    book.webhooks("normal")
    book.challenge(intent, "pass")
    dies.wait_until_hit()
    assert WebhookEvent.objects.filter(state="stored").exists()
    wait_until(lambda: book.webhooks()["undelivered"] == 0)
    events = book.events(intent)[told_before:]
    assert {"payment_intent.succeeded", "charge.succeeded"} <= {event["type"] for event in events}
    stored = WebhookEvent.objects.order_by("event_id")
    assert [row.event_id for row in stored] == sorted(event["id"] for event in events)
    assert {(row.state, row.tries) for row in stored} == {("stored", 0)}
    work_webhooks()
    assert set(WebhookEvent.objects.values_list("state", flat=True)) == {"done"}
    assert PaymentEvent.objects.filter(order=order, kind="settled", to_state="succeeded").count() == 1
    assert_ends_paid_once(book, [(order, client)])


# --- the family is whole ----------------------------------------------------------------------------------------------


def test_every_point_is_in_the_family() -> None:
    text = Path(__file__).read_text()
    by_name = {point for point in POINTS if f"{point}:" in text}
    assert set(KILLED) | set(LOST) | by_name == set(POINTS) == set(WHERE)
    assert list(POINTS) == [f"C{number}" for number in range(1, 31)]


def test_failpoints_refuse_any_settings_but_their_own() -> None:
    with pytest.raises(ImproperlyConfigured, match="Failpoints are for tests"):
        importlib.import_module("tests.crashes.failpoints")


def test_the_money_code_names_no_failpoint() -> None:
    sources = [
        *(BASE_DIR / "payments").rglob("*.py"),
        *(BASE_DIR / "orders").rglob("*.py"),
        *BASE_DIR.glob("shop/*.py"),
    ]
    assert len(sources) > 80
    assert [path.name for path in sources if "failpoint" in path.read_text().lower()] == []
