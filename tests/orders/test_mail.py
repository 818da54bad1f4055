"""Mails: at most one of a kind, never again in doubt, due again after a definite no."""

import smtplib
import socket
import threading
from io import StringIO

import pytest
from django.core import mail as outbox
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from orders.ends import mark_paid, owe_mail
from orders.mail import message_of, send_due_mails
from orders.models import Mail, Order
from orders.tasks import send_mails
from payments.models import Payment
from tests.orders.making import make_attempt, make_order, make_product, minutes_ago

pytestmark = pytest.mark.django_db(transaction=True)


def owed(kind: Mail.Kind = Mail.Kind.RECEIPT, **order_fields) -> Mail:
    order = make_order(**order_fields)
    owe_mail(order, kind, timezone.now())
    return Mail.objects.get(order=order)


def server_that(monkeypatch, *, opening=None, sending=None):
    """The mail server fails so; None is a server that takes everything."""

    def open_(self):
        if opening:
            raise opening
        return True

    def send_messages(self, messages):
        (row,) = Mail.objects.filter(state="sending").values_list("state", flat=True)[:1]
        assert row == "sending"  # committed before the server hears of the mail
        assert not connection.in_atomic_block
        if sending:
            raise sending
        return EmailBackend.send_messages(self, messages)

    backend = type("Server", (EmailBackend,), {"open": open_, "send_messages": send_messages})
    monkeypatch.setattr("orders.mail.get_connection", lambda: backend())


def test_a_paid_orders_receipt_is_sent_once_as_text_and_html(monkeypatch):
    server_that(monkeypatch)
    order = make_order((make_product(name="Lamp & <Shade>", price_minor=2400), 2))
    make_attempt(order, "succeeded")
    Payment.objects.update(phase="succeeded", captured_minor=4800, card_brand="visa", card_last4="4242")
    with transaction.atomic():
        mark_paid(order, timezone.now())

    assert send_due_mails() == 1
    assert send_due_mails() == 0

    (sent,) = outbox.outbox
    assert sent.subject == f"Your receipt for order {order.number}"
    assert sent.to == ["ada@example.com"]
    assert isinstance(sent, outbox.EmailMultiAlternatives)
    html = str(sent.alternatives[0][0])
    for said in (order.number, "£48.00", "Visa ending in 4242", f"/orders/{order.pk}/", "Ada Lovelace"):
        assert said in sent.body and said in html, said
    assert "2 x Lamp & <Shade>: £48.00" in sent.body
    assert "Lamp &amp; &lt;Shade&gt;" in html
    row = Mail.objects.get()
    assert (row.state, row.refusals) == ("sent", 0)
    assert row.sending_at and row.sent_at and row.sent_at >= row.sending_at


@pytest.mark.parametrize("kind", Mail.Kind.values)
def test_every_kind_has_its_texts_with_the_reference_in_the_subject(kind):
    order = make_order()
    mail = Mail.objects.create(order=order, kind=kind, due_at=timezone.now())
    message = message_of(mail)
    assert order.number in message.subject
    assert order.number in message.body and order.number in str(message.alternatives[0][0])
    assert "{{" not in message.body and "None" not in message.body


def test_a_mail_that_is_not_due_yet_waits(monkeypatch):
    server_that(monkeypatch)
    owed()
    Mail.objects.update(due_at=minutes_ago(-1))
    assert send_due_mails() == 0
    assert not outbox.outbox


@pytest.mark.parametrize(
    "no",
    [
        {"opening": ConnectionRefusedError()},
        {"opening": socket.gaierror()},
        {"opening": TimeoutError()},
        {"opening": smtplib.SMTPAuthenticationError(535, b"no")},
        {"sending": smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"unknown")})},
        {"sending": smtplib.SMTPSenderRefused(451, b"later", "x")},
        {"sending": smtplib.SMTPDataError(554, b"spam")},
    ],
)
def test_a_definite_no_is_due_again_later_and_then_sent(no, monkeypatch):
    server_that(monkeypatch, **no)
    owed()

    assert send_due_mails() == 0

    row = Mail.objects.get()
    assert (row.state, row.refusals) == ("due", 1)
    assert 50 < (row.due_at - timezone.now()).total_seconds() <= 60
    assert row.last_refusal and "ada@" not in row.last_refusal
    assert not outbox.outbox

    Mail.objects.update(due_at=minutes_ago(0))
    server_that(monkeypatch)
    assert send_due_mails() == 1
    assert len(outbox.outbox) == 1


def test_refusals_wait_longer_and_longer_but_never_for_ever(monkeypatch):
    server_that(monkeypatch, opening=ConnectionRefusedError())
    owed()
    waits = []
    for refusals in (0, 1, 5, 500):
        Mail.objects.update(due_at=minutes_ago(0), refusals=refusals)
        send_due_mails()
        waits.append(round((Mail.objects.get().due_at - timezone.now()).total_seconds() / 60))
    assert waits == [1, 2, 32, 360]


@pytest.mark.parametrize(
    "doubt",
    [TimeoutError(), ConnectionResetError(), smtplib.SMTPServerDisconnected("gone")],
)
def test_what_ends_in_doubt_stays_sending_and_is_never_sent_again(doubt, monkeypatch):
    server_that(monkeypatch, sending=doubt)
    owed()

    assert send_due_mails() == 0
    server_that(monkeypatch)
    assert send_due_mails() == 0

    assert Mail.objects.get().state == "sending"
    assert not outbox.outbox


def test_a_process_killed_while_sending_leaves_the_mail_to_staff(monkeypatch):
    class Killed(BaseException):
        pass

    server_that(monkeypatch, sending=Killed())
    owed()
    with pytest.raises(Killed):
        send_due_mails()
    server_that(monkeypatch)
    assert send_due_mails() == 0
    assert Mail.objects.get().state == "sending"


def test_many_senders_at_once_send_each_mail_once(monkeypatch):
    server_that(monkeypatch)
    mails = [owed() for _ in range(6)]
    barrier = threading.Barrier(4)
    monkeypatch.setattr("orders.mail.get_connection", lambda: EmailBackend())

    def run():
        try:
            barrier.wait()
            send_due_mails()
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(m.subject for m in outbox.outbox) == sorted(f"Your receipt for order {m.order.number}" for m in mails)
    assert set(Mail.objects.values_list("state", flat=True)) == {"sent"}


def test_a_dead_mail_server_ends_the_run_and_changes_no_order(monkeypatch):
    opened = []
    server_that(monkeypatch, opening=ConnectionRefusedError())
    owed(), owed()
    before = list(Order.objects.values())
    monkeypatch.setattr("orders.mail._due_again", lambda mail, error: opened.append(mail))
    send_due_mails()
    assert len(opened) == 1
    assert list(Order.objects.values()) == before


def test_one_orders_mail_can_be_sent_alone_by_the_task_and_all_by_the_command(monkeypatch):
    server_that(monkeypatch)
    first, second = owed(), owed()
    send_mails(first.order_id)
    assert [message.subject for message in outbox.outbox] == [f"Your receipt for order {first.order.number}"]
    out = StringIO()
    call_command("send_mails", stdout=out)
    assert out.getvalue() == "1 sent.\n"
    second.refresh_from_db()
    assert second.state == "sent"


def test_a_mail_cannot_smuggle_a_header():
    mail = owed()
    Order.objects.update(email="ada@example.com\nBcc: eve@example.com")
    mail = Mail.objects.select_related("order").get(pk=mail.pk)
    with pytest.raises(ValueError, match="newlines"):
        message_of(mail).message()
