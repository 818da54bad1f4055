"""Close: give up an order's payment. Stripe first, and only then the slot and the stock (DESIGN section 5, closing).

A shopper's cancel, an order's expiry and "start over" are one act with three ends: (1) commit the wish, from which
moment nobody confirms; (2) cancel at Stripe; (3) settle what Stripe said. If the money was faster, the order is paid.
A process that dies in between leaves a wish that the completer carries out.
"""

import datetime
from enum import Enum

import structlog
from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from orders.models import Order
from payments.errors import (
    GatewayError,
    NothingSent,
    RowBusy,
    StaleLease,
)
from payments.gateways.base import Call
from payments.gateways.transport import Deadline
from payments.intents import cancel_intent
from payments.leases import take_lease
from payments.models import Asker, Attempt, Outcome, Payment, PaymentEvent
from payments.outcome import carry_out_closing, settle
from payments.pay import in_progress, open_payment
from payments.refund import follow_other_amount
from payments.row_lock import give_back_connections, locked_order
from shop.acts import Act, witnessed
from shop.database_clock import DatabaseClock
from shop.problems import Problem

log = structlog.get_logger(__name__)


class Wish(Enum):
    """Why an order's payment is given up; stored as `closing_reason`."""

    CANCEL = "cancel"
    EXPIRE = "expire"
    START_OVER = "start-over"

    def outranks(self, reason: str) -> bool:
        """Who cancels while a start-over or an expiry is still being carried out means it."""
        strength = [Wish.START_OVER.value, Wish.EXPIRE.value, Wish.CANCEL.value]
        return strength.index(self.value) > strength.index(reason)


def close_order(order_id: str, wish: Wish, by: str, asked_by: Asker, act: Act | None = None) -> Order:
    """Commit the wish and carry it out as far as Stripe answers now. Idempotent by the order's state.

    Returns:
        The order as it is afterwards; still closing if Stripe has not answered yet.

    Raises:
        Problem: order-already-paid; request-in-progress while a press is being made.
        DoneAlready, StaleForm: of the act of staff that it is.
    """
    try:
        wished = _commit_wish(order_id, wish, by, asked_by, act)
    except RowBusy:
        detail = "Another request is working on this order. Ask again shortly."
        raise Problem("request-in-progress", detail, 2, {"order": order_id}) from None
    if wished:
        try:
            finish_closing(order_id, asked_by, by if asked_by == Asker.STAFF else "")
        except RowBusy:
            log.warning("closing_left_to_completer", order=order_id)
    return Order.objects.get(pk=order_id)


def _commit_wish(order_id: str, wish: Wish, by: str, asked_by: Asker, act: Act | None = None) -> bool:
    """Whether there is something to carry out."""
    with locked_order(order_id) as order, witnessed(act):
        if order.is_paid:
            raise Problem("order-already-paid", "This order is paid already.", extra={"order": order.pk})
        if order.is_closed:
            return False
        if order.is_closing:
            if wish.outranks(order.closing_reason):
                order.closing_by, order.closing_reason = by, wish.value
                order.save(update_fields=["closing_by", "closing_reason"])
            return True
        live = _locked_live_attempt(order)
        if live is not None and live.lease_runs:
            raise in_progress(order, live, same_key=True)
        if wish is Wish.START_OVER and live is None:
            return False
        order.closing_since, order.closing_by, order.closing_reason = order.read_at, by, wish.value
        order.save(update_fields=["closing_since", "closing_by", "closing_reason"])
        PaymentEvent.objects.create(order=order, kind="closing", to_state=wish.value, asked_by=asked_by, actor=by)
        return True


def _locked_live_attempt(order: Order) -> Attempt | None:
    """Locked, so that nobody takes its lease, and with it the right to confirm, before the transaction commits."""
    attempts = Attempt.objects.select_for_update(no_key=True, of=("self",)).filter(order=order)
    return attempts.live().with_lease_state().first()


def finish_closing(order_id: str, asked_by: Asker, actor: str = "", act: Act | None = None) -> None:
    """Carry out a committed wish. Whoever calls it: the request, or the completer when the request's process died."""
    calls: list[Call] = []
    deadline = Deadline(settings.PRESS_BUDGET.total_seconds())
    payment = _payment_to_close(order_id)
    if payment is not None and payment.intent_id is None:
        payment = _learn_intent(payment, deadline, calls, asked_by)
    if payment is not None:
        _end(payment, asked_by, deadline, calls, actor, act)


def _end(
    payment: Payment, asked_by: Asker, deadline: Deadline, calls: list[Call], actor: str = "", act: Act | None = None
) -> None:
    lease = take_lease(payment, asked_by=asked_by, actor=actor)
    if lease is None:
        return
    give_back_connections()
    finding = cancel_intent(payment, deadline, calls)
    follow_other_amount(payment, finding, asked_by)
    try:
        settle(payment, lease, finding, asked_by, actor, act)
    except StaleLease as error:
        log.warning("stale_lease", payment=payment.pk, error=str(error))


def wishes_due() -> QuerySet[Order]:
    """Orders with a wish to close whose payment is due to be asked about again, the oldest wish first."""
    not_yet = Payment.objects.filter(order=OuterRef("pk"), next_look_at__gt=DatabaseClock())
    waiting = Exists(not_yet.exclude(phase__in=Payment.OVER))
    return Order.objects.filter(closing_since__isnull=False).exclude(waiting).order_by("closing_since")


def left_closing() -> QuerySet[Payment]:
    """Payments whose cancel was never answered, and whose attempt has ended by itself since (a bank's no, a challenge
    that failed): no order is closing and no attempt is open that would bring somebody back to them."""
    undecided = Attempt.objects.filter(payment=OuterRef("pk")).undecided()
    return Payment.objects.filter(phase=Payment.Phase.CLOSING, order__closing_since=None).exclude(Exists(undecided))


def end_payment(payment: Payment, asked_by: Asker, actor: str = "", act: Act | None = None) -> bool:
    """Cancel it at Stripe and settle the answer. Whether it is over now."""
    _end(payment, asked_by, Deadline(settings.PRESS_BUDGET.total_seconds()), [], actor, act)
    return not Payment.objects.filter(pk=payment.pk, phase=Payment.Phase.CLOSING).exists()


def give_up_payment(order_id: str, asked_by: Asker) -> bool:
    """End the order's payment that may still charge, for its money has come by another way; the order stays as it is.
    Whether no payment of it may charge now; not while a press is being made."""
    with locked_order(order_id) as order:
        live = _locked_live_attempt(order)
        if live is not None and live.lease_runs:
            return False
        # Nobody was ever told of this intent, if there is one: the sweep cancels it. One that was lost may be paid.
        unheard = Payment.objects.filter(order=order, phase=Payment.Phase.OPENING, intent_id=None, key_spent_at=None)
        if unheard.update(phase=Payment.Phase.ABANDONED, locked_until=None):
            _release_started(order)
        charging = Payment.objects.filter(order=order).exclude(phase__in=(*Payment.OVER, Payment.Phase.SUCCEEDED))
        charging.exclude(intent_id=None).update(phase=Payment.Phase.CLOSING)
        payment = charging.exclude(intent_id=None).first()
    if payment is not None:
        end_payment(payment, asked_by)
    return not charging.exists()


def _payment_to_close(order_id: str) -> Payment | None:
    """The payment whose intent must be canceled first. If there is none, the order ends here and now."""
    with locked_order(order_id) as order:
        if not order.is_closing:
            return None
        # What was never sent to Stripe can charge nobody. Conditional, for it may be sent at this very moment.
        never_sent = Payment.objects.filter(order=order, phase=Payment.Phase.OPENING, first_sent_at=None)
        never_sent.update(phase=Payment.Phase.ABANDONED, locked_until=None)
        payment = Payment.objects.filter(order=order).exclude(phase__in=Payment.OVER).first()
        if payment is None:
            _release_started(order)
            carry_out_closing(order)
            return None
        if payment.phase == Payment.Phase.OPEN:
            Payment.objects.filter(pk=payment.pk).update(phase=Payment.Phase.CLOSING)
            payment.phase = Payment.Phase.CLOSING
        return payment


def _release_started(order: Order) -> None:
    """A press whose holder died before it sent anything must not outlive its order."""
    Attempt.objects.filter(order=order, phase=Attempt.Phase.STARTED).update(
        phase=Attempt.Phase.FINISHED, outcome=Outcome.RELEASED, locked_until=None
    )


def _learn_intent(payment: Payment, deadline: Deadline, calls: list[Call], asked_by: Asker) -> Payment | None:
    """An intent whose id we never heard is learnt by replaying its create: the payment to close, if there is one."""
    try:
        open_payment(payment, deadline, calls, asked_by)
    except NothingSent as error:
        log.info("intent_not_learnt", payment=payment.pk, error=str(error))
    again = _payment_to_close(payment.order_id)
    return again if again is not None and again.intent_id is not None else None


def due_to_expire(now: datetime.datetime | None = None) -> QuerySet[Order]:
    """Orders whose hold is over by the database's clock, and of which no press may still charge.

    Args:
        now: judge by this moment instead.
    """
    live = Attempt.objects.filter(order=OuterRef("pk")).live()
    over = Order.objects.filter(status=Order.Status.PENDING, expires_at__lt=now or DatabaseClock(), closing_since=None)
    return over.exclude(Exists(live))


def expire_due(limit: int = 200, now: datetime.datetime | None = None) -> int:
    """Close the orders whose hold is over; never one with a live attempt. How many were asked to close."""
    due = due_to_expire(now)
    ids = list(due.order_by("expires_at").values_list("pk", flat=True)[:limit])
    for order_id in ids:
        try:
            close_order(order_id, Wish.EXPIRE, by="expiry", asked_by=Asker.COMPLETER)
        except Problem as problem:
            log.info("not_expired", order=order_id, problem=problem.name)
        except GatewayError as error:
            log.warning("not_expired", order=order_id, error=repr(error))
    return len(ids)
