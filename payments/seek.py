"""Seek: the intent of a payment whose create key Stripe has seen before, with other parameters than ours.

The key is derived from the order. So somebody has been here: our database lost the rows of this payment (crash point
C22), and a release since then words the create call otherwise. Its intent may have been paid; it is looked for in
Stripe's lists by its metadata, and until it is found no other payment of the order is opened (docs/adr/0017).
"""

import datetime

import structlog
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from orders.models import Order
from payments.backoff import rung
from payments.breaks import BY_CREATE, Difference, open_break, resolve_breaks
from payments.errors import GatewayError, NothingSent
from payments.gateways.base import Intent, Window, gateway
from payments.gateways.transport import Deadline
from payments.models import Asker, Break, Payment, PaymentEvent
from payments.row_lock import again_on_conflict, give_back_connections, locked_payment

log = structlog.get_logger(__name__)

_CLOCKS_DIFFER = datetime.timedelta(minutes=10)


def find_intent(payment: Payment, deadline: Deadline, asked_by: Asker) -> Payment:
    """Give the payment the intent that was created in its name; the payment as it is then.

    Raises:
        NothingSent: Stripe did not answer; or it was not found, though the lists were read to their end: a break.
    """
    intent = look_for(payment, deadline)
    if intent is None:
        _not_there(payment, asked_by)
        raise NothingSent("its create key is spent, and its intent is not in Stripe's lists", heard=True)
    take_intent(payment, intent, asked_by)
    payment.refresh_from_db()
    return payment


def look_for(payment: Payment, deadline: Deadline) -> Intent | None:
    """The intent that was created in the payment's name; None if Stripe's lists, to their end, show none.

    Raises:
        NothingSent: they could not be read to their end.
    """
    since = int((payment.order.placed_at - _CLOCKS_DIFFER).timestamp())
    give_back_connections()
    try:
        return _in_lists(payment, Window(since), deadline.within(settings.SEEK_TIMEOUT.total_seconds()))
    except GatewayError as error:
        raise NothingSent(f"its intent could not be looked for: {error}") from error


def _in_lists(payment: Payment, window: Window, deadline: Deadline) -> Intent | None:
    """Lists show at once what was written before; a search does not."""
    for page in gateway().list_intents(window, deadline):
        for intent in page:
            if is_of(payment, intent):
                return intent
    return None


def is_of(payment: Payment, intent: Intent) -> bool:
    """Whether it was created for this payment, by this shop."""
    ours = payment.create_params["metadata"]
    return all(intent.metadata.get(name) == ours[name] for name in ("order", "payment", "env"))


@again_on_conflict
def take_intent(payment: Payment, intent: Intent, asked_by: Asker) -> bool:
    """Write it into the payment's row, unless that has one by now. Whether it was written."""
    with locked_payment(payment.pk, payment.order_id) as (order, payment_now):
        return give_intent(order, payment_now, intent, asked_by)


def give_intent(order: Order, payment: Payment, intent: Intent, asked_by: Asker) -> bool:
    """With both rows locked: the payment has its intent again, and whoever opens it right now finds his token outdated.

    An intent of another amount must never be confirmed: its payment is left closing, and the next one takes its place.
    """
    equal = (payment.amount_minor, payment.currency) == (intent.amount_minor, intent.currency)
    phase = Payment.Phase.OPEN if equal else Payment.Phase.CLOSING
    without_intent = Payment.objects.filter(pk=payment.pk, phase=Payment.Phase.OPENING, intent_id=None)
    if not without_intent.update(
        intent_id=intent.id,
        phase=phase,
        first_sent_at=datetime.datetime.fromtimestamp(intent.created, datetime.UTC),
        key_spent_at=Coalesce("key_spent_at", timezone.now()),
        lease_token=F("lease_token") + 1,
        locked_until=None,
        next_look_at=None,
    ):
        return False
    PaymentEvent.objects.create(
        order=order, payment=payment, kind="rebuilt", to_state=phase, asked_by=asked_by, note=intent.id
    )
    resolve_breaks([subject_of(payment)], [Break.Kind.MISSING_LOCAL], by=asked_by, note="its intent was found")
    return True


def _not_there(payment: Payment, asked_by: Asker) -> None:
    """Nothing in Stripe's lists names it. Somebody must look, and the repair asks again less and less often."""
    proposal = (
        "Stripe has seen this payment's create key, and no intent in its lists names the payment. Look for a charge of"
        " this order in Stripe's dashboard; if there is none, end the payment here."
    )
    difference = Difference(
        kind=Break.Kind.MISSING_LOCAL,
        subject=subject_of(payment),
        order=payment.order,
        payment=payment,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        proposal=proposal,
        evidence={"found_by": BY_CREATE, "create_key": payment.idempotency_key},
    )
    open_break(difference)
    log.error("create_key_spent", order=payment.order_id, payment=payment.pk, key=payment.idempotency_key)
    if asked_by == Asker.COMPLETER:
        Payment.objects.filter(pk=payment.pk).update(
            looks=F("looks") + 1, next_look_at=timezone.now() + rung(payment.looks)
        )


def subject_of(payment: Payment) -> str:
    """Of the break about an intent that nobody finds."""
    return payment.idempotency_key[:80]


def seek_lost(limit: int = 20) -> int:
    """Look once more for the intents that were not found so far; how many were. By the sweep, when a round ends."""
    lost = Payment.objects.filter(phase=Payment.Phase.OPENING, key_spent_at__isnull=False, intent_id=None)
    found = 0
    for payment in list(lost.select_related("order").order_by("key_spent_at")[:limit]):
        try:
            find_intent(payment, Deadline(settings.SEEK_TIMEOUT.total_seconds()), Asker.SWEEP)
        except NothingSent as error:
            log.info("intent_not_found", payment=payment.pk, error=str(error))
        else:
            found += 1
    return found
