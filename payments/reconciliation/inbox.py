"""The webhook inbox: stored events are worked on, whoever brought them. An event is a hint, never a fact."""

import datetime

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from payments.accounts import is_live_key
from payments.breaks import raise_break
from payments.charges import payments_of_charges
from payments.disputes import follow_disputes
from payments.gateways.base import Event
from payments.models import Asker, Break, Charge, Payment, WebhookEvent
from payments.reconciliation.recovery import ask_stripe
from payments.refund import follow_refunds
from shop.acts import Act, Snapshot, witnessed

log = structlog.get_logger(__name__)


TRIES_BEFORE_BREAK = 6


_ABOUT_REFUNDS = ("refund.", "charge.refund")


_ABOUT_DISPUTES = "charge.dispute."


# What we write into metadata. Another system's may hold anything, a shopper's data as well: only its names are kept.
_OUR_METADATA = ("order", "payment", "refund", "duplicate_of", "env")


def store_events(events: list[Event]) -> None:
    """Into the inbox, in one statement; those that are there already stay as they are."""
    WebhookEvent.objects.bulk_create([_row_of(event) for event in events], ignore_conflicts=True)


def _row_of(event: Event) -> WebhookEvent:
    return WebhookEvent(
        event_id=event.id,
        type=event.type,
        livemode=event.livemode,
        object_id=event.object_id,
        intent_id=event.intent_id,
        metadata=ours_alone(event.metadata),
        request_key=event.request_key,
        created_at_gateway=datetime.datetime.fromtimestamp(event.created, datetime.UTC),
        next_try_at=timezone.now(),
    )


def ours_alone(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata without what others wrote into it: of theirs only the names."""
    return {name: worth if name in _OUR_METADATA else "…" for name, worth in metadata.items()}


def replay_event(event_id: str, act: Act) -> WebhookEvent:
    """Work on a stored event again, as if it had just come: harmless, for an event is only a hint to look (R80).

    Raises:
        WebhookEvent.DoesNotExist. DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        row = WebhookEvent.objects.select_for_update(no_key=True).get(gateway="stripe", event_id=event_id)
        with witnessed(act):
            row.state, row.next_try_at, row.tries = WebhookEvent.State.STORED, timezone.now(), 0
            row.save(update_fields=["state", "next_try_at", "tries"])
    work_webhooks(event_id, actor=act.who.name)
    row.refresh_from_db()
    return row


def event_snapshot(event_id: str) -> Snapshot:
    """What an act on a stored event is about, for its audit row."""
    row = WebhookEvent.objects.get(gateway="stripe", event_id=event_id)
    return {"state": row.state, "tries": row.tries, "note": row.note}


def work_webhooks(event_id: str | None = None, limit: int = 100, actor: str = "") -> int:
    """Work on stored events that are due, or on one; how many are done now. A busy order is tried again, never lost.

    The row is taken by moving `next_try_at` on before the work: a worker that dies in the middle has only delayed it
    (FAILURES 64: received and done are two states).
    """
    done = 0
    for row in _take_due(event_id, limit):
        try:
            done += _work(row, actor)
        except Exception:
            log.exception("webhook_failed", event_id=row.event_id)
            _later(row, "failed, see the log")
    return done


def work_now(event_ids: list[str]) -> int:
    """Work on these stored events whenever they are due; how many are done. A worker who is at it does no harm."""
    WebhookEvent.objects.filter(event_id__in=event_ids, state=WebhookEvent.State.STORED).update(
        next_try_at=timezone.now()
    )
    return sum(work_webhooks(one) for one in event_ids)


def due_events() -> int:
    """How many stored events are due."""
    return WebhookEvent.objects.filter(state=WebhookEvent.State.STORED, next_try_at__lte=timezone.now()).count()


def _take_due(event_id: str | None, limit: int) -> list[WebhookEvent]:
    with transaction.atomic(durable=True):
        due = WebhookEvent.objects.filter(state=WebhookEvent.State.STORED, next_try_at__lte=timezone.now())
        if event_id is not None:
            due = due.filter(event_id=event_id)
        rows = list(due.select_for_update(skip_locked=True).order_by("next_try_at")[:limit])
        busy_until = timezone.now() + settings.LEASE
        WebhookEvent.objects.filter(pk__in=[row.pk for row in rows]).update(next_try_at=busy_until)
    return rows


def _work(row: WebhookEvent, actor: str = "") -> bool:
    """`actor`: of staff who replays it."""
    asked_by = Asker.STAFF if actor else Asker.WEBHOOK
    if row.livemode != is_live_key():
        return _done(row, WebhookEvent.State.FOREIGN, "another mode")
    payment = _payment_of(row)
    if payment is None and row.metadata.get("env") in (settings.PAYMENT_ENV, _env_of_named(row)):
        # It may be faster than our own commit of the intent's id (RULES R82).
        payment = Payment.objects.select_related("order").filter(pk=row.metadata.get("payment")).first()
        if payment is None or payment.intent_id is None:
            return _unknown_intent(row, payment)
    if payment is None:
        return _done(row, WebhookEvent.State.FOREIGN, "no intent of ours")
    goes_back = row.type.startswith((*_ABOUT_REFUNDS, _ABOUT_DISPUTES))
    if goes_back and payment.phase != Payment.Phase.SUCCEEDED and not payment.is_over:
        # What goes back was taken first, and that may be news to us: without it there is nothing to take it from.
        looked, _ = ask_stripe(payment.order, asked_by, actor or row.event_id)
        if not looked:
            return _later(row, "the order is busy, or Stripe did not answer")
        payment.refresh_from_db()
    if row.type.startswith(_ABOUT_REFUNDS):
        followed = follow_refunds(payment, asked_by, actor)
        return _done(row, WebhookEvent.State.DONE) if followed else _later(row, "Stripe did not answer")
    if row.type.startswith(_ABOUT_DISPUTES):
        followed = follow_disputes(payment, asked_by, actor)
        return _done(row, WebhookEvent.State.DONE) if followed else _later(row, "Stripe did not answer")
    if not row.type.startswith(("payment_intent.", "charge.")):
        return _done(row, WebhookEvent.State.DONE, "nothing to do")
    failed = row.type in ("payment_intent.payment_failed", "charge.failed")
    event_key = row.request_key if failed else ""
    looked, _ = ask_stripe(payment.order, asked_by, actor or row.event_id, event_key=event_key)
    return _done(row, WebhookEvent.State.DONE) if looked else _later(row, "the order is busy, or Stripe did not answer")


def _unknown_intent(row: WebhookEvent, payment: Payment | None) -> bool:
    """An intent with our metadata that no row of ours names: perhaps not yet. In the end money is a break for staff,
    and anything else is the leftover of a payment that we gave up before we heard its id; the sweep cancels those."""
    money = row.type in ("payment_intent.succeeded", "charge.succeeded", "charge.captured")
    if payment is not None and payment.is_over and not money:
        return _done(row, WebhookEvent.State.DONE, "of a payment that was given up")
    if row.tries < TRIES_BEFORE_BREAK:
        return _later(row, "we do not know this intent yet")
    if money:
        raise_break(Break.Kind.MISSING_LOCAL, row.intent_id, None, payment, None, {"event": row.event_id})
    return _done(row, WebhookEvent.State.DONE, "we never came to know this intent")


def _payment_of(row: WebhookEvent) -> Payment | None:
    """The payment of this event's intent; of a second charge's intent, the one that its order was paid by."""
    if not row.intent_id:
        return None
    payment = Payment.objects.select_related("order").filter(intent_id=row.intent_id).first()
    if payment is not None:
        return payment
    charges = Charge.objects.filter(intent_id=row.intent_id).values_list("pk", flat=True)
    return next(iter(payments_of_charges(list(charges)).values()), None)


def _env_of_named(row: WebhookEvent) -> str:
    """The env of the payment that the event names: the setting may have been renamed since its row was made."""
    named = Payment.objects.filter(pk=row.metadata.get("payment", "")).first()
    return named.env if named is not None else settings.PAYMENT_ENV


def _done(row: WebhookEvent, state: WebhookEvent.State, note: str = "") -> bool:
    WebhookEvent.objects.filter(pk=row.pk).update(state=state, note=note, tries=row.tries + 1, done_at=timezone.now())
    return True


def _later(row: WebhookEvent, note: str) -> bool:
    ladder = [datetime.timedelta(seconds=2), datetime.timedelta(seconds=5), *settings.LOOK_LADDER]
    wait = ladder[min(row.tries, len(ladder) - 1)]
    WebhookEvent.objects.filter(pk=row.pk, state=WebhookEvent.State.STORED).update(
        tries=row.tries + 1, next_try_at=timezone.now() + wait, note=note
    )
    return False
