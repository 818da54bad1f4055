"""Mails that orders owe, each sent at most once (RULES R98).

A row is claimed by committing `sending` before the mail server hears of it. What the server refuses for certain is due
again later. What ends in doubt (the process died, the line broke after the text was sent) stays `sending`: it may have
arrived, so staff see it and nobody sends it again. What is no longer so when it comes to sending is not sent at all
(mail_truth.py). Each mail carries a link that opens its order on any device (mail_links.py).
"""

import datetime
import smtplib
import time
from email.utils import parseaddr

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F
from django.template.loader import render_to_string
from django.utils import timezone

from orders.attempts import GivenBack, refund_of, took_other_amount, was_found
from orders.mail_links import new_link
from orders.mail_truth import Say, what_to_say
from orders.models import Mail, Order

log = structlog.get_logger(__name__)

SUBJECTS = {
    Mail.Kind.RECEIPT: "Your receipt for order {number}",
    Mail.Kind.CANCELED: "Order {number} is canceled",
    Mail.Kind.REFUND: "Refund for order {number}",
    Mail.Kind.LATE_MONEY: "A late payment for order {number}",
    Mail.Kind.FINISH_PAYING: "You were not charged for order {number}",
}
# A run ends well within a task's time limit, also when the mail server is slow (EMAIL_TIMEOUT is 10 s a step).
RUN_SECONDS = 20
LONGEST_WAIT = datetime.timedelta(hours=6)
UNDECIDED_WAIT = datetime.timedelta(minutes=2)


def send_due_mails(order_id: str | None = None) -> int:
    """Send what is due, oldest first; with an order id only that order's. How many were sent.

    Safe to run twice at once. Stops when the mail server cannot be reached: the rest is no better off.
    """
    deadline = time.monotonic() + RUN_SECONDS
    sent = 0
    while time.monotonic() < deadline and (mail := _claim(order_id)):
        try:
            server = get_connection()
            server.open()
        except (OSError, smtplib.SMTPException) as error:
            _due_again(mail, error)  # not even connected: nothing was sent
            break
        sent += _send(mail, server)
    return sent


def _claim(order_id: str | None) -> Mail | None:
    """Take one due mail for this process; rows that others hold are skipped."""
    due = Mail.objects.select_for_update(skip_locked=True, of=("self",)).filter(
        state=Mail.State.DUE, due_at__lte=timezone.now()
    )
    with transaction.atomic(durable=True):
        mail = (due.filter(order=order_id) if order_id else due).select_related("order").order_by("due_at").first()
        if mail is not None:
            mail.state, mail.sending_at = Mail.State.SENDING, timezone.now()
            mail.save(update_fields=["state", "sending_at"])
    return mail


def _send(mail: Mail, server: BaseEmailBackend) -> bool:
    """Hand one claimed mail over. Whether the server took it."""
    if not _is_to_be_sent(mail):
        _hang_up(server)
        return False
    link, address = new_link(mail.order)
    try:
        message_of(mail, address, server).send()
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError, smtplib.SMTPResponseException) as error:
        _due_again(mail, error)  # the server answered, and the answer is no
        link.delete()  # nobody has its token
        return False
    except (OSError, smtplib.SMTPException) as error:
        log.error("mail_in_doubt", mail=mail.pk, order=mail.order_id, kind=mail.kind, error=type(error).__name__)
        return False
    finally:
        _hang_up(server)
    Mail.objects.filter(pk=mail.pk, state=Mail.State.SENDING).update(state=Mail.State.SENT, sent_at=timezone.now())
    log.info("mail_sent", mail=mail.pk, order=mail.order_id, kind=mail.kind)
    return True


def _is_to_be_sent(mail: Mail) -> bool:
    """Whether what it says is so; else it waits, or is dropped."""
    mail.order = Order.objects.get(pk=mail.order_id)
    say = what_to_say(mail)
    claimed = Mail.objects.filter(pk=mail.pk, state=Mail.State.SENDING)
    if say is Say.LATER:
        claimed.update(state=Mail.State.DUE, due_at=timezone.now() + UNDECIDED_WAIT)
    elif say is Say.NEVER:
        claimed.update(state=Mail.State.DROPPED)
        log.info("mail_dropped", mail=mail.pk, order=mail.order_id, kind=mail.kind)
    return say is Say.NOW


def _hang_up(server: BaseEmailBackend) -> None:
    try:
        server.close()
    except (OSError, smtplib.SMTPException) as error:
        log.info("mail_server_hung_up", error=type(error).__name__)


def _due_again(mail: Mail, error: Exception) -> None:
    """A definite refusal: due later, 1, 2, 4 ... minutes, at most LONGEST_WAIT."""
    wait = min(datetime.timedelta(minutes=2 ** min(mail.refusals, 10)), LONGEST_WAIT)
    Mail.objects.filter(pk=mail.pk, state=Mail.State.SENDING).update(
        state=Mail.State.DUE,
        due_at=timezone.now() + wait,
        refusals=F("refusals") + 1,
        last_refusal=_refusal_text(error),
    )
    log.warning("mail_refused", mail=mail.pk, order=mail.order_id, kind=mail.kind, error=type(error).__name__)


def _refusal_text(error: Exception) -> str:
    """For staff: the server's code, without the address that it may repeat."""
    code = getattr(error, "smtp_code", "")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = ",".join(str(answer[0]) for answer in error.recipients.values())
    return f"{type(error).__name__} {code}".strip()[:200]


def message_of(
    mail: Mail, link: str, server: BaseEmailBackend | None = None, refund: GivenBack | None = None
) -> EmailMultiAlternatives:
    """The mail as text and HTML. Amounts are ours, from the order and its payment; `link` opens the order.

    Args:
        refund: to speak of, for a preview of what the mail will say; the one that the mail is about unless given.
    """
    order = mail.order
    if refund is None and mail.subject:
        refund = refund_of(order, mail.subject)
    payment = refund.payment if refund else order.payments.order_by("-captured_minor", "-n").first()
    context = {
        "order": order,
        "lines": order.lines.all(),
        "payment": payment,
        "refund": refund,
        "other_amount": took_other_amount(order),
        "second_charge": bool(refund and payment and payment.captured_minor and not refund.is_of_credited_charge),
        "left_minor": payment.captured_minor - payment.refunded_minor if payment else 0,
        "found": mail.kind == Mail.Kind.RECEIPT and was_found(order),
        "held": order.status == Order.Status.PENDING and order.expires_at > timezone.now(),
        "link": link,
    }
    sender_domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    message = EmailMultiAlternatives(
        subject=SUBJECTS[Mail.Kind(mail.kind)].format(number=order.number),
        body=render_to_string(f"orders/mail/{mail.kind}.txt", context),
        to=[order.email],
        headers={"Message-ID": f"<{mail.kind}.{mail.pk}.{order.number}@{sender_domain}>"},
        connection=server,
    )
    message.attach_alternative(render_to_string(f"orders/mail/{mail.kind}.html", context), "text/html")
    return message
