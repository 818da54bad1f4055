"""What a person decides about a mail: it is sent again now, or it went out and is left (RULES R98).

One that is in doubt is sent once more by itself after a while, and one that is stuck by nobody: for both, a person may
know better. A mail sent again only becomes due again, under its own row: what it says is still asked of the rows before
it goes (mail_truth.py). The database's clock says what is long ago.
"""

import datetime

from django.db import transaction

from orders.models import Mail
from shop.acts import Act, Snapshot, witnessed
from shop.database_clock import database_now

# A mail server has answered by then, or its process is dead (EMAIL_TIMEOUT is 10 s a step).
SENDS_WITHIN = datetime.timedelta(minutes=2)
ONCE_MORE_AFTER = datetime.timedelta(minutes=2)


def is_being_sent(mail: Mail) -> bool:
    if mail.state != Mail.State.SENDING or mail.sending_at is None:
        return False
    return mail.sending_at > database_now() - SENDS_WITHIN


def is_about_to_be_sent(mail: Mail) -> bool:
    """Due, and not waiting after a refusal: then a person may have put right what was in its way."""
    return mail.state == Mail.State.DUE and (mail.refusals == 0 or mail.due_at <= database_now())


def went_out_just_now(mail: Mail) -> bool:
    """Whoever presses again so soon presses twice, or has gone Back, and does not want a second mail."""
    return mail.sent_at is not None and mail.sent_at > database_now() - ONCE_MORE_AFTER


def is_open(mail: Mail) -> bool:
    """In doubt or stuck: whether it went out is for a person to say."""
    return mail.state == Mail.State.STUCK or (mail.state == Mail.State.SENDING and not is_being_sent(mail))


def make_due_again(mail_id: int, act: Act) -> bool:
    """sent (not just now), dropped, stuck, in doubt, or waiting after a refusal -> due now, with no failure counted.
    Whether it was one of these.

    Raises:
        DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        mail = _locked(mail_id)
        with witnessed(act):
            if is_about_to_be_sent(mail) or is_being_sent(mail) or went_out_just_now(mail):
                return False
            mail.state, mail.due_at, mail.sending_at = Mail.State.DUE, database_now(), None
            mail.refusals = mail.doubts = 0
            mail.save(update_fields=["state", "due_at", "sending_at", "refusals", "doubts"])
    return True


def leave_as_sent(mail_id: int, act: Act) -> bool:
    """In doubt or stuck -> sent, because a person says so. Whether it was one of these.

    It went out by the sending that was in doubt; where there is none, nobody knows when.

    Raises:
        DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        mail = _locked(mail_id)
        with witnessed(act):
            if not is_open(mail):
                return False
            mail.state, mail.sent_at = Mail.State.SENT, mail.sending_at or mail.sent_at
            mail.save(update_fields=["state", "sent_at"])
    return True


def _locked(mail_id: int) -> Mail:
    return Mail.objects.select_for_update(no_key=True, of=("self",)).get(pk=mail_id)


def mail_snapshot(mail_id: int) -> Snapshot:
    """What an act on a mail is about, for its audit row and its form's version."""
    mail = Mail.objects.get(pk=mail_id)
    return {"mail": mail.kind, "state": mail.state, "sent_at": mail.sent_at.isoformat() if mail.sent_at else ""}
