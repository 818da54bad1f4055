"""The beat: killed, it comes back, and repair with it; two of them do nothing twice. No webhooks, and fast repair."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from orders.ends import owe_mail
from orders.models import Mail, Order
from payments.models import Attempt, Payment, Refund
from shop.env import BASE_DIR
from shop.stack.child import Child
from shop.stack.redis import Redis
from shop.stack.run import BEAT_IS_UP, WORKER_IS_UP, beat_command, worker_command
from tests.book import Book
from tests.crashes.dying import wait_until
from tests.oracles import assert_books_agree
from tests.orders.making import minutes_ago
from tests.orders.smtp_server import MailServer
from tests.payments.paying import let_leases_end, placed_order, press
from tests.payments.test_refunds import REFUNDS, refund
from tests.services import services
from tests.stack.test_supervisor import child_of, kill_child_of

pytestmark = pytest.mark.django_db(transaction=True)

HANG_SECONDS = 240


@pytest.fixture
def mails() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture
def env(transactional_db: None, redis_server: Redis, mails: MailServer) -> dict[str, str]:
    """Of processes that share the test's database, its sandbox and a mail server."""
    return dict(os.environ) | {
        "DATABASE_URL": services().postgres.url(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "tests.crashes.settings_night",
        "EMAIL_URL": f"smtp://127.0.0.1:{mails.port}",
    }


def test_a_beat_that_is_killed_comes_back_and_a_lost_answer_ends_in_the_truth(
    book: Book, env: dict[str, str], mails: MailServer, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.crashes.supervised", str(tmp_path)]
    program = subprocess.Popen(command, cwd=BASE_DIR, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "started\n"
        killed = kill_child_of(program.pid, tmp_path, "beat")
        assert "beat ended by itself (signal 9). It is started again in 1 s." in program.stdout.readline()
        order = with_lost_answer(book)
        wait_until(lambda: is_settled(order), HANG_SECONDS)
        assert child_of(program.pid, tmp_path, "beat") not in (0, killed)
    finally:
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
    assert_charged_and_told_once(book, mails, order)


def test_two_beats_charge_refund_and_write_once(
    book: Book, env: dict[str, str], mails: MailServer, tmp_path: Path
) -> None:
    """And a worker that does two things at once: each task comes twice, at about the same moment."""
    commands = {"worker": worker_command(concurrency=2), "beat1": beat_command(), "beat2": beat_command()}
    children: list[Child] = []
    orders = [with_lost_answer(book) for _ in range(6)]
    refunded = [with_lost_refund(book) for _ in range(3)]
    in_doubt = [in_doubt_for_long() for _ in range(3)]
    try:
        for name, command in commands.items():
            children.append(Child(name, command, log=tmp_path / name, env=env, folder=BASE_DIR))
        children[0].wait_for_text(WORKER_IS_UP, HANG_SECONDS)
        for beat in children[1:]:
            beat.wait_for_text(BEAT_IS_UP, HANG_SECONDS)
        wait_until(lambda: all(is_settled(order) for order in [*orders, *refunded, *in_doubt]), HANG_SECONDS)
        for beat in children[1:]:  # both have done their part, and go on for some rounds
            wait_until(partial(has_sent, beat, "(payments.complete)", times=5), HANG_SECONDS)
            assert "(orders.send_mails)" in beat.text()
    finally:
        for child in children:
            child.kill()
    assert_charged_and_told_once(book, mails, *orders, *refunded, *in_doubt)
    for order in refunded:
        assert [one["amount"] for one in book.refunds(order.pk)] == [100]
        assert Payment.objects.get(order=order).refunded_minor == 100


def has_sent(beat: Child, task: str, times: int) -> bool:
    return beat.text().count(task) >= times


def with_lost_answer(book: Book) -> Order:
    """Charged, and our side does not know."""
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == 202
    book.clear_rules()
    let_leases_end(order)
    return order


def with_lost_refund(book: Book) -> Order:
    """Paid, a part given back, and our side does not know that."""
    order, client = placed_order()
    assert press(client, order).status_code == 201
    staff = Client(headers={"Accept": "application/json"})
    staff.force_login(User.objects.create_superuser(f"clerk-{order.number}", "", "a long password"))
    book.rule("reset", REFUNDS, when="after", times=None)
    assert refund(staff, Payment.objects.get(order=order), 100).status_code == 202
    book.clear_rules()
    Refund.objects.update(locked_until=minutes_ago(1))
    return order


def in_doubt_for_long() -> Order:
    """Its receipt was being sent when the sender died, half an hour ago."""
    order, _ = placed_order(status="paid", paid_at=timezone.now())
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    Mail.objects.filter(order=order).update(state="sending", sending_at=minutes_ago(31))
    return order


def is_settled(order: Order) -> bool:
    """Nothing of it is open, and no mail is owed."""
    is_open = Attempt.objects.filter(order=order).exclude(phase="finished").exists()
    goes_back = Refund.objects.filter(payment__order=order).exclude(phase="finished").exists()
    mails = set(Mail.objects.filter(order=order).values_list("state", flat=True))
    return not is_open and not goes_back and mails == {"sent"}


def assert_charged_and_told_once(book: Book, mails: MailServer, *orders: Order) -> None:
    pressed = [order for order in orders if Attempt.objects.filter(order=order).exists()]
    assert [len(book.charges(order.pk)) for order in pressed] == [1] * len(pressed)
    assert_books_agree(book, *pressed)
    copies = Counter(text["Message-ID"] for text in mails.texts)
    assert set(copies.values()) == {1}
    assert len(copies) == Mail.objects.filter(order__in=orders).count()
