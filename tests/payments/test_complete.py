"""The completer: it finishes what dead processes and lost answers left, and every unknown ends in something definite
(RULES R25, R53, R86, R88, R90; crash points C5, C7, C10-C15; FAILURES 26, 34, 46, 52, 74)."""

import datetime
import json
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from orders.models import Order
from payments import cancellation, intents, pay
from payments.cancellation import Wish, expire_due
from payments.errors import RowBusy
from payments.leases import take_lease
from payments.models import Asker, Attempt, Break, Outcome, Payment, PaymentEvent, Refund, WebhookEvent
from payments.outcome import settle
from payments.reconciliation import recovery
from payments.reconciliation.recovery import complete_attempt, complete_due, due_attempts
from payments.refund import Ask, claim_refund
from payments.row_lock import give_back_connections
from tests.book import CANCEL, CREATE, Book
from tests.crashes.dying import in_background, wait_for_waiters
from tests.oracles import assert_books_agree
from tests.payments import paying
from tests.payments.paying import (
    ask_status,
    at_stripe,
    clicked,
    confirms,
    intent_of,
    let_leases_end,
    placed_order,
    press,
    status_of,
)
from tests.payments.planting import whole_database

pytestmark = pytest.mark.django_db(transaction=True)

LOST_AFTER: dict[str, Any] = {"act": "reset", "when": "after", "times": None}
LOST_BEFORE: dict[str, Any] = {"act": "reset", "when": "before", "times": None}


def unknown_order(book: Book, rule: dict[str, Any], token: str = "pm_card_visa") -> tuple[Order, Any]:
    """An order whose press has come to nothing that we know."""
    order, client = placed_order()
    book.rule(**rule)
    assert press(client, order, token=token).status_code == 202
    book.clear_rules()
    return order, client


def outcome(order: Order) -> str:
    return Attempt.objects.filter(order=order).order_by("-number").values_list("outcome", flat=True)[0]


# --- what a dead process left ----------------------------------------------------------------------------------------


def died_started(order: Order, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5: claimed, and the process is gone before anything was sent."""
    with monkeypatch.context() as dying:
        dying.setattr(pay, "open_payment", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            press(client, order)


def died_confirming(order: Order, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """C11: `confirming` is committed, and the process is gone before it sent the confirm."""
    with monkeypatch.context() as dying:
        dying.setattr(pay, "send_confirm", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            press(client, order)


def test_a_press_that_was_only_started_is_released_not_continued(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()
    died_started(order, client, monkeypatch)
    assert complete_due() == (0, 0)  # its lease runs
    assert paying.complete(order) == (1, 1)
    assert outcome(order) == "released"
    assert confirms(book, order) == []
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


def test_a_retry_of_a_press_that_was_only_started_claims_it_again(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()
    died_started(order, client, monkeypatch)
    assert press(client, order, order.pay_key).status_code == 409
    let_leases_end(order)
    assert press(client, order, order.pay_key).status_code == 201
    assert Attempt.objects.filter(order=order).count() == 1
    assert_books_agree(book, order)


def test_confirming_without_a_confirm_is_confirmed_once(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()
    died_confirming(order, client, monkeypatch)
    assert paying.complete(order) == (1, 1)
    assert outcome(order) == "succeeded"
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_confirming_for_longer_than_ten_minutes_is_canceled_not_confirmed(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, client = placed_order()
    died_confirming(order, client, monkeypatch)
    clicked(order, datetime.timedelta(minutes=11))
    paying.complete(order)
    assert outcome(order) == "canceled"
    assert confirms(book, order) == []
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


# --- an unknown outcome ----------------------------------------------------------------------------------------------


def test_an_unknown_that_was_charged_is_found_paid(book: Book) -> None:
    order, client = unknown_order(book, LOST_AFTER)
    assert paying.complete(order) == (1, 1)
    assert status_of(client, order)["order_status"] == "paid"
    told = PaymentEvent.objects.filter(order=order, kind="settled", to_state="succeeded").get()
    assert (told.from_state, told.asked_by) == ("unknown", "completer")
    assert paying.complete(order) == (0, 0)
    assert_books_agree(book, order)


def test_an_unknown_whose_webhook_and_completer_both_come_is_settled_once(book: Book) -> None:
    order, client = unknown_order(book, LOST_AFTER)
    ask_status(client, order)
    paying.complete(order)
    ask_status(client, order)
    assert PaymentEvent.objects.filter(order=order, kind="settled", to_state="succeeded").count() == 1
    assert_books_agree(book, order)


def test_looks_that_cannot_reach_stripe_do_not_climb_the_ladder(book: Book) -> None:
    order, _ = unknown_order(book, LOST_BEFORE)
    before = Attempt.objects.get(order=order).looks
    book.rule("503", "/v1/payment_intents/*", method="*", times=None)
    for _ in range(3):
        paying.complete(order)
    attempt = Attempt.objects.get(order=order)
    assert (attempt.outcome, attempt.looks) == ("unknown", before)
    assert attempt.next_look_at is not None
    assert attempt.next_look_at - timezone.now() <= datetime.timedelta(seconds=10)
    book.clear_rules()
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert_books_agree(book, order)


def test_looks_that_reach_stripe_climb_the_ladder(book: Book) -> None:
    order, client = placed_order()
    book.rule("processing")
    press(client, order)
    waits = []
    for _ in range(3):
        paying.complete(order)
        attempt = Attempt.objects.get(order=order)
        assert attempt.next_look_at is not None and attempt.looked_at is not None
        waits.append(round((attempt.next_look_at - attempt.looked_at).total_seconds()))
    assert waits == [30, 60, 120]
    assert due_attempts() == []


def test_an_unknown_after_ten_minutes_ends_in_a_cancel_and_the_slot_is_free(book: Book) -> None:
    order, client = unknown_order(book, LOST_BEFORE)
    sent = len(confirms(book, order))
    clicked(order, datetime.timedelta(minutes=11))
    paying.complete(order)
    assert outcome(order) == "canceled"
    assert len(confirms(book, order)) == sent
    after = Order.objects.get(pk=order.pk)
    assert (after.status, after.pay_key != order.pay_key) == ("pending", True)
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


def test_an_unknown_after_ten_minutes_that_was_charged_is_paid_not_canceled(book: Book) -> None:
    order, _ = unknown_order(book, LOST_AFTER)
    clicked(order, datetime.timedelta(hours=3))
    paying.complete(order)
    assert outcome(order) == "succeeded"
    assert book.calls(order.pk, CANCEL) == []
    assert_books_agree(book, order)


def test_charged_between_the_last_look_and_the_cancel_is_paid(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, _ = unknown_order(book, LOST_BEFORE)
    clicked(order, datetime.timedelta(minutes=11))
    whole = pay.commit_payment_closing

    def charged_just_now(payment: Payment) -> None:
        whole(payment)
        late = {"payment_method": "pm_card_visa", "return_url": "https://x.test"}
        at_stripe(f"payment_intents/{payment.intent_id}/confirm", **late)

    monkeypatch.setattr(pay, "commit_payment_closing", charged_just_now)
    paying.complete(order)
    assert outcome(order) == "succeeded"
    assert_books_agree(book, order)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stored_500_is_never_confirmed_again(book: Book, when: str) -> None:
    order, _ = unknown_order(book, {"act": "500", "when": when})
    paying.complete(order)
    assert outcome(order) == ("canceled" if when == "before" else "succeeded")
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_a_cancel_that_is_lost_is_sent_again_until_it_is_answered(book: Book) -> None:
    order, client = unknown_order(book, {"act": "500", "when": "before"})
    book.rule("503", CANCEL, times=None)
    paying.complete(order)
    assert (outcome(order), Payment.objects.get(order=order).phase) == ("unknown", "closing")
    assert status_of(client, order)["pay_key"] is None
    book.clear_rules()
    paying.complete(order)
    assert outcome(order) == "canceled"
    assert {call["key"] for call in book.calls(order.pk, CANCEL)} == {
        f"test:cancel:{Payment.objects.get(order=order).pk}:0"
    }
    assert_books_agree(book, order)


def test_a_key_in_use_leaves_it_unknown(book: Book) -> None:
    order, _ = unknown_order(book, LOST_BEFORE)
    book.rule("409_in_use", times=None)
    paying.complete(order)
    assert outcome(order) == "unknown"
    book.clear_rules()
    paying.complete(order)
    assert outcome(order) == "succeeded"
    assert_books_agree(book, order)


# --- 3-D Secure ------------------------------------------------------------------------------------------------------


def challenged_order(token: str = "pm_card_threeDSecure2Required") -> tuple[Order, Any]:
    order, client = placed_order()
    assert press(client, order, token=token).json()["status"] == "requires_action"
    return order, client


def test_once_seen_in_requires_action_it_is_never_confirmed_again(book: Book) -> None:
    order, _ = challenged_order()
    for ago in (0, 5, 11, 29):
        clicked(order, datetime.timedelta(minutes=ago))
        paying.complete(order)
    assert outcome(order) == "requires_action"
    assert len(confirms(book, order)) == 1
    book.challenge(intent_of(order), "fail")
    paying.complete(order)
    assert outcome(order) == "declined"
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_a_challenge_nobody_finishes_is_canceled_after_action_life(book: Book) -> None:
    order, client = challenged_order()
    clicked(order, datetime.timedelta(minutes=31))
    paying.complete(order)
    assert outcome(order) == "canceled"
    assert status_of(client, order)["pay_key"] is not None
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


def test_a_look_comes_when_action_life_ends_whatever_the_ladder_says(book: Book) -> None:
    order, _ = challenged_order()
    Attempt.objects.filter(order=order).update(looks=7)
    paying.complete(order)
    attempt = Attempt.objects.get(order=order)
    assert attempt.next_look_at == attempt.claimed_at + datetime.timedelta(minutes=30)


def test_a_payment_left_closing_by_a_lost_cancel_is_ended_after_its_attempt_was(book: Book) -> None:
    """The bank said no while we could not cancel: nobody would come back to the payment, and nobody could pay."""
    order, client = challenged_order()
    clicked(order, datetime.timedelta(minutes=31))
    book.rule("503", CANCEL, times=None)
    paying.complete(order)
    assert Payment.objects.get(order=order).phase == "closing"
    book.clear_rules()
    book.challenge(intent_of(order), "fail")
    assert ask_status(client, order)["payment_status"] == "declined"
    assert press(client, order).status_code == 409
    assert paying.complete(order) == (1, 1)
    assert Payment.objects.get(order=order).phase == "canceled"
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


# --- a batch ---------------------------------------------------------------------------------------------------------


def test_one_attempt_that_cannot_be_finished_does_not_keep_the_others_waiting(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = unknown_order(book, LOST_AFTER)[0], unknown_order(book, LOST_AFTER)[0]
    whole = pay.find_out

    def first_one_breaks(attempt: Attempt, *rest: Any) -> Any:
        if attempt.order_id == first.pk:
            raise RowBusy(first.pk)
        return whole(attempt, *rest)

    monkeypatch.setattr(recovery, "find_out", first_one_breaks)
    let_leases_end(first)
    let_leases_end(second)
    assert complete_due() == (2, 1)
    assert (outcome(first), outcome(second)) == ("unknown", "succeeded")
    monkeypatch.undo()
    paying.complete(first)
    assert_books_agree(book, first, second)


def test_killed_in_the_middle_of_a_batch_and_run_again(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [unknown_order(book, LOST_AFTER)[0] for _ in range(3)]
    whole = settle
    settled: list[str] = []

    def dies_after_one(payment: Payment, *rest: Any) -> Any:
        if settled:
            raise KeyboardInterrupt
        settled.append(payment.pk)
        return whole(payment, *rest)

    for order in orders:
        let_leases_end(order)
    with monkeypatch.context() as dying:
        dying.setattr(recovery, "settle", dies_after_one)
        with pytest.raises(KeyboardInterrupt):
            complete_due()
    assert [outcome(order) for order in orders].count("succeeded") == 1
    for order in orders:
        let_leases_end(order)
    complete_due()
    assert [outcome(order) for order in orders] == ["succeeded"] * 3
    assert_books_agree(book, *orders)


def test_two_completers_at_once_are_harmless(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, _ = unknown_order(book, LOST_AFTER)
    whole = intents.look_at_intent
    rivals: list[Attempt | None] = []

    def meanwhile_another(*arguments: Any) -> Any:
        rivals.append(complete_attempt(Attempt.objects.get(order=order).pk, Asker.COMPLETER))
        give_back_connections()
        return whole(*arguments)

    monkeypatch.setattr(pay, "look_at_intent", meanwhile_another)
    assert paying.complete(order) == (1, 1)
    assert rivals == [None]
    assert_books_agree(book, order)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_a_wish_to_close_that_comes_just_before_the_lease_stops_the_confirm(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, _ = unknown_order(book, LOST_BEFORE)
    sent = len(confirms(book, order))
    whole = take_lease

    def cancels_first(row: Any, *rest: Any, **named: Any) -> Any:
        monkeypatch.setattr(recovery, "take_lease", whole)
        assert cancellation._commit_wish(order.pk, Wish.CANCEL, "shopper", Asker.SHOPPER)
        return whole(row, *rest, **named)

    monkeypatch.setattr(recovery, "take_lease", cancels_first)
    paying.complete(order)
    assert len(confirms(book, order)) == sent
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert book.succeeded(order.pk) == []
    assert_books_agree(book, order)


def test_nobody_takes_the_lease_while_a_wish_to_close_is_being_committed(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its holder would read an order that is not closing, and confirm beside the cancel."""
    order, _ = unknown_order(book, LOST_BEFORE)
    let_leases_end(order)
    attempt = Attempt.objects.get(order=order)
    whole = PaymentEvent.objects.create
    taking: list[Any] = []

    def rival_comes(**columns: Any) -> PaymentEvent:
        taking.append(in_background(take_lease, attempt))
        wait_for_waiters(1, seconds=5)
        return whole(**columns)

    monkeypatch.setattr(PaymentEvent.objects, "create", rival_comes)
    assert cancellation._commit_wish(order.pk, Wish.CANCEL, "shopper", Asker.SHOPPER)
    assert taking[0].result(30) is not None
    monkeypatch.undo()
    assert Order.objects.get(pk=order.pk).is_closing
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)


def test_a_closing_whose_process_died_is_finished(book: Book) -> None:
    order, _ = unknown_order(book, LOST_BEFORE)
    let_leases_end(order)
    assert cancellation._commit_wish(order.pk, Wish.CANCEL, "shopper", Asker.SHOPPER)  # and here it dies
    assert Order.objects.get(pk=order.pk).status == "pending"
    paying.complete(order)
    after = Order.objects.get(pk=order.pk)
    assert (after.status, after.closing_since, outcome(order)) == ("canceled", None, "canceled")
    assert_books_agree(book, order)


def test_a_closing_of_an_intent_whose_id_we_never_heard_learns_it_first(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", CREATE, when="after", times=None)
    press(client, order)
    book.clear_rules()
    assert cancellation._commit_wish(order.pk, Wish.CANCEL, "shopper", Asker.SHOPPER)
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert [intent["status"] for intent in book.intents(order.pk)] == ["canceled"]
    assert_books_agree(book, order)


# --- expiry ----------------------------------------------------------------------------------------------------------


def overdue(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(expires_at=timezone.now() - datetime.timedelta(minutes=1))


def test_an_order_expires_stripe_first_and_its_stock_comes_back_once(book: Book) -> None:
    order, client = placed_order(quantity=3)
    pay.open_ahead(order.pk)
    assert expire_due() == 0  # its hold is not over
    overdue(order)
    assert expire_due() == 1
    assert expire_due() == 0
    assert Order.objects.get(pk=order.pk).status == "expired"
    assert [intent["status"] for intent in book.intents(order.pk)] == ["canceled"]
    late = press(client, order)
    assert (late.status_code, late.json()["type"]) == (409, "/problems/order-closed")
    assert book.succeeded(order.pk) == []
    assert_books_agree(book, order)


def test_an_order_with_a_live_attempt_does_not_expire(book: Book) -> None:
    order, _ = unknown_order(book, LOST_AFTER)
    overdue(order)
    assert expire_due() == 0
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "paid"
    overdue(order)
    assert expire_due() == 0
    assert_books_agree(book, order)


def test_an_expiry_that_stripe_does_not_answer_is_finished_later(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    overdue(order)
    book.rule("503", CANCEL, times=None)
    assert expire_due() == 1
    assert Order.objects.get(pk=order.pk).status == "pending"
    assert press(client, order).status_code == 409
    assert order.lines.get().product.stock == 9  # held until Stripe has answered
    book.clear_rules()
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "expired"
    assert_books_agree(book, order)


def test_expire_orders_says_what_it_did(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    order, _ = placed_order()
    overdue(order)
    call_command("expire_orders", "--json")
    assert json.loads(capsys.readouterr().out) == {"checked": 1, "changed": 1, "breaks": []}
    assert book.calls(order.pk) == []  # nothing was ever sent: nothing is to be canceled
    assert_books_agree(book, order)


# --- manage.py reconcile_payments ------------------------------------------------------------------------------------


def reconcile(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Its exit code and what it says with --json."""
    with pytest.raises(SystemExit) as exit_:
        call_command("reconcile_payments", "--json", *options)
    out = capsys.readouterr().out
    return int(str(exit_.value.code)), json.loads(out) if out else {}


def due(**counts: int) -> dict[str, int]:
    """What was due by kind, none of the others."""
    return dict.fromkeys(["attempts", "closings", "payments", "refunds", "events"], 0) | counts


def test_reconcile_payments_finds_out_and_is_clean(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    order, _ = unknown_order(book, LOST_AFTER)
    let_leases_end(order)
    one, none = due(attempts=1, expiries=0), due(expiries=0)
    assert reconcile(capsys, "--dry-run") == (0, {"checked": 1, "changed": 0, "breaks": [], "due": one})
    assert outcome(order) == "unknown"
    assert reconcile(capsys) == (0, {"checked": 1, "changed": 1, "breaks": [], "due": one})
    assert reconcile(capsys) == (0, {"checked": 0, "changed": 0, "breaks": [], "due": none})
    assert_books_agree(book, order)


def test_reconcile_payments_of_one_order_leaves_the_others(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    mine, other = unknown_order(book, LOST_AFTER)[0], unknown_order(book, LOST_AFTER)[0]
    let_leases_end(mine)
    let_leases_end(other)
    said = {"checked": 1, "changed": 1, "breaks": [], "due": due(attempts=1)}
    assert reconcile(capsys, "--order", mine.pk) == (0, said)
    assert (outcome(mine), outcome(other)) == ("succeeded", "unknown")


def test_reconcile_payments_between_two_moments(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = unknown_order(book, LOST_AFTER)[0], unknown_order(book, LOST_AFTER)[0]
    clicked(old, datetime.timedelta(hours=2))
    let_leases_end(old)
    let_leases_end(new)
    an_hour_ago = (timezone.now() - datetime.timedelta(hours=1)).isoformat()
    assert reconcile(capsys, "--until", an_hour_ago, "--dry-run")[1]["checked"] == 1
    said = {"checked": 1, "changed": 1, "breaks": [], "due": due(attempts=1)}
    assert reconcile(capsys, "--since", an_hour_ago) == (0, said)
    assert (outcome(old), outcome(new)) == ("unknown", "succeeded")


def died_closing(order: Order) -> None:
    """The wish is committed, and the process is gone before it asked Stripe."""
    assert cancellation._commit_wish(order.pk, Wish.CANCEL, "shopper", Asker.SHOPPER)


def died_refunding(order: Order) -> Refund:
    payment = Payment.objects.get(order=order)
    ask = Ask(key="r", fingerprint="x", amount_minor=100, reason="requested_by_customer", actor_id=None)
    row, _ = claim_refund(payment, ask)
    Refund.objects.filter(pk=row.pk).update(locked_until=None)
    return row


def left_closing_by(order: Order) -> None:
    """Its cancel was never answered, and its attempt has ended by itself since."""
    pay.open_ahead(order.pk)
    Payment.objects.filter(order=order).update(phase="closing")


def stored_event(order: Order, **fields: Any) -> WebhookEvent:
    defaults = {
        "event_id": f"evt_{order.pk}",
        "type": "payment_intent.succeeded",
        "intent_id": intent_of(order),
        "metadata": {"order": order.pk, "env": "test"},
        "created_at_gateway": timezone.now(),
        "next_try_at": timezone.now() + datetime.timedelta(hours=1),  # far up its ladder
    }
    return WebhookEvent.objects.create(**defaults | fields)


@pytest.mark.parametrize("narrowed", ["order", "since"])
def test_reconcile_payments_finishes_everything_that_is_open_of_the_chosen(
    book: Book, capsys: pytest.CaptureFixture[str], narrowed: str
) -> None:
    began = timezone.now().isoformat()
    closing, left, refunding, heard = (placed_order() for _ in range(4))
    pay.open_ahead(closing[0].pk)
    died_closing(closing[0])
    left_closing_by(left[0])
    assert press(refunding[1], refunding[0]).status_code == 201
    refund = died_refunding(refunding[0])
    assert press(heard[1], heard[0]).status_code == 201
    stored_event(heard[0])
    by_order = [
        (closing[0], due(closings=1)),
        (left[0], due(payments=1)),
        (refunding[0], due(refunds=1)),
        (heard[0], due(events=1)),
    ]
    if narrowed == "order":
        for order, found in by_order:
            assert reconcile(capsys, "--order", order.pk, "--dry-run")[1]["due"] == found
            code, said = reconcile(capsys, "--order", order.pk)
            assert (code, said["due"], said["checked"], said["changed"]) == (0, found, 1, 1)
            assert reconcile(capsys, "--order", order.pk)[1]["due"] == due()
    else:
        found = due(closings=1, payments=1, refunds=1, events=1)
        assert reconcile(capsys, "--since", began, "--dry-run")[1]["due"] == found
        assert reconcile(capsys, "--until", began, "--dry-run")[1]["due"] == due()
        code, said = reconcile(capsys, "--since", began)
        assert (code, said["due"], said["checked"], said["changed"]) == (0, found, 4, 4)
    assert Order.objects.get(pk=closing[0].pk).status == "canceled"
    assert Payment.objects.get(order=left[0]).phase == "canceled"
    assert Refund.objects.get(pk=refund.pk).outcome == "succeeded"
    assert WebhookEvent.objects.get().state == "done"


def test_reconcile_payments_says_what_is_due_of_everything_and_writes_nothing(
    book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    closing, overdue_one, paid = placed_order()[0], placed_order()[0], placed_order()
    died_closing(closing)
    overdue(overdue_one)
    press(paid[1], paid[0])
    died_refunding(paid[0])
    stored_event(paid[0], next_try_at=timezone.now())
    before = whole_database()
    said = {"checked": 4, "changed": 0, "breaks": [], "due": due(closings=1, refunds=1, events=1, expiries=1)}
    assert reconcile(capsys, "--dry-run") == (0, said)
    assert whole_database() == before


def test_one_chosen_row_that_cannot_be_finished_does_not_keep_the_others(
    book: Book, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = placed_order()[0], placed_order()[0]
    for order in (first, second):
        pay.open_ahead(order.pk)
        died_closing(order)
    whole = cancellation.finish_closing

    def first_one_breaks(order_id: str, *rest: Any) -> None:
        if order_id == first.pk:
            raise RowBusy(order_id)
        whole(order_id, *rest)

    monkeypatch.setattr(recovery, "finish_closing", first_one_breaks)
    code, said = reconcile(capsys, "--since", "2026-01-01T00:00:00Z")
    assert (code, said["due"], said["changed"]) == (0, due(closings=2), 1)
    assert Order.objects.get(pk=second.pk).status == "canceled"


@pytest.mark.parametrize("moment", ["yesterday", "2026-11-24", "2026-11-24T10:00:00"])
def test_reconcile_payments_refuses_an_unclear_moment_with_exit_2(moment: str) -> None:
    with pytest.raises(CommandError, match="with its zone") as error:
        call_command("reconcile_payments", "--since", moment)
    assert error.value.returncode == 2


def test_reconcile_payments_exits_1_while_a_break_is_open(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}", amount=777)
    press(client, order)
    let_leases_end(order)
    code, said = reconcile(capsys)
    assert code == 1
    assert [{**found, "age_seconds": 0} for found in said["breaks"]] == [
        {
            "kind": "amount",
            "order": order.pk,
            "payment": Payment.objects.get(order=order).pk,
            "intent": intent_of(order),
            "amount": 777,
            "currency": "GBP",
            "age_seconds": 0,
        }
    ]
    assert Break.objects.count() == 1


def test_reconcile_payments_exits_2_when_the_database_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(recovery, "due_attempts", gone)
    assert reconcile(capsys) == (2, {})


def test_leases_of_others_are_left_alone(book: Book) -> None:
    order, _ = unknown_order(book, LOST_AFTER)
    attempt = Attempt.objects.get(order=order)
    lease = take_lease(attempt)
    assert lease is not None
    assert complete_attempt(attempt.pk, Asker.COMPLETER) is None
    assert outcome(order) == Outcome.UNKNOWN


def test_a_page_that_polls_does_not_use_up_the_completers_ladder(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    for _ in range(12):
        Attempt.objects.update(looked_at=None)
        assert ask_status(client, order)["payment_status"] == "requires_action"
    attempt = Attempt.objects.get(order=order)
    assert attempt.looks == 0
    assert attempt.next_look_at is not None
    assert attempt.next_look_at - timezone.now() <= settings.LOOK_LADDER[0]
    Attempt.objects.update(next_look_at=None)
    complete_due(Asker.COMPLETER)
    assert Attempt.objects.get(order=order).looks == 1
