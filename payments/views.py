"""All money routes: press Pay, payment status, start over, cancel. Thin: the acts are in pay, settle and close."""

import datetime

import structlog
from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.module_loading import import_string
from drf_spectacular.utils import OpenApiResponse, extend_schema
from psycopg.errors import UniqueViolation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.api import KEY_PARAMETER
from orders.models import Order
from orders.ownership import own_order
from orders.serializers import OrderSerializer, order_json
from payments import responses
from payments.cancellation import Wish, close_order, give_up_payment
from payments.errors import OtherAmount, RowBusy
from payments.gateways.base import Intent
from payments.models import Asker, Attempt, Outcome, Payment, Refund
from payments.pay import Claimed, Press, carry_out, claim, claim_stands, in_progress
from payments.reconciliation.recovery import heal
from payments.redis_lock import Held
from payments.refund import Ask, refund_once
from payments.row_lock import give_back_connections, locked_order
from payments.serializers import (
    NothingSerializer,
    PaymentStatusSerializer,
    PaySerializer,
    PressAnswerSerializer,
    RefundAnswerSerializer,
    RefundSerializer,
)
from payments.snapshot import money_snapshot
from payments.status import may_press, payment_status
from shop.acts import Act, who_asks
from shop.api import django_request, validated
from shop.counters import count_duplicate
from shop.idempotency import final_answer, fingerprint, refuse_other_body, replay, required_key
from shop.money import wrong_step
from shop.nudge import nudge
from shop.problems import Problem
from shop.second_factor import is_fresh

log = structlog.get_logger(__name__)

redis_lock = import_string(settings.REDIS_LOCK)

RETRY_AFTER_SECONDS = 2
CLAIMED_TABLES = ("payments_payment", "payments_attempt")
PROBLEM = OpenApiResponse(description="A problem (application/problem+json) with `retry`: same-key, new-key or no")


class PayView(APIView):
    """POST /api/orders/{id}/payments/: one press of Pay (DESIGN section 5)."""

    @extend_schema(
        operation_id="pay",
        parameters=[KEY_PARAMETER],
        request=PaySerializer,
        responses={
            201: OpenApiResponse(PressAnswerSerializer, "Paid."),
            202: OpenApiResponse(PressAnswerSerializer, "Not known yet, or the bank wants to ask the shopper."),
            402: OpenApiResponse(description="card-declined, payment-token-invalid, payment-refused; next pay_key"),
            **dict.fromkeys((400, 403, 404, 409, 413, 415, 422, 429, 500, 503), PROBLEM),
        },
    )
    def post(self, request: Request, order_id: str) -> HttpResponse:
        order = own_order(request, order_id)
        press = _press(request, order)
        if (stored := _stored_answer(order, press)) is not None:
            return stored
        _refuse_too_many_declines(order)

        with redis_lock(order.pk) as held:  # layer 4
            if held is Held.BY_ANOTHER:
                _refuse_while_live(order, press)
            claimed: Claimed | None = None
            try:
                with locked_order(order.pk) as locked:  # layer 3
                    claimed = claim(locked, press)
            except RowBusy:
                count_duplicate(3, order.pk, press.key)
                raise in_progress(order, None, same_key=True) from None
            except OtherAmount:
                raise _given_up(order) from None
            except IntegrityError as error:
                raise _lost_claim(order, press, error)
            except (OperationalError, InterfaceError):
                # Perhaps only the answer to its COMMIT was lost: never assume either way, ask the rows (RULES R75).
                give_back_connections()
                if claimed is None or not claim_stands(claimed):
                    raise
            give_back_connections()
            attempt, intent = carry_out(claimed)
        return _answer(attempt, intent)


def _press(request: Request, order: Order) -> Press:
    key = required_key(request)  # layer 2
    sent = validated(PaySerializer(data=request.data))
    return Press(
        key=key,
        fingerprint=fingerprint("pay", order.pk, body=dict(sent)),
        payment_token=sent["payment_token"],
        amount_minor=sent["amount"],
        currency=sent["currency"],
    )


def _stored_answer(order: Order, press: Press) -> HttpResponse | None:
    """Layer 2: this key was here before. A final answer is replayed: one indexed read, no write, no gateway."""
    seen = (
        Attempt.objects.filter(order=order, idempotency_key=press.key)
        .only("fingerprint", "outcome", "answer_status", "answer_body", "order_id")
        .first()
    )
    if seen is None:
        return None
    refuse_other_body(seen, press.fingerprint)
    if seen.is_final and seen.answer_status and seen.answer_body is not None:
        count_duplicate(2, order.pk, press.key)
        return replay(seen.answer_status, bytes(seen.answer_body), responses.location_of(seen))
    return None


def _refuse_while_live(order: Order, press: Press) -> None:
    """Somebody holds the order's Redis lock. Only together with a live attempt in the rows is that a reason to stop:
    a lock that a dead process left behind must not keep a shopper out."""
    live = Attempt.objects.filter(order=order).live().with_lease_state().first()
    if live is not None and live.lease_runs:
        count_duplicate(4, order.pk, press.key)
        raise in_progress(order, live, same_key=live.idempotency_key == press.key)


def _lost_claim(order: Order, press: Press, error: IntegrityError) -> Exception:
    """Two claims at one moment, and a unique index was the judge: the loser is told of the winner (RULES R38)."""
    violation = error.__cause__
    if not isinstance(violation, UniqueViolation) or violation.diag.table_name not in CLAIMED_TABLES:
        return error
    count_duplicate(3, order.pk, press.key)
    return in_progress(order, None, same_key=Attempt.objects.filter(order=order, idempotency_key=press.key).exists())


def _given_up(order: Order) -> Problem:
    """Its payment asks for another amount than its total: it is closed, and the next press opens the next one."""
    try:
        give_up_payment(order.pk, Asker.SHOPPER)
    except RowBusy:
        log.warning("closing_left_to_completer", order=order.pk)
    return Problem(
        "unavailable",
        "This payment had to be prepared anew. Nothing was sent and you were not charged. Please try again.",
        RETRY_AFTER_SECONDS,
        {"order": order.pk},
    )


def _refuse_too_many_declines(order: Order) -> None:
    """Someone trying out cards is slowed down: counted in the rows, so it holds without Redis (SECURITY SE31, SE33).

    Only where a press could start: of an order that is paid, or being paid, "you were not charged" would be a lie.
    """
    since = timezone.now() - datetime.timedelta(hours=1)
    declines = Attempt.objects.filter(
        order=order, outcome__in=(Outcome.DECLINED, Outcome.FAILED), finished_at__gt=since
    ).count()
    if declines >= settings.DECLINES_PER_ORDER and may_press(order):
        raise Problem(
            "throttled",
            "Too many declined tries for this order. You were not charged. Please try again in an hour.",
            600,
            {"order": order.pk},
        )


def _answer(attempt: Attempt, intent: Intent | None) -> HttpResponse:
    """The answer to a press, from the attempt's row (RULES R24)."""
    if attempt.is_final and attempt.answer_status and attempt.answer_body is not None:
        if attempt.outcome == Outcome.SUCCEEDED:
            nudge("orders.send_mails")
        return final_answer(attempt.answer_status, bytes(attempt.answer_body), responses.location_of(attempt))
    if attempt.outcome == Outcome.RELEASED:
        raise Problem(
            "unavailable",
            responses.released_text(attempt),
            RETRY_AFTER_SECONDS,
            {"order": attempt.order_id, "payment_status": attempt.payment_status},
        )
    if not attempt.outcome:
        raise in_progress(attempt.order, attempt, same_key=True)
    response = HttpResponse(
        responses.press_body(attempt, responses.next_action_of(intent)), status=202, content_type="application/json"
    )
    response["Location"] = responses.location_of(attempt)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


class PaymentStatusView(APIView):
    """GET: what is so now. POST: ask Stripe first, once per LOOK_INTERVAL and order. Neither needs a key."""

    @extend_schema(operation_id="read_payment_status", responses={200: PaymentStatusSerializer, 404: PROBLEM})
    def get(self, request: Request, order_id: str) -> Response:
        return _status(own_order(request, order_id))

    @extend_schema(
        operation_id="ask_payment_status",
        request=NothingSerializer,
        responses={200: PaymentStatusSerializer, 403: PROBLEM, 404: PROBLEM},
    )
    def post(self, request: Request, order_id: str) -> Response:
        order = own_order(request, order_id)
        validated(NothingSerializer(data=request.data))
        intent = None
        if order.is_closing or _may_look(order):
            try:
                intent = heal(order, Asker.SHOPPER)
            except RowBusy:
                log.info("row_busy", order=order.pk)
            order.refresh_from_db()
            if order.is_paid:
                nudge("orders.send_mails")
        return _status(order, intent)


def _may_look(order: Order) -> bool:
    """One question to Stripe per LOOK_INTERVAL and order, however many tabs poll; none when there is nothing to ask.

    Claimed by a conditional UPDATE, so that of many polls at one moment one asks.
    """
    before = timezone.now() - settings.LOOK_INTERVAL
    undecided = Attempt.objects.filter(order=order).undecided()
    asked = undecided.exclude(looked_at__gt=before).update(looked_at=timezone.now())
    return asked == 1


def _status(order: Order, intent: Intent | None = None) -> Response:
    response = Response(payment_status(order, intent), headers={"Cache-Control": "no-store"})
    if response.data["payment_status"] in ("started", "confirming", "unknown", "processing", "requires_action"):
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


class StartOverView(APIView):
    """POST: give up an unfinished attempt (a bank's challenge that was left), keep the order and its goods."""

    @extend_schema(
        operation_id="start_over",
        parameters=[KEY_PARAMETER],
        request=NothingSerializer,
        responses={200: PaymentStatusSerializer, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request, order_id: str) -> Response:
        order = own_order(request, order_id)
        required_key(request)
        validated(NothingSerializer(data=request.data))
        return _status(close_order(order.pk, Wish.START_OVER, by="shopper", asked_by=Asker.SHOPPER))


class CancelView(APIView):
    """POST: give the order up. 200 canceled; 202 while Stripe has not answered; idempotent by the order's state."""

    @extend_schema(
        operation_id="cancel_order",
        parameters=[KEY_PARAMETER],
        request=NothingSerializer,
        responses={200: OrderSerializer, 202: OrderSerializer, 404: PROBLEM, 409: PROBLEM},
    )
    def post(self, request: Request, order_id: str) -> Response:
        order = own_order(request, order_id, link_opens=False)
        required_key(request)
        validated(NothingSerializer(data=request.data))
        order = close_order(order.pk, Wish.CANCEL, by="shopper", asked_by=Asker.SHOPPER)
        if order.is_paid:
            raise Problem("order-already-paid", "This order is paid: the money was faster.", extra={"order": order.pk})
        answer = Response(order_json(order), status=200 if order.is_closed else 202)
        answer["Cache-Control"] = "no-store"
        if order.is_closed:
            nudge("orders.send_mails", order.pk)
        else:
            answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer


class RefundView(APIView):
    """POST: give money back. For staff with the permission; one refund per key, however often it is sent."""

    @extend_schema(
        operation_id="refund",
        parameters=[KEY_PARAMETER],
        request=RefundSerializer,
        responses={
            201: RefundAnswerSerializer,
            202: OpenApiResponse(RefundAnswerSerializer, "Stripe has not answered yet."),
            **dict.fromkeys((400, 403, 404, 409, 422, 503), PROBLEM),
        },
    )
    def post(self, request: Request, payment_id: str) -> Response:
        if not (request.user.is_staff and request.user.has_perm("payments.refund_payment")):
            raise Problem("forbidden", "Only staff who may give money back can do this.")
        if not is_fresh(django_request(request)):
            raise Problem("forbidden", "Show your second factor again: open /admin/second-factor/ and enter a code.")
        payment = get_object_or_404(Payment.objects.select_related("order"), pk=payment_id)
        key = required_key(request)
        sent = validated(RefundSerializer(data=request.data))
        _refuse_wrong_step(sent["amount"], payment.currency)
        digest = fingerprint("refund", payment.pk, body=dict(sent))
        replayed = Refund.objects.filter(payment=payment, idempotency_key=key, phase=Refund.Phase.FINISHED).exists()
        act = _act_of(django_request(request), payment)
        refund = refund_once(payment, Ask(key, digest, sent["amount"], sent["reason"], request.user.pk, act=act))
        nudge("orders.send_mails", payment.order_id)
        answer = _refund_answer(refund)
        if replayed:
            count_duplicate(2, payment.order_id, key)
            answer["Idempotent-Replayed"] = "true"
        return answer


def _refuse_wrong_step(amount_minor: int, currency: str) -> None:
    """Stripe: the last digit of an amount in a three-decimal currency must be 0."""
    if (wrong := wrong_step(amount_minor, currency)) != "":
        raise Problem("validation-failed", f"{wrong}.", extra={"errors": {"amount": [wrong]}})


def _act_of(request: HttpRequest, payment: Payment) -> Act:
    """A row for what moves; a key that comes again moves nothing, and is no act."""
    return Act(
        name="refund",
        who=who_asks(request),
        subject=f"payment {payment.n} of order {payment.order.number}",
        snapshot=lambda: money_snapshot(payment.order_id),
        order_id=payment.order_id,
        note="by the API",
        repeatable=True,
    )


def _refund_answer(refund: Refund) -> Response:
    body = {
        "id": refund.pk,
        "payment": refund.payment_id,
        "order": refund.payment.order_id,
        "amount": refund.amount_minor,
        "currency": refund.currency,
        "reason": refund.reason,
        "status": refund.outcome or "unknown",
    }
    unknown = refund.outcome in ("", "unknown")
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": str(RETRY_AFTER_SECONDS)} if unknown else {})
    return Response(body, status=202 if unknown else 201, headers=headers)
