"""Mails: one of a kind; due again after whatever is certain not to have gone out, and once more after a doubt.

What a real mail server's line does to them: test_mail_line.py."""

import datetime
import re
import smtplib
import socket
import threading
from io import StringIO

import pytest
import structlog
import time_machine
from celery.exceptions import SoftTimeLimitExceeded
from django.core import mail as outbox
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models.functions import Now
from django.template import TemplateSyntaxError
from django.template.loader import render_to_string
from django.utils import timezone

import orders.mail
from orders.ends import mark_paid, owe_finish_paying, owe_mail
from orders.mail import message_of, send_due_mails
from orders.mail_links import link_of
from orders.models import MAIL_DOUBT_LASTS, Mail, Order, OrderLink
from orders.tasks import send_mails
from payments.models import Payment, PaymentEvent, Refund
from shop.ids import new_id
from tests.orders.making import make_attempt, make_order, make_product, minutes_ago
from tests.payments.planting import refund_row
from tests.services import services

pytestmark = pytest.mark.django_db(transaction=True)


def owed(kind: Mail.Kind = Mail.Kind.RECEIPT, status: str = "paid") -> Mail:
    order = make_order(status=status, paid_at=timezone.now() if status == "paid" else None)
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
    for said in (order.number, "£48.00", "Visa ending in 4242", "/orders/link/", "Ada Lovelace"):
        assert said in sent.body and said in html, said
    assert "2 x Lamp & <Shade>: £48.00" in sent.body
    assert "Lamp &amp; &lt;Shade&gt;" in html
    row = Mail.objects.get()
    assert (row.state, row.refusals) == ("sent", 0)
    assert row.sending_at and row.sent_at and row.sent_at >= row.sending_at


@pytest.mark.parametrize("kind", Mail.Kind.values)
def test_every_kind_has_its_texts_with_the_reference_in_the_subject(kind):
    order = make_order()
    make_attempt(order, "succeeded")
    Payment.objects.update(**CHARGED)
    subject = given_back(order, 100).pk if kind == Mail.Kind.REFUND else ""
    mail = Mail.objects.create(order=order, kind=kind, subject=subject, due_at=timezone.now())
    message = message_of(mail, "https://shop.example/orders/link/T/")
    html = str(message.alternatives[0][0])
    assert order.number in message.subject
    for text in (message.body, html):
        assert order.number in text and "https://shop.example/orders/link/T/" in text
        assert "{{" not in text and "{%" not in text and "None" not in text
    assert "http" not in html.replace("https://shop.example/orders/link/T/", "")  # no picture, nothing that tracks


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


# --- What never left --------------------------------------------------------------------------------------------------


def breaks(monkeypatch, where: str, error: Exception) -> None:
    """This step of sending fails so."""

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(where, fail)


STEPS = {
    "asking whether it is so": "orders.mail.what_to_say",
    "making the link": "orders.mail.new_link",
    "writing the text": "orders.mail.render_to_string",
    "choosing the server": "orders.mail.get_connection",
    "building the message": "django.core.mail.EmailMultiAlternatives.message",
}
NEVER_LEFT = [
    TemplateSyntaxError("Invalid block tag"),
    OperationalError("the connection is lost"),
    SoftTimeLimitExceeded(),
    UnicodeEncodeError("ascii", "ad\xe4@example.com", 2, 3, "no"),
    ValueError("Header values can't contain newlines (got 'ada@example.com')"),
    KeyError("gift"),
]


@pytest.mark.parametrize("error", NEVER_LEFT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", STEPS)
def test_whatever_fails_before_the_text_is_handed_over_is_due_again_with_its_reason(step, error, monkeypatch):
    owed()
    with monkeypatch.context() as broken:
        breaks(broken, STEPS[step], error)
        assert send_due_mails() == 0
    row = Mail.objects.get()
    assert (row.state, row.refusals, row.doubts, row.sending_at) == ("due", 1, 0, None)
    assert row.last_refusal == type(error).__name__
    assert 50 < (row.due_at - timezone.now()).total_seconds() <= 60
    assert (send_due_mails(), len(outbox.outbox)) == (0, 0)  # and does not spin
    assert not OrderLink.objects.exists()  # nobody has its token
    Mail.objects.update(due_at=minutes_ago(0))
    assert (send_due_mails(), len(outbox.outbox)) == (1, 1)


def test_a_mail_that_cannot_be_written_does_not_stop_the_others(monkeypatch):
    broken = owed()
    for _ in range(3):
        owed()
    Mail.objects.filter(pk=broken.pk).update(due_at=minutes_ago(60))  # first in the queue
    whole = render_to_string

    def render(name, context):
        if context["order"].pk == broken.order_id:
            raise TemplateSyntaxError("Invalid block tag")
        return whole(name, context)

    monkeypatch.setattr("orders.mail.render_to_string", render)
    assert send_due_mails() == 3
    assert {mail.state for mail in Mail.objects.exclude(pk=broken.pk)} == {"sent"}
    assert Mail.objects.get(pk=broken.pk).state == "due"


def test_a_database_connection_that_dies_under_a_mail_leaves_it_due(monkeypatch):
    """The very connection on which it is written down that the mail did not go out."""

    def new_link_on_a_dead_line(order):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    owed()
    with monkeypatch.context() as broken:
        broken.setattr("orders.mail.new_link", new_link_on_a_dead_line)
        assert send_due_mails() == 0
    row = Mail.objects.get()
    assert (row.state, row.refusals, row.last_refusal) == ("due", 1, "OperationalError")


def test_a_mail_without_an_address_was_not_sent():
    """Of an order whose shopper was erased."""
    owed()
    Order.objects.update(email="")
    assert (send_due_mails(), len(outbox.outbox)) == (0, 0)
    assert (Mail.objects.get().state, Mail.objects.get().last_refusal) == ("due", "NotTaken")


def test_why_a_mail_was_not_written_is_logged_without_the_shoppers_address(monkeypatch, caplog):
    owed()
    breaks(monkeypatch, "orders.mail.render_to_string", ValueError("got 'ada@example.com'"))
    with structlog.testing.capture_logs() as logged:
        send_due_mails()
    (mistake,) = [line for line in logged if line["event"] == "mail_not_written"]
    assert mistake["log_level"] == "error" and mistake["error"] == "ValueError"
    assert "test_mail.py:" in mistake["at"] and "ada@" not in str(logged)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        ({"sending": smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"unknown")})}, 10),
        ({"sending": smtplib.SMTPDataError(554, b"spam")}, 10),
        ({"sending": smtplib.SMTPRecipientsRefused({"ada@example.com": (450, b"later")})}, 20),
        ({"sending": smtplib.SMTPSenderRefused(550, b"not you", "x")}, 20),
        ({"opening": ConnectionRefusedError()}, None),
        ({"opening": smtplib.SMTPAuthenticationError(535, b"no")}, None),
    ],
)
def test_what_is_refused_again_and_again_is_left_to_staff_with_its_reason(failure, tries, monkeypatch):
    """A server that is not there is no mail's fault: then it is tried for ever."""
    server_that(monkeypatch, **failure)
    owed()
    for _ in range(tries - 1 if tries else 30):
        send_due_mails()
        assert Mail.objects.get().state == "due"
        Mail.objects.update(due_at=minutes_ago(0))
    if tries is None:
        return
    send_due_mails()
    row = Mail.objects.get()
    assert (row.state, row.refusals, row.sending_at) == ("stuck", tries, None)
    assert row.last_refusal and "ada@" not in row.last_refusal
    server_that(monkeypatch)
    Mail.objects.update(due_at=minutes_ago(60))
    assert (send_due_mails(), len(outbox.outbox)) == (0, 0)


# --- What may have left -----------------------------------------------------------------------------------------------

DOUBTS = [TimeoutError(), ConnectionResetError(), smtplib.SMTPServerDisconnected("gone"), SoftTimeLimitExceeded()]


def let_the_doubt_end(minutes: int = 31) -> None:
    Mail.objects.filter(state="sending").update(sending_at=minutes_ago(minutes))


@pytest.mark.parametrize("doubt", DOUBTS, ids=lambda error: type(error).__name__)
def test_what_ends_in_doubt_is_sent_once_more_after_half_an_hour_and_not_before(doubt, monkeypatch):
    server_that(monkeypatch, sending=doubt)
    owed()
    assert send_due_mails() == 0
    server_that(monkeypatch)
    for minutes in (0, 29):
        let_the_doubt_end(minutes)
        assert send_due_mails() == 0
    assert (Mail.objects.get().state, len(outbox.outbox)) == ("sending", 0)
    let_the_doubt_end()
    assert (send_due_mails(), len(outbox.outbox)) == (1, 1)
    row = Mail.objects.get()
    assert (row.state, row.doubts, row.refusals) == ("sent", 1, 0)
    let_the_doubt_end()
    assert send_due_mails() == 0


def test_a_copy_has_the_same_message_id_and_both_links_work(monkeypatch):
    mail = owed()
    messages = []

    def taken_and_then_gone(self, sent):
        messages.extend(sent)
        raise TimeoutError

    with monkeypatch.context() as hung:
        hung.setattr(EmailBackend, "send_messages", taken_and_then_gone)
        send_due_mails()
    let_the_doubt_end()
    assert send_due_mails() == 1
    messages.extend(outbox.outbox)
    assert len({message.message()["Message-ID"] for message in messages}) == 1
    tokens = [re.findall(r"/orders/link/([A-Za-z0-9_-]+)/", message.body)[0] for message in messages]
    links = [link_of(token) for token in tokens]
    assert len({link and link.pk for link in links}) == 2
    assert [link and link.order_id for link in links] == [mail.order_id] * 2


def test_in_doubt_three_times_it_is_left_to_staff(monkeypatch):
    owed()
    server_that(monkeypatch, sending=TimeoutError())
    for doubts in (0, 1, 2):
        assert send_due_mails() == 0
        assert (Mail.objects.get().state, Mail.objects.get().doubts) == ("sending", doubts)
        let_the_doubt_end()
    server_that(monkeypatch)
    assert (send_due_mails(), len(outbox.outbox)) == (0, 0)
    row = Mail.objects.get()
    assert (row.state, row.doubts) == ("stuck", 3)
    assert row.sending_at is not None  # it may have gone out


def test_a_mail_in_doubt_that_is_no_longer_so_is_dropped_and_not_sent_once_more(monkeypatch):
    order = make_order()
    make_attempt(order, "declined")
    owe_mail(order, Mail.Kind.FINISH_PAYING, minutes_ago(5))
    server_that(monkeypatch, sending=TimeoutError())
    send_due_mails()
    Order.objects.update(status="paid", paid_at=timezone.now())
    server_that(monkeypatch)
    let_the_doubt_end()
    assert (send_due_mails(), Mail.objects.get().state) == (0, "dropped")


def test_a_sender_that_wakes_up_late_does_not_take_the_mail_from_the_next_one(monkeypatch):
    """It was paused past the doubt; another has claimed the mail. Its refusal is no news of that one's sending."""
    owed()

    class Late(EmailBackend):
        text_has_begun = False

        def send_messages(self, messages):
            let_the_doubt_end()
            assert orders.mail._claim(None) is not None
            raise ConnectionResetError

    monkeypatch.setattr("orders.mail.get_connection", lambda: Late())
    assert send_due_mails() == 0
    row = Mail.objects.get()
    assert (row.state, row.doubts, row.refusals) == ("sending", 1, 0)


def test_a_mail_that_went_out_and_could_not_be_written_down_is_in_doubt(monkeypatch):
    owed()

    class Last(EmailBackend):
        def send_messages(self, messages):
            taken = EmailBackend.send_messages(self, messages)
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]
            services().postgres.kill()
            return taken

    monkeypatch.setattr("orders.mail.get_connection", lambda: Last())
    try:
        with pytest.raises(OperationalError):
            send_due_mails()
    finally:
        services().postgres.restart()
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]
    assert (Mail.objects.get().state, len(outbox.outbox)) == ("sending", 1)


def test_a_process_killed_while_sending_leaves_the_mail_in_doubt(monkeypatch):
    class Killed(BaseException):
        pass

    server_that(monkeypatch, sending=Killed())
    owed()
    with pytest.raises(Killed):
        send_due_mails()
    server_that(monkeypatch)
    assert send_due_mails() == 0
    assert Mail.objects.get().state == "sending"


def test_a_mail_server_that_breaks_as_it_is_hung_up_on_has_the_mail(monkeypatch):
    owed()
    monkeypatch.setattr(EmailBackend, "close", lambda self: breaks_off())

    def breaks_off():
        raise RuntimeError("what close() may raise")

    assert (send_due_mails(), Mail.objects.get().state) == (1, "sent")


# --- Whose clock ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_app_clock_an_hour_off_owes_and_sends_a_mail_at_once(hours):
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=hours)):
        owed()
        assert send_due_mails() == 1
    row = Mail.objects.get()
    assert row.sent_at and abs((row.sent_at - timezone.now()).total_seconds()) < 60
    assert row.sending_at and abs((row.sending_at - timezone.now()).total_seconds()) < 60


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("failure", [{"opening": ConnectionRefusedError()}, {"sending": TimeoutError()}])
def test_an_app_clock_an_hour_off_neither_sends_a_mail_again_at_once_nor_an_hour_late(hours, failure, monkeypatch):
    owed()
    server_that(monkeypatch, **failure)
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=hours)):
        assert send_due_mails() == 0
        server_that(monkeypatch)
        assert send_due_mails() == 0
        Mail.objects.filter(state="due").update(due_at=Now())
        Mail.objects.filter(state="sending").update(sending_at=Now() - MAIL_DOUBT_LASTS)
        assert send_due_mails() == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wait_is_as_long_by_any_app_clock(hours):
    order = make_order()
    make_attempt(order, "unknown")
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=hours)), transaction.atomic():
        owe_finish_paying(order, timezone.now())
    wait = (Mail.objects.get().due_at - timezone.now()).total_seconds()
    assert 100 < wait <= 120
    Mail.objects.update(due_at=minutes_ago(0))
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=hours)):
        assert send_due_mails() == 0  # a press is being decided
    wait = (Mail.objects.get().due_at - timezone.now()).total_seconds()
    assert 100 < wait <= 120


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
    monkeypatch.setattr("orders.mail._due_again", lambda mail, error, **_: opened.append(mail))
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


# --- Only what is so -------------------------------------------------------------------------------------------------

CHARGED = {"phase": "succeeded", "captured_minor": 1250}


def sent_as(kind: Mail.Kind, order: Order, subject: str = "") -> str:
    """What has become of an order's mail when its time has come."""
    owe_mail(order, kind, timezone.now(), subject)
    send_due_mails()
    return Mail.objects.get(order=order, kind=kind, subject=subject).state


def text() -> str:
    (message,) = outbox.outbox
    assert isinstance(message, outbox.EmailMultiAlternatives)
    html = re.sub(r"<[^>]+>", " ", str(message.alternatives[0][0]))
    return " ".join(f"{message.subject} {message.body} {html}".split())


@pytest.mark.parametrize("kind", [Mail.Kind.FINISH_PAYING, Mail.Kind.CANCELED])
def test_not_charged_is_not_said_of_an_order_that_was_paid_meanwhile(kind):
    order = make_order()
    make_attempt(order, "unknown")
    Order.objects.update(status="paid", paid_at=timezone.now())
    assert sent_as(kind, order) == "dropped"
    assert not outbox.outbox
    assert send_due_mails() == 0 and Mail.objects.get().state == "dropped"


@pytest.mark.parametrize("status", ["canceled", "expired"])
@pytest.mark.parametrize("kind", [Mail.Kind.FINISH_PAYING, Mail.Kind.CANCELED])
def test_not_charged_is_not_said_where_money_came_late(kind, status):
    order = make_order(status=status)
    make_attempt(order, "canceled")
    Payment.objects.update(**CHARGED)
    assert sent_as(kind, order) == "dropped"
    assert not outbox.outbox


@pytest.mark.parametrize("outcome", ["", "unknown", "processing", "requires_action"])
@pytest.mark.parametrize(("kind", "status"), [(Mail.Kind.FINISH_PAYING, "pending"), (Mail.Kind.CANCELED, "canceled")])
def test_not_charged_waits_while_a_press_is_being_decided(kind, status, outcome):
    order = make_order(status=status)
    make_attempt(order, "declined")
    make_attempt(order, outcome)
    assert sent_as(kind, order) == "due"
    mail = Mail.objects.get()
    assert 100 < (mail.due_at - timezone.now()).total_seconds() <= 120
    assert (mail.refusals, len(outbox.outbox)) == (0, 0)
    order.attempts.filter(number=2).update(outcome="declined", phase="finished")
    Mail.objects.update(due_at=minutes_ago(0))
    assert send_due_mails() == 1


def test_not_charged_waits_while_the_order_is_being_given_up():
    order = make_order(closing_since=timezone.now(), closing_reason="cancel")
    assert sent_as(Mail.Kind.FINISH_PAYING, order) == "due"


def test_finish_paying_says_not_charged_and_until_when_it_can_be_paid():
    order = make_order()
    make_attempt(order, "declined")
    assert sent_as(Mail.Kind.FINISH_PAYING, order) == "sent"
    assert f"You were not charged for order {order.number}" in text()
    assert text().count("was not completed. You were not charged.") == 2
    assert f"We hold the goods for you until {order.expires_at:%-d %B, %H:%M} UTC." in text()
    assert "Finish paying" in text() and "/orders/link/" in text()


@pytest.mark.parametrize("fields", [{"status": "expired"}, {"expires_at": minutes_ago(1)}])
def test_finish_paying_promises_no_goods_that_are_not_held(fields):
    order = make_order(**fields)
    make_attempt(order, "declined")
    assert sent_as(Mail.Kind.FINISH_PAYING, order) == "sent"
    assert "You were not charged." in text() and "We could not hold the goods any longer." in text()
    assert "Finish paying" not in text() and "until" not in text()


def test_a_canceled_order_gets_one_mail_not_two():
    order = make_order(status="canceled")
    make_attempt(order, "canceled")
    assert sent_as(Mail.Kind.FINISH_PAYING, order) == "dropped"
    assert sent_as(Mail.Kind.CANCELED, order) == "sent"
    assert "You were not charged for it." in text()


@pytest.mark.parametrize("status", ["pending", "canceled", "expired"])
def test_a_receipt_is_for_paid_orders(status):
    assert sent_as(Mail.Kind.RECEIPT, make_order(status=status)) == "dropped"


@pytest.mark.parametrize("before", ["unknown", "processing", "open", "closing"])
def test_the_receipt_of_a_payment_that_was_not_known_says_that_it_was_found(before):
    order = paid_order()
    story(order, before, "succeeded")
    assert sent_as(Mail.Kind.RECEIPT, order) == "sent"
    assert text().count("We found your payment.") == 2 and "It is paid, once." in text()


@pytest.mark.parametrize("before", ["confirming", "requires_action"])
def test_the_receipt_of_a_usual_payment_does_not(before):
    order = paid_order()
    story(order, "unknown", "requires_action")
    story(order, before, "succeeded")
    assert sent_as(Mail.Kind.RECEIPT, order) == "sent"
    assert "found" not in text()


def paid_order(**payment) -> Order:
    order = make_order()
    make_attempt(order, "succeeded")
    Payment.objects.filter(order=order).update(**CHARGED | {"card_brand": "visa", "card_last4": "4242"} | payment)
    Order.objects.filter(pk=order.pk).update(status="paid", paid_at=timezone.now())
    return order


def story(order: Order, before: str, after: str) -> None:
    PaymentEvent.objects.create(order=order, kind="settled", from_state=before, to_state=after, asked_by="completer")


def given_back(order: Order, amount: int, outcome: str = "succeeded") -> Refund:
    """A refund of the order, and the payment's sum as settling leaves it."""
    payment = order.payments.get()
    phase = "finished" if outcome in ("succeeded", "failed") else "confirming"
    made = refund_row(
        payment=payment,
        idempotency_key=new_id(),
        fingerprint="x",
        amount_minor=amount,
        currency=payment.currency,
        reason="requested_by_customer",
        phase=phase,
        outcome=outcome,
    )
    if outcome == "succeeded":
        Payment.objects.filter(pk=payment.pk).update(refunded_minor=payment.refunded_minor + amount)
    return made


@pytest.mark.parametrize(
    ("parts", "said", "so_far", "left"),
    [([500], "£5.00", "£5.00", "£7.50"), ([1250], "£12.50", "£12.50", "£0.00"), ([300, 1], "£0.01", "£3.01", "£9.49")],
)
def test_a_refund_mail_says_how_much_now_how_much_so_far_and_what_is_left(parts, said, so_far, left):
    order = paid_order()
    refunds = [given_back(order, part) for part in parts]
    assert sent_as(Mail.Kind.REFUND, order, subject=refunds[-1].pk) == "sent"
    assert text().count(f"we have sent {said} back for your order {order.number}") == 2
    assert text().count(f"Refunded so far: {so_far} Left of what you paid: {left}") == 2
    assert "Paid: £12.50" in text() and "Visa ending in 4242" in text()
    assert f"Refund for order {order.number}" in text()


def test_each_refund_is_told_of_once():
    order = paid_order()
    first, second = given_back(order, 500), given_back(order, 250)
    for refund in (first, second, first, second):
        assert sent_as(Mail.Kind.REFUND, order, subject=refund.pk) == "sent"
    assert len(outbox.outbox) == 2
    assert ["sent £5.00 back" in message.body for message in outbox.outbox] == [True, False]
    ids = [message.extra_headers["Message-ID"] for message in outbox.outbox]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("outcome", ["failed", "pending", "unknown"])
def test_a_refund_that_has_not_succeeded_or_failed_after_all_is_not_told_of(outcome):
    order = paid_order()
    given_back(order, 500)
    refund = given_back(order, 300, outcome)
    assert sent_as(Mail.Kind.REFUND, order, subject=refund.pk) == "dropped"
    assert sent_as(Mail.Kind.REFUND, order) == "dropped"  # of no refund at all
    other = paid_order()
    assert sent_as(Mail.Kind.REFUND, other, subject=Refund.objects.earliest("created_at").pk) == "dropped"
    assert not outbox.outbox


@pytest.mark.parametrize(
    ("status", "refunded", "says"),
    [
        ("paid", 0, "so your order goes ahead: it is paid, once"),
        ("expired", 0, "so we send the money back"),
        ("canceled", 1250, "so we have sent the money back"),
    ],
)
def test_a_late_payment_says_what_becomes_of_it(status, refunded, says):
    order = paid_order(refunded_minor=refunded)
    Order.objects.update(status=status)
    assert sent_as(Mail.Kind.LATE_MONEY, order) == "sent"
    assert text().count(says) == 2 and "£12.50" in text()


def test_truth_is_asked_when_the_server_is_there_and_not_before(monkeypatch):
    """The connection may take its time, and the order goes on meanwhile."""
    order = make_order()
    make_attempt(order, "declined")
    owe_mail(order, Mail.Kind.FINISH_PAYING, timezone.now())

    class SlowServer(EmailBackend):
        def open(self):
            Order.objects.update(status="paid", paid_at=timezone.now())

    monkeypatch.setattr("orders.mail.get_connection", lambda: SlowServer())
    assert send_due_mails() == 0
    assert Mail.objects.get().state == "dropped" and not outbox.outbox


def test_a_mail_cannot_smuggle_a_header():
    mail = owed()
    Order.objects.update(email="ada@example.com\nBcc: eve@example.com")
    mail = Mail.objects.select_related("order").get(pk=mail.pk)
    with pytest.raises(ValueError, match="newlines"):
        message_of(mail, "https://shop.example/").message()


# --- The rows of before -----------------------------------------------------------------------------------------------


def test_mails_left_in_doubt_under_the_old_promise_go_to_staff_and_are_not_sent_now():
    ours = ("orders", "0012_a_mail_in_doubt_is_sent_once_more")
    (before,) = MigrationLoader(connection).get_migration(*ours).dependencies
    old, running, due = owed(), owed(), owed()
    Mail.objects.filter(pk=old.pk).update(state="sending", sending_at=minutes_ago(90))
    Mail.objects.filter(pk=running.pk).update(state="sending", sending_at=minutes_ago(1))
    try:
        call_command("migrate", *before, verbosity=0)
    finally:
        call_command("migrate", "orders", verbosity=0)
    assert states() == {old.pk: ("stuck", 1), running.pk: ("sending", 0), due.pk: ("due", 0)}
    refused = owed()
    Mail.objects.filter(pk=refused.pk).update(state="stuck")
    try:
        call_command("migrate", *before, verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, state FROM orders_mail")
            known = {"due", "sending", "sent", "dropped"}
            told = dict(cursor.fetchall())
        assert set(told.values()) <= known and told[old.pk] == "sending" and told[refused.pk] == "due"
    finally:
        call_command("migrate", "orders", verbosity=0)


def states() -> dict[int, tuple[str, int]]:
    return {pk: (state, doubts) for pk, state, doubts in Mail.objects.values_list("pk", "state", "doubts")}
