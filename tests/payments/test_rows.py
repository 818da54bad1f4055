"""Layer 3 by plain SQL: what the database refuses whatever our code does, each by a name that reads as a sentence
(DESIGN section 4; RULES R35, R41-R43; SECURITY SE50; FAILURES 14, 17, 19, 50)."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from orders.models import Order
from payments import outcome as settle
from payments import pay
from payments.breaks import raise_break
from payments.errors import NothingSent, StaleLease
from payments.gateways.transport import Deadline
from payments.intents import Finding
from payments.leases import Lease, take_lease
from payments.models import (
    Asker,
    Attempt,
    Break,
    Outcome,
    Payment,
    PaymentEvent,
    Refund,
    WebhookEvent,
    attempt_id,
    create_key,
)
from payments.reconciliation.recovery import complete_due
from shop.ids import new_id
from tests.book import Book
from tests.orders.making import make_attempt
from tests.payments.paying import confirms, let_leases_end, placed_order, press
from tests.payments.planting import change_total, no_triggers, refund_row

pytestmark = pytest.mark.django_db(transaction=True)


def an_order() -> Order:
    """Bare: no goods, no cart. What the database refuses does not depend on them."""
    return Order.objects.create(
        principal="guest:x",
        idempotency_key=new_id(),
        fingerprint="x",
        cart_version="x",
        total_minor=1250,
        currency="GBP",
        lines_digest="x",
        expires_at=timezone.now() + timedelta(minutes=30),
    )


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@contextmanager
def refused_by(name: str) -> Iterator[None]:
    """The database says no, and its words name the guarantee."""
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        yield


def a_payment(order: Order, n: int = 1, **fields: Any) -> Payment:
    defaults = {"id": new_id(), "idempotency_key": create_key(order.pk, n), "create_params": {}}
    amounts = {"amount_minor": order.total_minor, "currency": order.currency}
    return Payment.objects.create(order=order, n=n, **defaults | amounts | fields)


# --- unique ----------------------------------------------------------------------------------------------------------

DEAD = ("declined", "failed", "canceled", "released")
LIVE = ("", "unknown", "requires_action", "processing", "succeeded")


def test_two_live_attempts_of_one_order_are_refused() -> None:
    for first, second in itertools.product(LIVE, LIVE):
        order = an_order()
        make_attempt(order, first)
        with refused_by("one_live_attempt_per_order"):
            make_attempt(order, second)
    for dead in DEAD:
        order = an_order()
        make_attempt(order, dead)
        make_attempt(order, "")
        assert order.attempts.count() == 2


def test_a_dead_attempt_cannot_come_to_life_beside_a_live_one() -> None:
    order = an_order()
    released = make_attempt(order, "released")
    make_attempt(order, "unknown")
    with refused_by("one_live_attempt_per_order"):
        sql("UPDATE payments_attempt SET phase = 'started', outcome = '' WHERE id = %s", released.pk)


def test_one_attempt_per_key_and_number_and_charge() -> None:
    order, other = an_order(), an_order()
    make_attempt(order, "declined", idempotency_key="k", charge_id="ch_1")
    with refused_by("one_attempt_per_key"):
        make_attempt(order, "", idempotency_key="k")
    with refused_by("attempts_of_an_order_are_numbered"):
        make_attempt(order, "", number=1, id=attempt_id(order.pk, 2))
    with refused_by("one_attempt_per_charge"):
        make_attempt(order, "", charge_id="ch_1")
    assert make_attempt(other, "", idempotency_key="k").order == other


def test_one_payment_per_order_until_it_is_canceled_or_abandoned() -> None:
    for phase in ("opening", "open", "closing", "succeeded"):
        order = an_order()
        a_payment(order, phase=phase)
        with refused_by("one_payment_per_order"):
            a_payment(order, 2)
    for over in ("canceled", "abandoned"):
        order = an_order()
        a_payment(order, phase=over)
        a_payment(order, 2)
        with refused_by("payments_of_an_order_are_numbered"):
            a_payment(order, 1, phase="canceled", idempotency_key="another")


def test_an_intent_a_charge_and_a_gateway_key_belong_to_one_payment() -> None:
    first, second = an_order(), an_order()
    a_payment(first, intent_id="pi_1", charge_id="ch_1", idempotency_key="test:create:x:1")
    with refused_by("one_payment_per_intent"):
        a_payment(second, intent_id="pi_1")
    with refused_by("one_payment_per_charge"):
        a_payment(second, charge_id="ch_1")
    with refused_by("idempotency_key"):
        a_payment(second, idempotency_key="test:create:x:1")
    assert Payment.objects.filter(order=second).count() == 0


def test_one_row_per_webhook_event_and_one_open_break_per_finding() -> None:
    now = timezone.now()
    event = {"event_id": "evt_1", "type": "charge.succeeded", "created_at_gateway": now, "next_try_at": now}
    WebhookEvent.objects.create(**event)
    with refused_by("one_row_per_webhook_event"):
        WebhookEvent.objects.create(**event)
    raise_break(Break.Kind.AMOUNT, "pi_1", None, None, 1, {})
    raise_break(Break.Kind.AMOUNT, "pi_1", None, None, 2, {})
    assert Break.objects.get().amount_minor == 1
    Break.objects.update(resolved_at=now)
    raise_break(Break.Kind.AMOUNT, "pi_1", None, None, 3, {})
    assert Break.objects.count() == 2


def test_one_refund_per_key_and_gateway_refund() -> None:
    payment = a_payment(an_order())
    refund: dict[str, Any] = {
        "payment": payment,
        "fingerprint": "x",
        "amount_minor": 1,
        "currency": "GBP",
        "reason": "duplicate",
    }
    refund_row(**refund, idempotency_key="k", refund_id="re_1")
    with refused_by("one_refund_per_key"):
        refund_row(**refund, idempotency_key="k")
    with refused_by("one_refund_per_gateway_refund"):
        refund_row(**refund, idempotency_key="l", refund_id="re_1")


# --- amounts ---------------------------------------------------------------------------------------------------------


def test_amounts_that_cannot_be() -> None:
    order = an_order()
    with refused_by("payment_amount_is_positive"):
        a_payment(order, amount_minor=0)
    payment = a_payment(order, amount_minor=1000)
    with refused_by("captured_at_most_amount"):
        sql("UPDATE payments_payment SET captured_minor = 1001 WHERE id = %s", payment.pk)
    sql("UPDATE payments_payment SET captured_minor = 1000 WHERE id = %s", payment.pk)
    with refused_by("refunded_at_most_captured"):
        sql("UPDATE payments_payment SET refunded_minor = 1001 WHERE id = %s", payment.pk)
    with no_triggers() as cursor, refused_by("order_total_is_positive"):
        cursor.execute("UPDATE orders_order SET total_minor = 0 WHERE id = %s", [order.pk])


def test_paid_means_captured_is_the_total(book: Book) -> None:
    """Asserted in settle's transaction: an order whose total was tampered with is not paid by another amount."""
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    change_total(order, total_minor=order.total_minor + 1)
    let_leases_end(order)
    assert complete_due() == (1, 0)
    assert Order.objects.get(pk=order.pk).status == "pending"
    assert Payment.objects.get(order=order).phase == "open"
    assert Attempt.objects.get(order=order).outcome == "unknown"
    change_total(order, total_minor=order.total_minor - 1)
    let_leases_end(order)
    assert complete_due() == (1, 1)
    assert Order.objects.get(pk=order.pk).status == "paid"


# --- phases ----------------------------------------------------------------------------------------------------------

PHASES = ("started", "confirming", "finished")
OUTCOMES = ("", "requires_action", "processing", "unknown", "succeeded", "declined", "failed", "canceled", "released")
ENDS = OUTCOMES[4:]


def test_finished_and_only_finished_means_an_end_is_known() -> None:
    for phase, outcome in itertools.product(PHASES, OUTCOMES):
        order = an_order()
        if (phase == "finished") == (outcome in ENDS):
            make_attempt(order, outcome, phase=phase)
        else:
            with refused_by("finished_means_an_end_is_known"):
                make_attempt(order, outcome, phase=phase)


def test_of_every_pair_of_attempt_phases_none_leaves_a_final_one() -> None:
    for was, becomes in itertools.product(ENDS[:-1], OUTCOMES):
        if was == becomes:
            continue
        attempt = make_attempt(an_order(), was)
        phase = "finished" if becomes in ENDS else "confirming"
        with refused_by("is final"):
            sql("UPDATE payments_attempt SET phase = %s, outcome = %s WHERE id = %s", phase, becomes, attempt.pk)
        assert Attempt.objects.get(pk=attempt.pk).outcome == was


PAYMENT_PHASES = ("opening", "open", "closing", "succeeded", "canceled", "abandoned")


def test_of_every_pair_of_payment_phases_none_leaves_a_final_one() -> None:
    for was, becomes in itertools.product(PAYMENT_PHASES[3:], PAYMENT_PHASES):
        if was == becomes:
            continue
        payment = a_payment(an_order(), phase=was)
        with refused_by("payments_payment.phase of .* is final"):
            sql("UPDATE payments_payment SET phase = %s WHERE id = %s", becomes, payment.pk)


@pytest.mark.parametrize("phase", PHASES)
def test_only_started_becomes_confirming(book: Book, phase: str) -> None:
    """Every pair, by our own conditional UPDATE: confirming and finished are not confirmed again."""
    order = an_order()
    pay.open_ahead(order.pk)
    attempt = make_attempt(order, "declined" if phase == "finished" else "", phase=phase)
    claimed = pay.Claimed(attempt, Lease(Attempt, attempt.pk, attempt.lease_token), press=True)
    payment = Payment.objects.get(order=order)
    if phase == "started":
        pay._commit_confirming(claimed, payment)
    else:
        with pytest.raises(StaleLease):
            pay._commit_confirming(claimed, payment)
    assert Attempt.objects.get(pk=attempt.pk).phase == ("confirming" if phase == "started" else phase)
    assert confirms(book, order) == []


@pytest.mark.parametrize("phase", PAYMENT_PHASES)
def test_only_an_opening_payment_is_opened_or_abandoned_and_only_an_open_one_confirmed(book: Book, phase: str) -> None:
    order = an_order()
    payment = a_payment(order, phase=phase)
    attempt = make_attempt(order, "", phase="started")
    claimed = pay.Claimed(attempt, Lease(Attempt, attempt.pk, 0), press=True)
    if phase == "open":
        pay._commit_confirming(claimed, payment)
    else:
        with pytest.raises(StaleLease):
            pay._commit_confirming(claimed, payment)
    lease = take_lease(payment)
    assert (lease is None) == (phase in ("succeeded", "canceled", "abandoned"))
    if lease is not None and phase != "opening":
        before = Payment.objects.filter(pk=payment.pk).values("phase", "intent_id").get()
        with pytest.raises(NothingSent):
            pay._create_intent(payment, lease, Deadline(5), [])
        assert Payment.objects.filter(pk=payment.pk).values("phase", "intent_id").get() == before
        assert {call["path"] for call in book.calls()} <= {"/v1/account"}


# --- frozen, append-only ---------------------------------------------------------------------------------------------


def test_what_ended_is_frozen(book: Book) -> None:
    order, client = placed_order()
    press(client, order)
    attempt, payment = Attempt.objects.get(order=order), Payment.objects.get(order=order)
    frozen = {
        "payments_attempt": ("outcome = 'declined'", "number = 7", "charge_id = 'ch_x'", "confirm_params = '{}'"),
        "payments_payment": (
            "captured_minor = 0",
            "amount_minor = 1",
            "currency = 'EUR'",
            "intent_id = 'pi_x'",
            "charge_id = NULL",
            "idempotency_key = 'x'",
            "create_params = '{}'",
        ),
    }
    for table, changes in frozen.items():
        for change in changes:
            with refused_by("is final"):
                sql(f"UPDATE {table} SET {change}")
    with refused_by("stored answer of attempt .* is final"):
        sql("UPDATE payments_attempt SET answer_body = 'other'")
    assert list(Attempt.objects.filter(pk=attempt.pk).values()) == list(Attempt.objects.filter(order=order).values())
    payment.refresh_from_db()
    assert payment.captured_minor == order.total_minor


def test_money_rows_are_never_deleted(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    press(client, order)
    payment = Payment.objects.get(order=order)
    refund: dict[str, Any] = {
        "payment": payment,
        "fingerprint": "x",
        "amount_minor": 1,
        "currency": "GBP",
        "reason": "duplicate",
    }
    refund_row(**refund, idempotency_key="k")
    counts = [model.objects.count() for model in (Attempt, Payment, Refund, PaymentEvent)]
    with refused_by("append-only: no DELETE"):
        sql("DELETE FROM payments_paymentevent")
    with refused_by("append-only: no UPDATE"):
        sql("UPDATE payments_paymentevent SET note = 'x'")
    with refused_by("append-only"):
        PaymentEvent.objects.filter(order=order).update(note="x")
    for table in ("payments_refund", "payments_attempt", "payments_payment"):
        with refused_by("never deleted"):
            sql(f"DELETE FROM {table}")
    assert [model.objects.count() for model in (Attempt, Payment, Refund, PaymentEvent)] == counts
    assert counts == [2, 1, 1, PaymentEvent.objects.count()]


def test_a_paid_order_is_not_unpaid_by_a_late_no(book: Book) -> None:
    """FAILURES 17, 67: a decline that comes after the money changes no row."""
    order, client = placed_order()
    press(client, order)
    attempt = Attempt.objects.get(order=order)
    before = [list(Attempt.objects.values()), list(Payment.objects.values()), list(Order.objects.values())]
    for lease in (Lease(Attempt, attempt.pk, attempt.lease_token), None):
        with pytest.raises(StaleLease):
            settle.settle(attempt.payment, lease, Finding(outcome=Outcome.DECLINED), Asker.WEBHOOK)
    assert [list(Attempt.objects.values()), list(Payment.objects.values()), list(Order.objects.values())] == before
