"""Leases: the database's clock, one holder, a fencing number; a late writer writes nothing
(RULES R31, R32, R35, R36, R48-R55, R76; FAILURES 55, 62)."""

import datetime
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.db import connection, connections, transaction
from django.utils import timezone

from orders.models import Order
from payments import outcome as settle
from payments import pay
from payments.errors import RowBusy, StaleLease
from payments.intents import Finding
from payments.leases import Lease, end_lease, take_lease
from payments.models import Asker, Attempt, Outcome, Payment, PaymentEvent, Refund
from payments.reconciliation import recovery
from payments.reconciliation.recovery import complete_attempt, complete_due
from tests.book import Book
from tests.oracles import assert_books_agree
from tests.orders.making import make_attempt
from tests.payments.paying import ask_status, confirms, let_leases_end, placed_order, press
from tests.payments.planting import refund_row
from tests.races.crowd import at_once

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = datetime.timedelta(hours=1)


def an_attempt(**fields: Any) -> Attempt:
    order, _ = placed_order()
    return make_attempt(order, fields.pop("outcome", ""), **fields)


def rows() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Order, Payment, Attempt, PaymentEvent)]


# --- taking ----------------------------------------------------------------------------------------------------------


def test_a_lease_lasts_60_seconds_by_the_databases_clock() -> None:
    attempt = an_attempt()
    with time_machine.travel(timezone.now() + 5 * HOUR):
        lease = take_lease(attempt)
    assert lease == Lease(Attempt, attempt.pk, 1)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT locked_until - clock_timestamp() BETWEEN '55 s' AND '60 s' FROM payments_attempt WHERE id = %s",
            [attempt.pk],
        )
        assert cursor.fetchone() == (True,)


@pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def test_a_wrong_clock_of_ours_takes_no_running_lease_and_leaves_no_ended_one(skew: datetime.timedelta) -> None:
    running, ended = an_attempt(), an_attempt()
    assert take_lease(running) is not None
    let_leases_end(ended.order)
    with time_machine.travel(timezone.now() + skew):
        assert take_lease(running) is None
        assert take_lease(ended) is not None
        assert [attempt.lease_runs for attempt in Attempt.objects.with_lease_state()] == [True, True]


@pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def test_a_press_under_a_wrong_clock_keeps_its_lease_and_pays_once(book: Book, skew: datetime.timedelta) -> None:
    order, client = placed_order()
    with time_machine.travel(timezone.now() + skew):
        book.rule("409_in_use", times=None)
        assert press(client, order, order.pay_key).status_code == 409
        book.clear_rules()
        assert press(client, order, order.pay_key).status_code == 409  # the lease runs, whatever our clock says
        assert complete_due() == (0, 0)
    let_leases_end(order)
    with time_machine.travel(timezone.now() + skew / 60):
        assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


def test_of_twenty_takers_one_wins() -> None:
    attempt = an_attempt()
    together = threading.Barrier(20)

    def take(_: int) -> Lease | None:
        together.wait()
        try:
            return take_lease(attempt)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as takers:
        taken = [lease for lease in takers.map(take, range(20)) if lease is not None]
    assert taken == [Lease(Attempt, attempt.pk, 1)]
    assert Attempt.objects.get(pk=attempt.pk).lease_token == 1


@pytest.mark.parametrize("outcome", ["succeeded", "declined", "failed", "canceled", "released"])
def test_a_finished_attempt_is_nobodys(outcome: str) -> None:
    assert take_lease(an_attempt(outcome=outcome)) is None


def test_a_payment_that_is_over_is_nobodys() -> None:
    payment = an_attempt().payment
    assert take_lease(payment) is not None
    for phase in ("succeeded", "canceled", "abandoned"):
        Payment.objects.filter(pk=payment.pk).update(locked_until=None)
        payment = _another_payment(phase)
        assert take_lease(payment) is None


def _another_payment(phase: str) -> Payment:
    payment = an_attempt().payment
    Payment.objects.filter(pk=payment.pk).update(phase=phase)
    return payment


def test_a_lease_is_taken_only_at_the_token_that_was_seen() -> None:
    attempt = an_attempt()
    assert take_lease(attempt, only_token=7) is None
    assert take_lease(attempt, only_token=0) is not None


def test_only_the_holder_lets_go() -> None:
    attempt = an_attempt()
    old = take_lease(attempt)
    let_leases_end(attempt.order)
    new = take_lease(attempt)
    assert old is not None and new is not None
    end_lease(old)
    assert take_lease(attempt) is None
    end_lease(new)
    assert take_lease(attempt) is not None


# --- taking over what ran out ----------------------------------------------------------------------------------------


def take_overs(order: Order) -> list[tuple[str, str, str, bool]]:
    events = PaymentEvent.objects.filter(order=order, kind="taken over").order_by("id")
    return [(one.from_state, one.to_state, one.actor, one.attempt_id is not None) for one in events]


def test_a_lease_that_ran_out_is_told_of_who_held_it_until_when_and_who_took_it() -> None:
    attempt = an_attempt(held_by="shopper")
    ran_out = timezone.now() - HOUR
    Attempt.objects.filter(pk=attempt.pk).update(locked_until=ran_out)
    assert take_lease(attempt, asked_by=Asker.STAFF, actor="ada") == Lease(Attempt, attempt.pk, 1)
    event = PaymentEvent.objects.get()
    assert (event.order_id, event.payment_id, event.attempt_id) == (attempt.order_id, attempt.payment_id, attempt.pk)
    assert (event.kind, event.from_state, event.to_state) == ("taken over", "shopper", "staff")
    assert (event.asked_by, event.actor) == ("staff", "ada")
    assert event.note == f"it ran out at {ran_out:%Y-%m-%d %H:%M:%S} UTC"
    let_leases_end(attempt.order)
    take_lease(attempt, asked_by=Asker.SWEEP)
    assert take_overs(attempt.order) == [("shopper", "staff", "ada", True), ("staff", "sweep", "", True)]


def test_a_lease_that_runs_or_was_let_go_is_no_take_over() -> None:
    attempt = an_attempt()
    lease = take_lease(attempt)
    assert lease is not None and take_lease(attempt) is None
    end_lease(lease)
    assert take_lease(attempt) is not None
    assert take_overs(attempt.order) == []


def test_a_payment_s_and_a_refund_s_lease_are_told_in_the_order_s_story() -> None:
    payment = an_attempt().payment
    refund = refund_row(
        payment=payment, idempotency_key="k", fingerprint="", amount_minor=1, currency="GBP", reason="duplicate"
    )
    past = timezone.now() - HOUR
    Payment.objects.update(locked_until=past, held_by="webhook")
    Refund.objects.update(locked_until=past, held_by="staff")
    assert take_lease(payment) and take_lease(refund)
    for event, held_by in zip(PaymentEvent.objects.order_by("id"), ["webhook", "staff"], strict=True):
        assert (event.order_id, event.payment_id, event.attempt) == (payment.order_id, payment.pk, None)
        assert event.from_state == held_by


def test_of_twenty_takers_of_a_lease_that_ran_out_one_is_told_of() -> None:
    attempt = an_attempt(held_by="shopper", locked_until=timezone.now() - HOUR)
    taken = [lease for lease in at_once(20, lambda _: take_lease(attempt), connected=False) if lease is not None]
    assert taken == [Lease(Attempt, attempt.pk, 1)]
    assert take_overs(attempt.order) == [("shopper", "completer", "", True)]


def test_whoever_waited_for_a_holder_that_let_go_takes_over_nothing() -> None:
    """The row as it is once the wait is over decides, not as it was before."""
    attempt = an_attempt(held_by="shopper", locked_until=timezone.now() - HOUR)
    with ThreadPoolExecutor(1) as taker:
        with transaction.atomic():
            Attempt.objects.filter(pk=attempt.pk).update(locked_until=None, lease_token=7)
            taking = taker.submit(_take_and_close, attempt)
            _wait_until_somebody_waits()
        assert taking.result(30) == Lease(Attempt, attempt.pk, 8)
    assert take_overs(attempt.order) == []


def _take_and_close(attempt: Attempt) -> Lease | None:
    try:
        return take_lease(attempt)
    finally:
        connections.close_all()


def _wait_until_somebody_waits() -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_a_press_whose_holder_died_before_it_sent_anything_is_taken_over_by_its_own_key(book: Book) -> None:
    order, client = placed_order()
    book.rule("503", "/v1/payment_intents", times=None)
    key = order.pay_key
    press(client, order, key)
    book.clear_rules()
    Attempt.objects.filter(order=order).update(
        phase="started", outcome="", locked_until=timezone.now() - HOUR, held_by="shopper"
    )
    assert press(client, order, key).status_code == 201
    assert take_overs(order) == [("shopper", "shopper", "", True)]
    assert_books_agree(book, order)


def test_a_usual_press_takes_nothing_over(book: Book) -> None:
    order, client = placed_order()
    assert press(client, order).status_code == 201
    assert Attempt.objects.get(order=order).held_by == "shopper"
    assert take_overs(order) == []


# --- a stale writer --------------------------------------------------------------------------------------------------

FINDINGS = {
    "declined": Finding(outcome=Outcome.DECLINED, reason="declined"),
    "failed": Finding(outcome=Outcome.FAILED, reason="refused"),
    "released": Finding(outcome=Outcome.RELEASED),
    "unknown": Finding(outcome=Outcome.UNKNOWN),
}


@pytest.mark.parametrize("what", FINDINGS)
def test_a_stale_writer_writes_nothing(what: str) -> None:
    attempt = an_attempt()
    old = take_lease(attempt)
    let_leases_end(attempt.order)
    new = take_lease(attempt)
    assert old is not None and new is not None
    before = rows()
    with pytest.raises(StaleLease):
        settle.settle(attempt.payment, old, FINDINGS[what], Asker.COMPLETER)
    with pytest.raises(StaleLease):
        settle.settle(attempt.payment, None, FINDINGS[what], Asker.WEBHOOK)
    assert rows() == before
    assert settle.settle(attempt.payment, new, FINDINGS[what], Asker.COMPLETER) is not None
    assert Attempt.objects.get(pk=attempt.pk).outcome == what


def test_a_writer_whose_attempt_is_finished_writes_nothing() -> None:
    attempt = an_attempt()
    lease = take_lease(attempt)
    assert lease is not None
    settle.settle(attempt.payment, lease, FINDINGS["declined"], Asker.COMPLETER)
    before = rows()
    token = Attempt.objects.get(pk=attempt.pk).lease_token
    with pytest.raises(StaleLease):
        settle.settle(attempt.payment, Lease(Attempt, attempt.pk, token), FINDINGS["unknown"], Asker.COMPLETER)
    assert rows() == before


def test_a_holder_that_was_overtaken_does_not_confirm(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """R51, R60: what comes before `confirming` took too long; somebody released the attempt meanwhile."""
    order, client = placed_order()
    whole = pay.open_payment

    def slow(*arguments: Any) -> Payment:
        payment = whole(*arguments)
        let_leases_end(order)
        complete_due()
        return payment

    monkeypatch.setattr(pay, "open_payment", slow)
    answer = press(client, order, order.pay_key)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert confirms(book, order) == []
    monkeypatch.undo()
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


# --- taking over -----------------------------------------------------------------------------------------------------


def test_a_take_over_sends_the_stored_parameters_byte_for_byte(book: Book, settings: Any) -> None:
    order, client = placed_order()
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    settings.BASE_URL = "https://moved.example"
    Order.objects.filter(pk=order.pk).update(email="other@example.com")
    let_leases_end(order)
    complete_due()
    sent = [(call["key"], call["params"]) for call in confirms(book, order)]
    assert len(sent) == 5
    assert [one for one in sent if one != sent[0]] == []
    assert sent[0][1]["return_url"].startswith("http://127.0.0.1")
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert_books_agree(book, order)


def test_a_row_that_is_busy_when_the_answer_comes_is_202_not_500(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()

    def busy(*_: Any) -> None:
        raise RowBusy(order.pk)

    with monkeypatch.context() as stuck:
        stuck.setattr(pay, "settle", busy)
        answer = press(client, order, order.pay_key)
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    let_leases_end(order)
    complete_due()
    assert press(client, order, order.pay_key).status_code == 201
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_a_row_that_is_busy_before_the_confirm_is_409_and_nothing_is_sent(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, client = placed_order()

    def busy(*_: Any) -> None:
        raise RowBusy(order.pk)

    with monkeypatch.context() as stuck:
        stuck.setattr(pay, "_commit_confirming", busy)
        answer = press(client, order, order.pay_key)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/request-in-progress")
    assert confirms(book, order) == []
    let_leases_end(order)
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


def test_a_row_that_is_busy_when_the_shopper_asks_is_no_500(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()

    def busy(*_: Any) -> None:
        raise RowBusy(order.pk)

    with monkeypatch.context() as stuck:
        stuck.setattr(recovery, "settle", busy)
        assert ask_status(client, order)["payment_status"] == "unknown"


def test_an_error_of_ours_after_the_charge_keeps_the_record_and_the_same_key_gets_its_201(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R31, FAILURES 35: our own 500 never means that nothing happened."""
    order, client = placed_order()

    def broken(*_: Any) -> None:
        raise ValueError("cannot be written")

    with monkeypatch.context() as bug:
        bug.setattr(pay, "settle", broken)
        answer = press(client, order, order.pay_key)
    assert (answer.status_code, answer.json()["retry"]) == (500, "same-key")
    assert Attempt.objects.get(order=order).phase == "confirming"
    assert press(client, order, order.pay_key).status_code == 409
    let_leases_end(order)
    assert press(client, order, order.pay_key).status_code == 201
    assert len(book.charges(order.pk)) == 1
    assert_books_agree(book, order)


def test_the_outcome_is_written_whole_or_not_at_all(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """R36: attempt, payment, order, mail, story and stored answer are one transaction."""
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    before = rows()

    def torn(*_: Any) -> None:
        raise ValueError("torn")

    with monkeypatch.context() as bug:
        bug.setattr(settle, "_tell", torn)
        let_leases_end(order)
        with pytest.raises(ValueError, match="torn"):
            complete_attempt(Attempt.objects.get(order=order).pk, Asker.COMPLETER)
    now = rows()
    assert now[0] == before[0]
    assert now[1] == before[1]
    assert now[3] == before[3]
    assert order.mails.count() == 0
    assert Attempt.objects.get(order=order).outcome == "unknown"
    let_leases_end(order)
    complete_due()
    assert_books_agree(book, order)
    assert Order.objects.get(pk=order.pk).status == "paid"
