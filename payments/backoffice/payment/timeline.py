"""The story of an order's money as one list of rows, oldest first: who pressed, what was asked of Stripe and answered,
what was settled, found, mailed, stopped and done by staff. Plain rows; a template shows them (EXPERIENCE ST1).

Every source is one bounded query, whatever the order has been through. A page shows the newest PAGE rows; what is older
is behind a link that names a moment, so that a row is never shown twice or lost between two pages.
"""

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.db.models import Case, F, Q, When
from django.db.models.functions import Greatest
from django.urls import reverse
from django.utils import timezone

from orders.models import Mail, Order
from orders.order_story import earlier_sendings
from payments.backoffice.actions.changes import changes
from payments.backoffice.payment.past import end_in_words, late_in_words
from payments.backoffice.payment.times import when_text
from payments.gateways.base import NO_ANSWER
from payments.models import (
    Asker,
    Attempt,
    Break,
    DuplicatesStopped,
    Payment,
    PaymentEvent,
    Refund,
    WebhookEvent,
)
from payments.responses import REASONS, reason_text
from shop.models import StaffAct

PAGE = 200
FOR_EVER = datetime.datetime.max.replace(tzinfo=datetime.UTC)

# What moved money, or may have. A call that only looks, or that cannot charge, is not in it.
_MONEY_EVENTS = Q(
    kind__in=[
        *("call:confirm", "call:refund", "settled", "refund", "dispute", "duplicate refunded", PaymentEvent.CREDITED),
        *(PaymentEvent.ORDER_ENDED, PaymentEvent.LATE_MONEY),
    ]
)
_MONEY_ACTS = ("refund", "approve refund", "refund duplicate", "cancel at Stripe")

# By layer, why a request was not carried out.
_STOPPED = {
    2: "its key had been answered, or was at work",
    3: "a press of the order was under way, or had paid it",
    4: "another request was at work on the order",
    5: "Stripe knew its key, and repeated its answer",
}
_CALLS = {
    "create": "open the intent",
    "confirm": "confirm",
    "look": "look",
    "cancel": "cancel the intent",
    "refund": "give money back",
    "list refunds": "list the refunds",
    "list disputes": "list the disputes",
}
_DOUBT = ("unknown", "processing", "requires_action", "pending")
_GOOD = ("succeeded", "won")
_BAD = ("failed", "lost")


@dataclass(frozen=True)
class Row:
    """One line of the story.

    Attributes:
        source: press, call, settled, lease, refund, dispute, webhook, break, mail, staff, stopped or order.
        was: the state before, if the row is about one that moved; `now` is the state after.
        tone: good, doubt or bad, of `now`.
        key: the whole key that it is about, ours or the gateway's.
    """

    at: datetime.datetime
    source: str
    what: str
    by: str = ""
    was: str = ""
    now: str = ""
    key: str = ""
    request_id: str = ""
    http_status: int | None = None
    milliseconds: int | None = None
    details: tuple[str, ...] = ()
    link: str = ""

    @property
    def tone(self) -> str:
        return "good" if self.now in _GOOD else "doubt" if self.now in _DOUBT else "bad" if self.now in _BAD else ""

    @property
    def short_key(self) -> str:
        return self.key if len(self.key) <= 16 else f"{self.key[:6]}…{self.key[-6:]}"


@dataclass(frozen=True)
class Story:
    """`older`: the moment that the page of older rows ends at; None if these are the oldest."""

    rows: list[Row]
    older: datetime.datetime | None


@dataclass(frozen=True)
class _Asked:
    order: Order
    intents: tuple[str, ...]
    until: datetime.datetime
    money_only: bool
    addresses: bool
    most: int
    names: dict[str, str] = field(default_factory=dict)  # attempt's id -> "press 2"


def story_of(
    order: Order,
    payments: Iterable[Payment],
    until: datetime.datetime | None = None,
    *,
    money_only: bool = False,
    addresses: bool = False,
    most: int = PAGE,
) -> Story:
    """The newest rows up to this moment. Two rows of one moment stay on one page.

    Args:
        addresses: whether the reader may see from where staff did what.
    """
    intents = tuple(payment.intent_id for payment in payments if payment.intent_id)
    asked = _Asked(order, intents, until or FOR_EVER, money_only, addresses, most + 1)
    rows = [row for row in _all(asked) if row.at <= asked.until]
    rows.sort(key=lambda row: row.at)
    if len(rows) <= most:
        return Story(rows, None)
    cut = rows[-most - 1].at
    shown = [row for row in rows if row.at > cut]
    if not shown:  # more rows of one moment than a page has
        return Story([row for row in rows if row.at == cut], cut - datetime.timedelta(microseconds=1))
    return Story(shown, cut)


def _all(asked: _Asked) -> Iterator[Row]:
    attempts = list(asked.order.attempts.filter(pressed_at__lte=asked.until).order_by("-pressed_at")[: asked.most])
    asked.names.update({attempt.pk: f"press {attempt.number}" for attempt in attempts})
    yield from map(_press, attempts)
    events = _events(asked)
    acts = _acts(asked)
    yield from (_event(event, asked.names.get(event.attempt_id or "", "")) for event in events)
    yield from _refunds(asked)
    yield from _breaks(asked)
    yield from (_act(act, asked) for act in acts if not asked.money_only or act.act in _MONEY_ACTS)
    if not asked.money_only:
        yield from _of_order(asked.order, told={event.to_state for event in events if event.kind == _ENDED})
        yield from _webhooks(asked)
        yield from _mails(asked, acts)
        yield from _stopped(asked)


_ENDED = PaymentEvent.ORDER_ENDED


def _of_order(order: Order, told: set[str]) -> Iterator[Row]:
    """Args:
    told: ends that a row of the append-only story tells of.
    """
    yield Row(order.placed_at, "order", f"Order {order.number} placed", "shopper", key=order.idempotency_key)
    ended = (order.closed_at, order.status)
    for at, word in ((order.paid_at, "paid"), (order.fulfilled_at, "fulfilled"), ended):
        if at is not None and word not in told:
            yield Row(at, "order", f"Order {word}")


def _press(attempt: Attempt) -> Row:
    if attempt.origin == Attempt.Origin.GATEWAY:
        what = f"Money that no press of ours explains, kept as press {attempt.number}"
        charge, state = attempt.charge_id or "", attempt.payment_status
        return Row(attempt.pressed_at, "press", what, "gateway", now=state, key=charge)
    details = [f"came to: {attempt.payment_status}"]
    if attempt.decline_code:
        details.append(f"the bank's code: {attempt.decline_code}")
    if attempt.reason in REASONS:
        details.append(f"told the shopper: “{reason_text(attempt.reason)}”")
    if attempt.charge_id:
        details.append(f"charge {attempt.charge_id}")
    what = f"Pay pressed: press {attempt.number}"
    return Row(attempt.pressed_at, "press", what, "shopper", key=attempt.idempotency_key, details=tuple(details))


def _events(asked: _Asked) -> list[PaymentEvent]:
    """The append-only story. Its first claim of an attempt is the press itself, which the attempt's row tells."""
    events = PaymentEvent.objects.filter(order=asked.order, at__lte=asked.until)
    events = events.exclude(kind="claimed", from_state="").exclude(kind="refund", from_state="")
    if asked.money_only:
        events = events.filter(_MONEY_EVENTS)
    return list(events.order_by("-at", "-id")[: asked.most])


def _event(event: PaymentEvent, press: str) -> Row:
    source, what, states = _in_words(event, press)
    no_answer = event.note.removeprefix(NO_ANSWER)
    note = event.note if no_answer == event.note else f"no answer came ({no_answer})"
    return Row(
        event.at,
        source,
        what,
        _who(event),
        was=event.from_state if states else "",
        now=event.to_state if states else "",
        key=event.gateway_key,
        request_id=event.request_id,
        http_status=event.http_status,
        milliseconds=event.milliseconds,
        details=(note,) if note else (),
    )


def _who(event: PaymentEvent) -> str:
    """`clara`, `completer`, `webhook evt_1`."""
    if event.asked_by == Asker.STAFF and event.actor:
        return event.actor
    return event.asked_by if event.actor in ("", event.asked_by) else f"{event.asked_by} {event.actor}"


_TOLD = {
    "duplicate refunded": ("refund", "The second charge refunded"),  # before its refund was a row
    PaymentEvent.CREDITED: ("settled", "Another charge pays the order"),
    "rebuilt": ("settled", "The payment's row was made again from Stripe's book"),
}


def _in_words(event: PaymentEvent, press: str) -> tuple[str, str, bool]:
    """Source, text, and whether its two states are shown."""
    of_press = f" of {press}" if press else ""
    kind, _, operation = event.kind.partition(":")
    match kind:
        case "call":
            return "call", f"Stripe: {_CALLS.get(operation, operation)}{of_press}", False
        case "claimed":
            return "press", f"The same key pressed again{of_press}", True
        case "settled":
            return "settled", f"Settled{': ' + press if press else ' of the payment'}", True
        case "taken over":
            return "lease", f"Lease taken over{of_press}", True
        case "closing":
            return "settled", f"Wish to give up: {event.to_state}", False
        case PaymentEvent.ORDER_ENDED:
            return "order", f"Order {end_in_words(event)}", False
        case PaymentEvent.LATE_MONEY:
            return "order", late_in_words(event), True
        case "refund" | "dispute":
            return kind, kind.capitalize(), True
        case _:
            source, what = _TOLD.get(kind, ("settled", kind.capitalize()))
            return source, what, True


def _refunds(asked: _Asked) -> Iterator[Row]:
    refunds = Refund.objects.filter(payment__order=asked.order, created_at__lte=asked.until)
    refunds = refunds.select_related("actor", "payment")
    for refund in refunds.order_by("-created_at")[: asked.most]:
        details = [refund.why_text, f"came to: {refund.outcome or refund.phase}"]
        if not refund.is_of_credited_charge:
            details.append(f"of the charge {refund.charge_id}")
        if refund.refund_id:
            details.append(refund.refund_id)
        yield Row(
            refund.created_at,
            "refund",
            f"Refund of {refund.amount_text} {'due' if refund.by_itself else 'asked for'}",
            str(refund.actor or ""),
            key=refund.idempotency_key,
            details=tuple(details),
        )


def _webhooks(asked: _Asked) -> Iterator[Row]:
    if not asked.intents:
        return
    events = WebhookEvent.objects.filter(intent_id__in=asked.intents, received_at__lte=asked.until)
    for event in events.order_by(_latest("received_at", "done_at", asked.until).desc())[: asked.most]:
        tries = f"{event.tries} {'try' if event.tries == 1 else 'tries'}"
        noted = (tries, event.note) if event.note else (tries,)
        waits = (f"not done yet, next try {when_text(event.next_try_at)}", *noted) if event.done_at is None else ()
        received = f"Webhook {event.type} received"
        yield Row(event.received_at, "webhook", received, "webhook", key=event.event_id, details=waits)
        if event.done_at is not None:
            yield Row(event.done_at, "webhook", f"Webhook {event.type} worked on", "webhook", details=noted)


def _breaks(asked: _Asked) -> Iterator[Row]:
    breaks = Break.objects.filter(order=asked.order, found_at__lte=asked.until)
    for found in breaks.order_by(_latest("found_at", "resolved_at", asked.until).desc())[: asked.most]:
        name = f"{found.get_kind_display()}, {found.subject}"
        link = reverse("admin:payments_break_change", args=[found.pk])
        details = (found.proposal,) if found.proposal else ()
        yield Row(found.found_at, "break", f"Break found: {name}", found.found_by, details=details, link=link)
        if found.resolved_at is not None:
            note = (found.note,) if found.note else ()
            resolved = f"Break resolved: {name}"
            yield Row(found.resolved_at, "break", resolved, found.resolved_by, details=note, link=link)


def _latest(first: str, then: str, until: datetime.datetime) -> Case:
    """The newest moment of a row with two that is not after the page's end: so none is lost between two pages."""
    return Case(When(**{f"{then}__lte": until}, then=Greatest(first, then)), default=F(first))


def _mails(asked: _Asked, acts: list[StaffAct]) -> Iterator[Row]:
    """Each as it is now, and each earlier sending of one that staff have sent again: their act has kept when it was."""
    for mail in asked.order.mails.order_by("-due_at")[: asked.most]:
        at = {mail.State.SENT: mail.sent_at, mail.State.DUE: mail.due_at}.get(mail.State(mail.state), mail.sending_at)
        refused = [f"not taken {mail.refusals} times, last: {mail.last_refusal}"] if mail.refusals else []
        doubted = [f"in doubt {mail.doubts} times, and may have gone out each time"] if mail.doubts else []
        details = (*refused, *doubted)
        yield Row(at or mail.due_at, "mail", f"Mail {mail.get_kind_display()}", now=mail.state, details=details)
    mail_kinds = dict(Mail.Kind.choices)
    for sending in earlier_sendings(acts):
        yield Row(
            sending.at,
            "mail",
            f"Mail {mail_kinds.get(sending.kind, sending.kind)}",
            now="sent",
            details=("sent again since",),
        )


def _acts(asked: _Asked) -> list[StaffAct]:
    acts = StaffAct.objects.filter(order_id=asked.order.pk, at__lte=asked.until)
    return list(acts.order_by("-at", "-id")[: asked.most])


def _act(act: StaffAct, asked: _Asked) -> Row:
    moved = changes(act.before, act.after, asked.order.currency)
    changed = [f"{one.what}: {one.before} → {one.after}" for one in moved] or ["changed no row of the order"]
    note = [f"“{act.note}”"] if act.note else []
    where = f" from {act.address}" if act.address and asked.addresses else ""
    details = (*note, act.subject, *changed)
    return Row(act.at, "staff", f"Staff: {act.act}", f"{act.actor_name}{where}", details=details)


def _stopped(asked: _Asked) -> Iterator[Row]:
    counts = DuplicatesStopped.objects.filter(order=asked.order, last_at__lte=asked.until)
    for one in counts.order_by("-last_at")[: asked.most]:
        requests = "repeated request was" if one.count == 1 else "repeated requests were"
        why = _STOPPED.get(one.layer, "another guard met it")
        what = f"{one.count} {requests} stopped: {why} (layer {one.layer})"
        since = f"the first at {when_text(one.first_at)}; counted in batches, so about"
        yield Row(one.last_at, "stopped", what, key=one.last_key, details=(since,) if one.count > 1 else ())


def moment_of(text: str) -> datetime.datetime | None:
    """The `until` of a link; None if it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if timezone.is_aware(moment) else None
