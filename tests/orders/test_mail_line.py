"""What becomes of a mail when the line to a real mail server breaks, at each step; and when its sender is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from django.db import connection
from django.utils import timezone

from orders.ends import owe_mail
from orders.mail import send_due_mails
from orders.mail_links import link_of
from orders.models import Mail, OrderLink
from shop.env import BASE_DIR
from tests.orders.making import make_order, minutes_ago
from tests.orders.smtp_server import BREAK, SILENCE, MailServer
from tests.services import services

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server(settings) -> Iterator[MailServer]:
    started = MailServer()
    settings.EMAIL_BACKEND = "shop.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", started.port, 1
    yield started
    started.close()


def owed() -> Mail:
    order = make_order(status="paid", paid_at=timezone.now())
    owe_mail(order, Mail.Kind.RECEIPT, timezone.now())
    return Mail.objects.get(order=order)


def let_the_doubt_end() -> None:
    Mail.objects.filter(state="sending").update(sending_at=minutes_ago(31))


def test_a_mail_goes_out_over_a_real_line(server):
    mail = owed()
    assert send_due_mails() == 1
    (text,) = server.texts
    assert text["To"] == mail.order.email and text["Message-ID"]
    assert Mail.objects.get().state == "sent"


@pytest.mark.parametrize("how", [BREAK, SILENCE])
@pytest.mark.parametrize("step", ["greeting", "ehlo", "mail", "rcpt", "data"])
def test_a_line_that_breaks_before_the_text_leaves_the_mail_due(server, step, how):
    owed()
    server.does[step] = how
    assert send_due_mails() == 0
    row = Mail.objects.get()
    assert (row.state, row.refusals, row.doubts, row.sending_at) == ("due", 1, 0, None)
    assert row.last_refusal and not OrderLink.objects.exists()
    server.does.clear()
    Mail.objects.update(due_at=minutes_ago(0))
    assert (send_due_mails(), len(server.texts)) == (1, 1)


@pytest.mark.parametrize(
    ("step", "no"),
    [
        ("greeting", "421 too many"),
        ("mail", "550 not you"),
        ("rcpt", "550 unknown"),
        ("rcpt", "450 later"),
        ("data", "451 later"),
        ("text", "554 spam"),
        ("text", "421 closing"),
    ],
)
def test_what_the_server_refuses_is_due_again(server, step, no):
    owed()
    server.does[step] = no
    assert send_due_mails() == 0
    row = Mail.objects.get()
    assert (row.state, row.refusals, row.sending_at) == ("due", 1, None)
    assert no[:3] in row.last_refusal and not OrderLink.objects.exists()


@pytest.mark.parametrize("how", [BREAK, SILENCE])
def test_a_line_that_breaks_under_the_text_leaves_the_mail_in_doubt_and_a_copy_follows(server, how):
    mail = owed()
    server.does["text"] = how
    assert send_due_mails() == 0
    assert (Mail.objects.get().state, Mail.objects.get().refusals) == ("sending", 0)
    server.does.clear()
    assert send_due_mails() == 0
    let_the_doubt_end()
    assert send_due_mails() == 1
    assert_copies(server, mail)


@pytest.mark.parametrize("how", [BREAK, SILENCE, "500 no"])
def test_a_line_that_breaks_after_the_yes_has_sent_the_mail(server, how):
    owed()
    server.does["quit"] = how
    assert (send_due_mails(), Mail.objects.get().state) == (1, "sent")


def test_the_others_are_sent_when_one_is_refused(server):
    for _ in range(3):
        owed()
    server.does["rcpt"] = "550 unknown"
    send_due_mails()
    assert set(Mail.objects.values_list("state", "refusals")) == {("due", 1)}


@pytest.mark.parametrize("step", ["greeting", "text"])
def test_a_sender_that_was_killed_leaves_a_mail_that_is_sent_once_more(server, step):
    """With `kill -9`, before the server has the text and after."""
    mail = owed()
    server.does[step] = SILENCE
    sender = start_sender(server)
    if step == "text":
        assert server.has_text.wait(30)
    else:
        wait_until_sending()
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    server.does.clear()
    assert (Mail.objects.get().state, send_due_mails()) == ("sending", 0)
    let_the_doubt_end()
    assert send_due_mails() == 1
    assert Mail.objects.get().state == "sent"
    assert_copies(server, mail, copies=2 if step == "text" else 1)


def test_two_senders_at_once_send_one_copy_of_a_mail_whose_sender_was_killed(server):
    mails = [owed() for _ in range(3)]
    Mail.objects.update(state="sending", sending_at=minutes_ago(31))
    senders = [start_sender(server) for _ in range(2)]
    assert [sender.wait(60) for sender in senders] == [0, 0]
    assert sorted(text["Subject"] for text in server.texts) == sorted(
        f"Your receipt for order {mail.order.number}" for mail in mails
    )
    assert set(Mail.objects.values_list("state", "doubts")) == {("sent", 1)}


def start_sender(server: MailServer) -> "subprocess.Popen[bytes]":
    env = dict(os.environ) | {
        "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
        "DATABASE_URL": services().postgres.url(connection.settings_dict["NAME"]),
    }
    return subprocess.Popen([sys.executable, "manage.py", "send_mails"], cwd=BASE_DIR, env=env)


def wait_until_sending() -> None:
    end = time.monotonic() + 30
    while Mail.objects.get().state != "sending":
        assert time.monotonic() < end, "it never began"
        time.sleep(0.02)


def assert_copies(server: MailServer, mail: Mail, copies: int = 2) -> None:
    """Of one mail, as a mail program sees it, and each with a link that opens the order."""
    assert len(server.texts) == copies
    assert len({text["Message-ID"] for text in server.texts}) == 1
    links = [link_of(link_token(text)) for text in server.texts]
    assert len({link and link.pk for link in links}) == copies
    assert [link and link.order_id for link in links] == [mail.order_id] * copies


def link_token(text: EmailMessage) -> str:
    plain = text.get_body(("plain",))
    assert plain is not None
    (token,) = re.findall(r"/orders/link/([A-Za-z0-9_-]+)/", plain.get_content())
    return str(token)
