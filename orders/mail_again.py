"""Send a mail again, because a person wants it: the one way out of `sending` after a crash (RULES R98).

It only becomes due again, under its own row: what it says is still asked of the rows before it goes (mail_truth.py).
"""

import datetime

from django.db import transaction
from django.utils import timezone

from orders.models import Mail
from shop.acts import Act, Snapshot, witnessed

# A mail server has answered by then, or its process is dead (EMAIL_TIMEOUT is 10 s a step).
SENDS_WITHIN = datetime.timedelta(minutes=2)
ONCE_MORE_AFTER = datetime.timedelta(minutes=2)


def is_being_sent(mail: Mail) -> bool:
    if mail.state != Mail.State.SENDING or mail.sending_at is None:
        return False
    return mail.sending_at > timezone.now() - SENDS_WITHIN


def went_out_just_now(mail: Mail) -> bool:
    """Whoever presses again so soon presses twice, or has gone Back, and does not want a second mail."""
    return mail.sent_at is not None and mail.sent_at > timezone.now() - ONCE_MORE_AFTER


def make_due_again(mail_id: int, act: Act) -> bool:
    """sent (not just now), dropped, or left in sending -> due now. Whether it was one of these.

    Raises:
        DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        mail = Mail.objects.select_for_update(no_key=True, of=("self",)).get(pk=mail_id)
        with witnessed(act):
            if mail.state == Mail.State.DUE or is_being_sent(mail) or went_out_just_now(mail):
                return False
            mail.state, mail.due_at, mail.sending_at = Mail.State.DUE, timezone.now(), None
            mail.save(update_fields=["state", "due_at", "sending_at"])
    return True


def mail_snapshot(mail_id: int) -> Snapshot:
    """What an act on a mail is about, for its audit row and its form's version."""
    mail = Mail.objects.get(pk=mail_id)
    return {"mail": mail.kind, "state": mail.state, "sent_at": mail.sent_at.isoformat() if mail.sent_at else ""}
