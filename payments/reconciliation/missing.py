"""Missing: end a payment that Stripe does not know, where its money is in doubt. For staff, who have looked elsewhere.

Another account or mode of the key, an emptied sandbox, or rows that were lost (seek.py). What nobody may have been
charged for ends by itself (outcome.py); of the rest only a person can say that nothing was taken.
"""

from enum import Enum, auto

import structlog
from django.conf import settings

from payments.errors import NothingSent, StaleLease
from payments.gateways.base import Call
from payments.gateways.transport import Deadline
from payments.intents import Finding, look_at_intent
from payments.leases import Lease, end_lease, take_lease
from payments.models import Asker, Attempt, Break, Payment
from payments.outcome import settle
from payments.row_lock import give_back_connections
from payments.seek import find_intent
from shop.acts import Act

log = structlog.get_logger(__name__)


class Ended(Enum):
    """What came of ending it."""

    ENDED = auto()
    KNOWN = auto()  # Stripe has it after all: what it says was settled
    SILENT = auto()  # Stripe did not answer: nothing was done
    BUSY = auto()  # somebody is at work on it: nothing was done


def ends_here(found: Break) -> bool:
    """Whether it is a break about a payment that Stripe does not know."""
    return found.payment_id is not None and (found.kind == Break.Kind.MISSING_GATEWAY or found.is_about_a_key)


def end_missing(found: Break, reason: str, actor: str, act: Act | None = None) -> Ended:
    """Ask Stripe once more, and if it does not know the payment, give it up: the wish of its order is carried out, or
    the order may be paid anew; its break is resolved with the reason.

    Raises:
        DoneAlready, StaleForm: of the act.
    """
    payment = Payment.objects.select_related("order").get(pk=found.payment_id)
    attempt = Attempt.objects.filter(payment=payment).undecided().first()
    lease = take_lease(attempt or payment, asked_by=Asker.STAFF, actor=actor)
    if lease is None:
        return Ended.BUSY
    seen = _ask_once_more(payment)
    if seen is None:
        end_lease(lease)
        return Ended.KNOWN
    given_up = seen.intent is None and seen.missing
    finding = Finding(missing=True, given_up=reason, calls=seen.calls) if given_up else seen
    if not _settle(payment, lease, finding, actor, act if given_up else None):
        return Ended.BUSY
    if not given_up:
        return Ended.SILENT if seen.intent is None else Ended.KNOWN
    payment.refresh_from_db()
    return Ended.ENDED if payment.is_over else Ended.BUSY


def _ask_once_more(payment: Payment) -> Finding | None:
    """What a look shows of its intent; None if the intent was not heard of up to now, and was found."""
    deadline = Deadline(settings.SEEK_TIMEOUT.total_seconds())
    calls: list[Call] = []
    if payment.intent_id is None:
        try:
            find_intent(payment, deadline, Asker.STAFF)
        except NothingSent as error:
            return Finding(missing=error.heard)
        return None
    give_back_connections()
    return look_at_intent(payment, deadline, calls)


def _settle(payment: Payment, lease: Lease, finding: Finding, actor: str, act: Act | None) -> bool:
    try:
        settle(payment, lease, finding, Asker.STAFF, actor, act)
    except StaleLease as error:
        log.warning("stale_lease", payment=payment.pk, error=str(error))
        return False
    return True
