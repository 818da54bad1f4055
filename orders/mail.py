"""Mails that orders owe: each is sent once, and one in doubt once more (RULES R98).

A row is claimed by committing `sending` before anything else is done. What fails before the text of the mail has left
us, and what the mail server refuses, has certainly not gone out: it is due again later, and `stuck` after enough noes.
What ends in doubt (the process died, the line broke under the text) stays `sending` for MAIL_DOUBT_LASTS and is then
sent once more, under the same Message-ID: a receipt twice hurts nobody, and none does. In doubt too often, it is stuck
too. Staff see what is stuck, and decide (mail_again.py).

What is no longer so when it comes to sending is not sent at all (mail_truth.py). Each copy of a mail carries a link of
its own that opens its order on any device (mail_links.py): whichever copy arrives, its link works.
"""

import datetime
import smtplib
import time
import traceback
from email.utils import parseaddr

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.utils import timezone

from orders.attempts import GivenBack, refund_of, took_other_amount, was_found
from orders.mail_links import new_link
from orders.mail_truth import Say, what_to_say
from orders.models import Mail, MailQuerySet, Order
from shop.database_clock import database_now

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
# Of one mail. A final no (such as "no such mailbox") ten times in eight and a half hours: long enough to put a setting
# right. Any other failure twenty times in three days. A mail server that is not there is no mail's fault: for ever.
FINAL_NOES_AT_MOST = 10
FAILURES_AT_MOST = 20
# Sendings of one mail that may have gone out: else a server that always hangs up late would get copy after copy.
IN_DOUBT_AT_MOST = 3

_SAID_NO = (smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError, smtplib.SMTPResponseException)


class InDoubt(Exception):
    """The text has begun to leave, and the server has not said whether it has it."""


class NotTaken(Exception):
    """The backend took no mail, and gave no reason: there is no address to send it to."""


def send_due_mails(order_id: str | None = None) -> int:
    """Send what is due, oldest first; with an order id only that order's. How many were sent.

    Safe to run twice at once. A mail that cannot be sent waits, and the next one is sent. Stops when the mail server
    cannot be reached: the rest is no better off.
    """
    deadline = time.monotonic() + RUN_SECONDS
    _leave_to_staff()
    sent = 0
    while time.monotonic() < deadline and (mail := _claim(order_id)):
        try:
            server = get_connection()
            server.open()
        except Exception as error:  # noqa: BLE001 - not even connected: nothing was sent
            _due_again(mail, error)
            break
        sent += _send(mail, server)
    return sent


def _leave_to_staff() -> None:
    """What has been in doubt too often is sent no more."""
    ours = {"state": Mail.State.STUCK, "due_at": Now(), "doubts": F("doubts") + 1}
    count = Mail.objects.doubt_over().filter(doubts__gte=IN_DOUBT_AT_MOST - 1).update(**ours)
    if count:
        log.error("mail_stuck", mails=count, reason="in doubt")


def _claim(order_id: str | None) -> Mail | None:
    """Take one mail for this process, in doubt for long or due; rows that others hold are skipped.

    `sending_at` is the claim's token as well: a sender that wakes up late finds another one, and writes nothing.
    """
    with transaction.atomic(durable=True):
        mail = _first(Mail.objects.doubt_over().order_by("sending_at"), order_id)
        if mail is not None:
            mail.doubts += 1
        else:
            mail = _first(Mail.objects.due().order_by("due_at"), order_id)
        if mail is not None:
            mail.state, mail.sending_at = Mail.State.SENDING, database_now()
            mail.save(update_fields=["state", "sending_at", "doubts"])
    return mail


def _first(mails: MailQuerySet, order_id: str | None) -> Mail | None:
    mails = mails.select_for_update(skip_locked=True, no_key=True, of=("self",)).select_related("order")
    return (mails.filter(order=order_id) if order_id else mails).first()


def _send(mail: Mail, server: BaseEmailBackend) -> bool:
    """Hand one claimed mail over, if what it says is so. Whether the server took it."""
    link = None
    try:
        if not _is_to_be_sent(mail):
            return False
        link, address = new_link(mail.order)
        _hand_over(message_of(mail, address, server), server)
        _sent(mail)
    except InDoubt as doubt:
        _keep_in_doubt(mail, doubt)
        return False
    except Exception as error:  # noqa: BLE001 - whatever it was, the server does not have the mail
        _due_again(mail, error, about_it=True)
        if link is not None:
            link.delete()  # nobody has its token
        return False
    finally:
        _hang_up(server)
    return True


def _hand_over(message: EmailMultiAlternatives, server: BaseEmailBackend) -> None:
    """Raises:
    InDoubt: the server may have the text. Whatever else is raised: it does not.
    """
    message.message()  # what cannot be put on the line fails here, whatever the backend
    try:
        taken = message.send()
    except _SAID_NO:
        raise
    except Exception as error:
        if getattr(server, "text_has_begun", True):  # shop/smtp.py; a backend that cannot tell may have begun
            raise InDoubt from error
        raise
    if not taken:
        raise NotTaken


def _sent(mail: Mail) -> None:
    """By whichever sender: what the server has taken went out.

    Raises:
        InDoubt: it went out, and that could not be written down.
    """
    try:
        Mail.objects.filter(pk=mail.pk, state=Mail.State.SENDING).update(state=Mail.State.SENT, sent_at=Now())
    except Exception as error:
        raise InDoubt from error
    log.info("mail_sent", mail=mail.pk, order=mail.order_id, kind=mail.kind)


def _is_to_be_sent(mail: Mail) -> bool:
    """Whether what it says is so; else it waits, or is dropped."""
    mail.order = Order.objects.get(pk=mail.order_id)
    say = what_to_say(mail)
    if say is Say.LATER:
        _claimed(mail).update(state=Mail.State.DUE, due_at=Now() + UNDECIDED_WAIT)
    elif say is Say.NEVER:
        _claimed(mail).update(state=Mail.State.DROPPED)
        log.info("mail_dropped", mail=mail.pk, order=mail.order_id, kind=mail.kind)
    return say is Say.NOW


def _claimed(mail: Mail) -> MailQuerySet:
    """Its row, as long as the claim is ours."""
    return Mail.objects.filter(pk=mail.pk, state=Mail.State.SENDING, sending_at=mail.sending_at)


def _hang_up(server: BaseEmailBackend) -> None:
    try:
        server.close()
    except Exception as error:  # noqa: BLE001 - the mail's own fate is decided
        log.info("mail_server_hung_up", error=type(error).__name__)


def _keep_in_doubt(mail: Mail, doubt: InDoubt) -> None:
    cause = doubt.__cause__ or doubt
    log.error("mail_in_doubt", mail=mail.pk, order=mail.order_id, kind=mail.kind, error=type(cause).__name__)
    _claimed(mail).update(last_refusal=_refusal_text(cause))


def _due_again(mail: Mail, error: Exception, *, about_it: bool = False) -> None:
    """It did not go out: due later, 1, 2, 4 ... minutes, at most LONGEST_WAIT; or stuck, after too many failures that
    were about the mail and not about the server."""
    connection.close_if_unusable_or_obsolete()  # it may be what failed
    refusals = mail.refusals + 1
    stuck = about_it and refusals >= (FINAL_NOES_AT_MOST if _is_final(error) else FAILURES_AT_MOST)
    wait = min(datetime.timedelta(minutes=2 ** min(mail.refusals, 10)), LONGEST_WAIT)
    _claimed(mail).update(
        state=Mail.State.STUCK if stuck else Mail.State.DUE,
        due_at=Now() if stuck else Now() + wait,
        sending_at=None,
        refusals=refusals,
        last_refusal=_refusal_text(error),
    )
    about = {"mail": mail.pk, "order": mail.order_id, "kind": mail.kind, "error": type(error).__name__}
    if not isinstance(error, OSError | smtplib.SMTPException | NotTaken):
        log.error("mail_not_written", at=_place_of(error), **about)  # a mistake of ours
    if stuck:
        log.error("mail_stuck", reason="refused", **about)
    else:
        log.warning("mail_refused", **about)


def _is_final(error: Exception) -> bool:
    """The server will never take this mail for this address. What it says about the sender is about all mails."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500


def _place_of(error: Exception) -> str:
    """The line that raised it. Not what it says: that may repeat the shopper's address."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _refusal_text(error: BaseException) -> str:
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
