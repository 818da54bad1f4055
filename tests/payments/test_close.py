"""Giving an order's payment up: cancel, start over. Stripe first, then the slot and the stock, once
(RULES R60, R61; DESIGN section 5, closing; FAILURES 13, 25, 49, 77, 89, 94, 95)."""

import datetime
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Mail, Order
from payments import cancellation, pay
from payments.errors import RowBusy
from payments.leases import take_lease
from payments.models import Asker, Attempt, Payment, PaymentEvent
from payments.reconciliation.recovery import ask_stripe, complete_due
from tests.book import CANCEL, Book
from tests.oracles import assert_books_agree
from tests.orders.making import minutes_ago
from tests.payments import paying
from tests.payments.paying import (
    at_stripe,
    cancel,
    confirms,
    intent_of,
    let_leases_end,
    placed_order,
    press,
    start_over,
    status_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

CHALLENGE = "pm_card_threeDSecure2Required"


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def cancel_keys(book: Book, order: Order) -> list[str]:
    """The m of each cancel key that Stripe saw, in order."""
    keys = [call["key"] for call in book.calls(order.pk, CANCEL)]
    assert all(key.startswith(f"test:cancel:{Payment.objects.get(order=order).pk}:") for key in keys)
    return [key.rsplit(":", 1)[1] for key in keys]


# --- cancel ----------------------------------------------------------------------------------------------------------


def test_cancel_before_anything_was_opened_asks_nobody(book: Book) -> None:
    order, client = placed_order(quantity=2)
    answer = cancel(client, order)
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert book.calls(order.pk) == []
    assert Mail.objects.get(order=order).kind == "canceled"
    assert problem(press(client, order)) == (409, "order-closed")
    assert_books_agree(book, order)


def test_cancel_of_an_opened_payment_cancels_at_stripe_first(book: Book) -> None:
    order, client = placed_order(quantity=2)
    pay.open_ahead(order.pk)
    assert cancel(client, order).status_code == 200
    assert [intent["status"] for intent in book.intents(order.pk)] == ["canceled"]
    assert [payment.phase for payment in Payment.objects.filter(order=order)] == ["canceled"]
    assert_books_agree(book, order)


def test_cancel_again_is_the_same_answer_and_moves_stock_once(book: Book) -> None:
    order, client = placed_order(quantity=2)
    pay.open_ahead(order.pk)
    first, second, third = cancel(client, order, "one"), cancel(client, order, "one"), cancel(client, order, "two")
    assert first.status_code == second.status_code == third.status_code == 200
    assert first.json() == second.json() == third.json()
    assert cancel_keys(book, order) == ["0"]
    assert Mail.objects.filter(order=order, kind="canceled").count() == 1
    assert order.lines.get().product.stock == 10
    assert_books_agree(book, order)


def test_cancel_while_stripe_is_down_is_202_and_the_completer_ends_it(book: Book) -> None:
    order, client = placed_order(quantity=2)
    pay.open_ahead(order.pk)
    book.rule("503", CANCEL, times=None)
    answer = cancel(client, order)
    assert (answer.status_code, answer.json()["status"], answer.headers["Retry-After"]) == (202, "pending", "2")
    assert order.lines.get().product.stock == 8  # held until Stripe has answered
    assert problem(press(client, order)) == (409, "payment-in-progress")
    assert status_of(client, order)["pay_key"] is None
    assert cancel(client, order).status_code == 202
    book.clear_rules()
    paying.complete(order)
    assert cancel(client, order).status_code == 200
    assert confirms(book, order) == []
    assert_books_agree(book, order)


def test_cancel_of_an_order_that_is_paid_is_refused(book: Book) -> None:
    order, client = placed_order()
    press(client, order)
    answer = cancel(client, order)
    assert problem(answer) == (409, "order-already-paid")
    assert answer.json()["retry"] == "no"
    assert book.calls(order.pk, CANCEL) == []
    assert_books_agree(book, order)


def test_cancel_when_stripe_was_faster_leaves_the_order_paid(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    answer = cancel(client, order)
    assert problem(answer) == (409, "order-already-paid")
    after = Order.objects.get(pk=order.pk)
    assert (after.status, after.closing_since, after.closing_reason) == ("paid", None, "")
    assert Mail.objects.filter(order=order, kind="canceled").count() == 0
    assert_books_agree(book, order)


def test_cancel_of_an_unknown_that_was_not_charged_ends_it(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    sent = len(confirms(book, order))
    assert cancel(client, order).status_code == 200
    assert Attempt.objects.get(order=order).outcome == "canceled"
    assert len(confirms(book, order)) == sent
    assert_books_agree(book, order)


def test_cancel_while_a_press_is_being_made_waits(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token=CHALLENGE)
    assert take_lease(Attempt.objects.get(order=order)) is not None  # somebody works on it
    answer = cancel(client, order)
    assert problem(answer) == (409, "request-in-progress")
    assert answer.headers["Retry-After"] == "2"
    assert Order.objects.get(pk=order.pk).closing_since is None
    assert book.calls(order.pk, CANCEL) == []
    let_leases_end(order)
    assert cancel(client, order).status_code == 200
    assert_books_agree(book, order)


def test_cancel_while_processing_waits_for_the_bank(book: Book) -> None:
    order, client = placed_order()
    book.rule("processing")
    press(client, order)
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    assert order.lines.get().product.stock == 9
    paying.complete(order)
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "pending"
    keys = cancel_keys(book, order)
    assert keys == [str(m) for m in range(len(keys))]  # a refused cancel is stored: each next one has a new key
    book.end_processing(intent_of(order), "fail")
    paying.complete(order)
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)


def test_cancel_while_processing_and_the_bank_says_yes_is_paid(book: Book) -> None:
    order, client = placed_order()
    book.rule("processing")
    press(client, order)
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    book.end_processing(intent_of(order), "succeed")
    paying.complete(order)
    after = Order.objects.get(pk=order.pk)
    assert (after.status, after.closing_reason) == ("paid", "")
    assert_books_agree(book, order)


def test_cancel_of_a_left_challenge(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token=CHALLENGE)
    assert cancel(client, order).status_code == 200
    assert book.intents(order.pk)[0]["status"] == "canceled"
    replay = press(client, order, order.pay_key, token=CHALLENGE)
    assert problem(replay) == (402, "payment-refused")
    assert_books_agree(book, order)


def test_a_canceled_intent_that_we_did_not_cancel_is_taken_for_canceled(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}/cancel")
    assert cancel(client, order).status_code == 200
    assert_books_agree(book, order)


def test_a_cancel_that_was_done_and_whose_answer_was_lost_is_asked_again(book: Book) -> None:
    order, client = placed_order(quantity=4)
    pay.open_ahead(order.pk)
    book.rule("reset", CANCEL, when="after", times=None)
    assert cancel(client, order).status_code == 202
    book.clear_rules()
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert order.lines.get().product.stock == 10
    assert set(cancel_keys(book, order)) == {"0"}
    assert_books_agree(book, order)


def test_a_settle_that_fails_after_the_cancel_is_made_up_for(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAILURES 25: canceled at Stripe, rolled back at home."""
    order, client = placed_order()
    pay.open_ahead(order.pk)
    with monkeypatch.context() as broken:
        broken.setattr(cancellation, "settle", lambda *_: (_ for _ in ()).throw(RowBusy(order.pk)))
        assert cancel(client, order).status_code == 202
    assert book.intents(order.pk)[0]["status"] == "canceled"
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)


def test_a_busy_row_is_no_500(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()

    def busy(*_: Any) -> bool:
        raise RowBusy(order.pk)

    monkeypatch.setattr(cancellation, "_commit_wish", busy)
    assert problem(cancel(client, order)) == (409, "request-in-progress")
    assert problem(start_over(client, order)) == (409, "request-in-progress")
    assert Order.objects.get(pk=order.pk).closing_since is None


# --- start over ------------------------------------------------------------------------------------------------------


def test_start_over_cancels_at_stripe_keeps_the_goods_and_gives_a_new_key(book: Book) -> None:
    order, client = placed_order(quantity=3)
    press(client, order, token=CHALLENGE)
    answer = start_over(client, order)
    body = answer.json()
    assert (answer.status_code, body["order_status"], body["payment_status"]) == (200, "pending", "canceled")
    assert body["pay_key"] not in (None, order.pay_key)
    assert order.lines.get().product.stock == 7
    paid = press(client, order, body["pay_key"])
    assert paid.status_code == 201
    assert [intent["status"] for intent in book.intents(order.pk)] == ["canceled", "succeeded"]
    assert_books_agree(book, order)


def test_a_challenge_passed_after_start_over_charges_nothing(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token=CHALLENGE)
    old = intent_of(order)
    start_over(client, order)
    with pytest.raises(Exception, match="409"):
        book.challenge(old, "pass")
    assert book.succeeded(order.pk) == []
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


def test_start_over_when_the_challenge_was_passed_is_paid(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token=CHALLENGE)
    book.challenge(intent_of(order), "pass")
    answer = start_over(client, order)
    assert (answer.status_code, answer.json()["order_status"]) == (200, "paid")
    assert_books_agree(book, order)


def test_start_over_with_nothing_to_give_up_changes_nothing(book: Book) -> None:
    order, client = placed_order()
    answer = start_over(client, order)
    assert (answer.status_code, answer.json()["pay_key"]) == (200, order.pay_key)
    assert book.calls(order.pk) == []
    assert Order.objects.get(pk=order.pk).closing_since is None


def test_start_over_while_stripe_is_down_is_finished_by_the_completer(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token=CHALLENGE)
    book.rule("503", CANCEL, times=None)
    body = start_over(client, order).json()
    assert (body["payment_status"], body["pay_key"]) == ("requires_action", None)
    book.clear_rules()
    paying.complete(order)
    assert status_of(client, order)["pay_key"] is not None
    assert press(client, order).status_code == 201
    assert_books_agree(book, order)


def test_start_over_of_a_paid_order_is_refused(book: Book) -> None:
    order, client = placed_order()
    press(client, order)
    assert problem(start_over(client, order)) == (409, "order-already-paid")


# --- nobody confirms while closing -----------------------------------------------------------------------------------


def test_a_press_that_was_claimed_before_the_wish_does_not_confirm_after_it(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    whole = pay._commit_confirming

    def paused_too_long(*arguments: Any) -> None:
        let_leases_end(order)
        cancellation.close_order(order.pk, cancellation.Wish.CANCEL, "shopper", Asker.SHOPPER)
        whole(*arguments)

    monkeypatch.setattr(pay, "_commit_confirming", paused_too_long)
    answer = press(client, order)
    assert problem(answer) == (402, "payment-refused")
    assert confirms(book, order) == []
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)


def test_an_unknown_is_not_confirmed_again_while_closing(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="before", times=None)
    press(client, order)
    sent = len(confirms(book, order))
    book.clear_rules()
    book.rule("503", CANCEL, times=None)
    assert cancel(client, order).status_code == 202
    for _ in range(2):
        paying.complete(order)
    assert press(client, order, order.pay_key).status_code in (202, 409)
    assert len(confirms(book, order)) == sent
    book.clear_rules()
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)


def test_the_story_says_who_wished_and_who_ended_it(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token=CHALLENGE)
    cancel(client, order)
    told = list(
        PaymentEvent.objects.filter(order=order).exclude(kind__startswith="call:").values_list("kind", "to_state")
    )
    assert told == [
        ("claimed", "started"),
        ("settled", "requires_action"),
        ("closing", "cancel"),
        ("order ended", "canceled"),
        ("settled", "canceled"),
    ]


# --- the ladder of a closing -----------------------------------------------------------------------------------------


def closing_while_processing(book: Book) -> tuple[Order, Any]:
    """The bank takes its time, so Stripe does not cancel, and nobody knows how long."""
    order, client = placed_order()
    book.rule("processing")
    press(client, order)
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    Attempt.objects.filter(order=order).update(next_look_at=minutes_ago(-600))  # only the closing is looked at
    return order, client


def only_closing_is_due(order: Order) -> None:
    Payment.objects.filter(order=order).update(next_look_at=minutes_ago(1))


def test_a_closing_that_stripe_does_not_end_is_asked_about_by_the_ladder(book: Book) -> None:
    order, _ = closing_while_processing(book)
    waits = []
    for _ in range(10):
        assert complete_due()[0] == 1
        payment = Payment.objects.get(order=order)
        assert payment.next_look_at is not None
        waits.append(round((payment.next_look_at - timezone.now()).total_seconds(), -1))
        assert complete_due() == (0, 0)  # and not again before its time
        only_closing_is_due(order)
    assert waits == [30, 60, 120, 300, 900, 3600, 21600, 86400, 86400, 86400]
    assert len(cancel_keys(book, order)) == 1 + 10


def test_a_closing_that_could_not_reach_stripe_does_not_climb(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("503", CANCEL, times=None)
    assert cancel(client, order).status_code == 202
    for _ in range(3):
        assert complete_due() == (1, 0)
        payment = Payment.objects.get(order=order)
        assert payment.looks == 0 and payment.next_look_at is not None
        assert payment.next_look_at - timezone.now() <= datetime.timedelta(seconds=10)
        only_closing_is_due(order)
    book.clear_rules()
    assert complete_due() == (1, 1)
    assert_books_agree(book, order)


def test_who_waits_for_a_closing_is_not_held_back_by_its_ladder_and_does_not_use_it_up(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("503", CANCEL, times=None)
    cancel(client, order)
    Payment.objects.filter(order=order).update(looks=7, next_look_at=minutes_ago(-600))
    ladder = Payment.objects.values_list("looks", "next_look_at").get(order=order)
    assert complete_due() == (0, 0)
    assert cancel(client, order).status_code == 202
    assert Payment.objects.values_list("looks", "next_look_at").get(order=order) == ladder
    book.clear_rules()
    assert cancel(client, order).status_code == 200
    assert_books_agree(book, order)


def test_a_closing_far_up_its_ladder_is_asked_about_at_once_when_the_bank_has_spoken(book: Book) -> None:
    order, _ = closing_while_processing(book)
    Payment.objects.filter(order=order).update(looks=7, next_look_at=minutes_ago(-600))
    book.end_processing(intent_of(order), "fail")
    ask_stripe(order, Asker.WEBHOOK)
    assert Attempt.objects.get(order=order).outcome == "declined"
    assert complete_due() == (1, 1)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)


def test_a_payment_left_closing_is_asked_about_by_the_ladder_too(book: Book) -> None:
    order, _ = placed_order()
    pay.open_ahead(order.pk)
    Payment.objects.filter(order=order).update(phase="closing")
    book.rule("503", CANCEL, times=None)
    assert complete_due() == (1, 0)
    assert complete_due() == (0, 0)
    only_closing_is_due(order)
    book.clear_rules()
    assert complete_due() == (1, 1)
    assert_books_agree(book, order)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancel_that_stripe_answered_with_a_500_may_have_been_done(book: Book, when: str) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("500", CANCEL, when=when)
    answer = cancel(client, order)
    assert answer.status_code == (200 if when == "after" else 202)
    paying.complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert_books_agree(book, order)
