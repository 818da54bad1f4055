"""The outcome table, row by row: what Stripe's answer makes of the attempt, the order, the key and the shopper's answer
(RULES R24-R29, R63, R88; FAILURES 41, 43, 44, 46, 49, 52)."""

import datetime
from typing import Any

import pytest
import stripe as sdk

from orders.models import Order
from payments import pay
from payments.errors import NothingSent
from payments.gateways.base import gateway
from payments.gateways.stripe import _may_try_again
from payments.gateways.transport import Deadline, Transport
from payments.models import Attempt, Break, Payment, attempt_id
from payments.responses import REASONS
from payments.row_lock import give_back_connections
from shop.stack.ports import free_port
from tests.book import CANCEL, CREATE, Book
from tests.oracles import assert_books_agree
from tests.payments.paying import (
    Told,
    ask_status,
    at_stripe,
    clicked,
    complete,
    confirms,
    intent_of,
    let_leases_end,
    placed_order,
    posts,
    press,
    status_of,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)

PAID = Told("succeeded", 201, None, None, None, "paid", False, 1)
RELEASED = Told("released", 503, "unavailable", "same-key", "2", "pending", True, 0)
UNKNOWN = Told("unknown", 202, None, None, "2", "pending", False, 0)
UNKNOWN_BUT_CHARGED = UNKNOWN._replace(charges=1)


# --- succeeded, requires_action, processing --------------------------------------------------------------------------


def test_succeeded(book: Book) -> None:
    order, client = placed_order()
    answer = press(client, order)
    assert told(answer, order, book) == PAID
    assert answer.headers["Location"] == f"/api/orders/{order.pk}/payment-status/"
    assert_books_agree(book, order)


def test_requires_action_and_then_passed(book: Book) -> None:
    order, client = placed_order()
    answer = press(client, order, token="pm_card_threeDSecure2Required")
    assert told(answer, order, book) == Told("requires_action", 202, None, None, "2", "pending", False, 0)
    action = answer.json()["next_action"]
    assert (action["type"], set(action)) == ("redirect_to_url", {"type", "url", "client_secret"})
    book.challenge(intent_of(order), "pass")
    assert ask_status(client, order)["payment_status"] == "succeeded"
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


def test_requires_action_and_then_failed_is_declined(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    book.challenge(intent_of(order), "fail")
    status = ask_status(client, order)
    assert (status["payment_status"], status["reason"]) == ("declined", "authentication-failed")
    assert status["pay_key"] not in (None, order.pay_key)
    assert book.succeeded(order.pk) == []
    assert told(press(client, order), Order.objects.get(pk=order.pk), book) == PAID
    assert_books_agree(book, order)


def test_requires_action_is_read_live_and_never_confirmed_again(book: Book) -> None:
    order, client = placed_order()
    first = press(client, order, token="pm_card_threeDSecure2Required")
    let_leases_end(order)
    again = press(client, order, order.pay_key, token="pm_card_threeDSecure2Required")
    assert (again.status_code, again.json()["next_action"]) == (202, first.json()["next_action"])
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


@pytest.mark.parametrize(("word", "status"), [("succeed", "succeeded"), ("fail", "declined")])
def test_processing_waits_for_the_banks_late_word(book: Book, word: str, status: str) -> None:
    order, client = placed_order()
    book.rule("processing")
    answer = press(client, order)
    assert told(answer, order, book) == Told("processing", 202, None, None, "2", "pending", False, 0)
    assert answer.json()["next_action"] is None
    other = press(client, order, "another-key")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/payment-in-progress")
    complete(order)
    assert Attempt.objects.get(order=order).outcome == "processing"
    book.end_processing(intent_of(order), word)
    assert ask_status(client, order)["payment_status"] == status
    assert len(confirms(book, order)) == 1
    assert_books_agree(book, order)


# --- declined --------------------------------------------------------------------------------------------------------

DECLINES = [
    ("pm_card_chargeDeclined", "declined"),
    ("pm_card_chargeDeclinedInsufficientFunds", "insufficient-funds"),
    ("pm_card_chargeDeclinedLostCard", "declined"),
    ("pm_card_chargeDeclinedStolenCard", "declined"),
    ("pm_card_chargeDeclinedFraudulent", "declined"),
    ("pm_card_chargeDeclinedVelocityLimitExceeded", "declined"),
    ("pm_card_chargeDeclinedExpiredCard", "expired-card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect-security-code"),
    ("pm_card_chargeDeclinedProcessingError", "try-again"),
]


def test_declined_says_our_reason_and_never_stripes(book: Book) -> None:
    for token, reason in DECLINES:
        order, client = placed_order()
        answer = press(client, order, token=token)
        assert told(answer, order, book) == Told("declined", 402, "card-declined", "new-key", None, "pending", True, 0)
        assert answer.json()["reason"] == reason
        assert answer.json()["detail"] == "You were not charged. " + REASONS[reason]
        assert answer.json()["pay_key"] == Order.objects.get(pk=order.pk).pay_key
        attempt = Attempt.objects.get(order=order)
        assert attempt.decline_code
        for for_staff_only in ("lost", "stolen", "fraud", "velocity", "card_declined", str(attempt.charge_id)):
            assert for_staff_only not in answer.content.decode()
        assert_books_agree(book, order)


def test_a_late_duplicate_of_a_decline_gets_its_402_and_charges_nothing(book: Book) -> None:
    order, client = placed_order()
    declined = press(client, order, order.pay_key, token="pm_card_chargeDeclined")
    paid = press(client, order)
    late = press(client, order, order.pay_key, token="pm_card_chargeDeclined")
    assert (declined.status_code, paid.status_code, late.status_code) == (402, 201, 402)
    assert late.content == declined.content
    assert len(confirms(book, order)) == 2
    assert_books_agree(book, order)


def test_a_lost_decline_is_found_out_by_the_same_confirm(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    assert told(press(client, order, token="pm_card_chargeDeclined"), order, book) == UNKNOWN
    book.clear_rules()
    complete(order)
    assert Attempt.objects.get(order=order).outcome == "declined"
    assert len(book.charges(order.pk)) == 1
    assert told(press(client, order), Order.objects.get(pk=order.pk), book) == PAID
    assert_books_agree(book, order)


# --- released: nothing was sent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["429", "lock_timeout", "401"])
def test_refused_before_it_ran_is_released_and_the_same_key_pays(book: Book, act: str) -> None:
    order, client = placed_order()
    book.rule(act, times=None)
    answer = press(client, order, order.pay_key)
    assert told(answer, order, book) == RELEASED
    assert "Nothing was sent" in answer.json()["detail"]
    book.clear_rules()
    assert press(client, order, order.pay_key).status_code == 201
    assert {call["key"] for call in confirms(book, order)} == {f"test:confirm:{attempt_id(order.pk, 1)}"}
    assert_books_agree(book, order)


@pytest.mark.parametrize("opened", [False, True], ids=["before-the-create", "before-the-confirm"])
def test_stripe_refuses_connections_nothing_was_sent(book: Book, no_stripe: Any, opened: bool) -> None:
    order, client = placed_order()
    if opened:
        no_stripe()
        pay.open_ahead(order.pk)
    before = len(posts(book, order))
    with pytest.MonkeyPatch.context() as patch:
        _nobody_listens(patch, since_call=1)
        assert told(press(client, order, order.pay_key), order, book) == RELEASED
    assert len(posts(book, order)) == before
    no_stripe()
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


def test_released_and_then_another_body_is_refused(book: Book) -> None:
    order, client = placed_order()
    book.rule("429", times=None)
    press(client, order, order.pay_key)
    book.clear_rules()
    other = press(client, order, order.pay_key, token="pm_card_mastercard")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert book.succeeded(order.pk) == []


def test_released_frees_the_order_for_the_next_key(book: Book) -> None:
    order, client = placed_order()
    book.rule("429", times=None)
    press(client, order, order.pay_key)
    book.clear_rules()
    assert press(client, order).status_code == 201
    late = press(client, order, order.pay_key)
    assert (late.status_code, late.json()["type"]) == (409, "/problems/order-already-paid")
    assert_books_agree(book, order)


# --- unknown: it may have arrived ------------------------------------------------------------------------------------

LOST_AFTER = [
    {"act": "reset", "when": "after"},
    {"act": "hang", "when": "after"},
    {"act": "drip", "when": "after", "seconds": 0.2},
    {"act": "500", "when": "after"},
    {"act": "502", "when": "after"},
    {"act": "503", "when": "after"},
]
LOST_BEFORE = [
    {"act": "reset", "when": "before"},
    {"act": "hang", "when": "before", "lock": False},
    {"act": "502", "when": "before"},
    {"act": "503", "when": "before"},
]


def _name(rule: dict[str, Any]) -> str:
    return f"{rule['act']}-{rule['when']}"


@pytest.mark.parametrize("rule", LOST_AFTER, ids=_name)
def test_charged_and_the_answer_lost_is_unknown_until_stripe_is_asked(
    book: Book, short_confirm: None, rule: dict[str, Any]
) -> None:
    order, client = placed_order()
    book.rule(**rule, times=None)
    answer = press(client, order)
    assert told(answer, order, book) == UNKNOWN_BUT_CHARGED
    assert b"fail" not in answer.content
    assert status_of(client, order)["pay_key"] is None
    book.clear_rules()
    assert ask_status(client, order)["payment_status"] == "succeeded"
    assert_books_agree(book, order)


@pytest.mark.parametrize("rule", LOST_BEFORE, ids=_name)
def test_not_charged_and_the_answer_lost_looks_the_same_and_is_confirmed_again(
    book: Book, short_confirm: None, rule: dict[str, Any]
) -> None:
    order, client = placed_order()
    book.rule(**rule, times=None)
    answer = press(client, order)
    assert told(answer, order, book) == UNKNOWN
    assert b"fail" not in answer.content
    book.clear_rules()
    # Silence proves nothing, and a look confirms nothing.
    assert ask_status(client, order)["payment_status"] == "unknown"
    assert book.succeeded(order.pk) == []
    complete(order)
    assert len({call["key"] for call in confirms(book, order)}) == 1
    assert status_of(client, order)["payment_status"] == "succeeded"
    assert_books_agree(book, order)


def test_a_stored_500_without_effect_is_canceled_at_once(book: Book) -> None:
    order, client = placed_order()
    book.rule("500", when="before")
    assert told(press(client, order), order, book) == UNKNOWN
    sent = len(confirms(book, order))
    complete(order)
    attempt = Attempt.objects.get(order=order)
    assert (attempt.outcome, attempt.payment.phase) == ("canceled", "canceled")
    assert len(confirms(book, order)) == sent == 1
    assert told(press(client, order), Order.objects.get(pk=order.pk), book)[:2] == ("succeeded", 201)
    assert Payment.objects.filter(order=order).count() == 2
    assert_books_agree(book, order)


def test_the_same_key_while_unknown_finds_out_and_never_fails(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order, order.pay_key)
    book.clear_rules()
    assert press(client, order, order.pay_key).status_code == 201
    assert len(book.charges(order.pk)) == 1
    assert_books_agree(book, order)


def test_another_key_while_unknown_makes_no_call(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    calls = len(book.calls(order.pk))
    other = press(client, order, "another-key", token="pm_card_mastercard")
    assert told(other, order, book) == Told("unknown", 409, "payment-in-progress", "same-key", "2", "pending", False, 1)
    assert other.json()["status_url"] == f"/api/orders/{order.pk}/payment-status/"
    assert len(book.calls(order.pk)) == calls
    assert Attempt.objects.filter(order=order).count() == 1


def test_lost_once_and_then_answered_is_paid_in_the_same_request(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after")
    assert told(press(client, order), order, book) == PAID
    assert [call["replayed"] for call in confirms(book, order)] == [False, True]
    assert_books_agree(book, order)


# --- a press is judged by its most doubtful try ----------------------------------------------------------------------


@pytest.mark.parametrize("refusal", ["429", "401", "lock_timeout"])
def test_lost_and_then_refused_is_unknown_not_released(book: Book, refusal: str) -> None:
    order, client = placed_order()
    book.rule("reset", when="after")
    book.rule(refusal, times=None)
    assert told(press(client, order), order, book) == UNKNOWN_BUT_CHARGED
    book.clear_rules()
    assert ask_status(client, order)["payment_status"] == "succeeded"
    assert_books_agree(book, order)


def test_lost_and_then_connections_refused_is_unknown_not_released(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("reset", when="after")
    _nobody_listens(monkeypatch, since_call=2)
    assert told(press(client, order), order, book) == UNKNOWN_BUT_CHARGED
    monkeypatch.undo()
    complete(order)
    assert_books_agree(book, order)
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_an_unknown_stays_unknown_whatever_refuses_a_later_try(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    book.rule("429", times=None)
    complete(order)
    assert Attempt.objects.get(order=order).outcome == "unknown"
    book.clear_rules()
    complete(order)
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert_books_agree(book, order)


def _nobody_listens(monkeypatch: pytest.MonkeyPatch, since_call: int) -> None:
    """From this exchange on, connections to Stripe are refused."""
    whole = Transport.exchange
    port, calls = free_port(), 0

    def exchange(self: Transport, method: str, url: str, *rest: Any) -> Any:
        nonlocal calls
        calls += 1
        path = "/" + url.split("/", 3)[3]
        return whole(self, method, url if calls < since_call else f"http://127.0.0.1:{port}{path}", *rest)

    monkeypatch.setattr(Transport, "exchange", exchange)


# --- create: it cannot charge, so nothing about it is unknown --------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"act": "reset", "when": "after"},
        {"act": "reset", "when": "before"},
        {"act": "hang", "when": "after"},
        {"act": "429"},
        {"act": "lock_timeout"},
        {"act": "401"},
        {"act": "409_in_use"},
        {"act": "502", "when": "after"},
        {"act": "500", "when": "before"},
        {"act": "500", "when": "after"},
    ],
    ids=lambda rule: f"{rule['act']}-{rule.get('when', 'before')}",
)
def test_a_create_without_an_intent_releases_the_press(book: Book, short_create: None, rule: dict[str, Any]) -> None:
    order, client = placed_order()
    book.rule(path=CREATE, times=None, **rule)
    assert told(press(client, order, order.pay_key), order, book) == RELEASED
    assert confirms(book, order) == []
    book.clear_rules()
    assert press(client, order, order.pay_key).status_code == 201
    confirmable = [i for i in book.intents(order.pk) if i["status"] != "requires_payment_method"]
    assert len(confirmable) == 1
    assert_books_agree(book, order)


def test_a_create_that_is_inside_already_is_waited_for(book: Book) -> None:
    order, client = placed_order()
    book.rule("409_in_use", CREATE, times=2)
    assert told(press(client, order), order, book) == PAID
    assert len(book.intents(order.pk)) == 1
    assert_books_agree(book, order)


def test_a_create_whose_answer_was_lost_is_replayed_under_its_key(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", CREATE, when="after", times=None)
    press(client, order, order.pay_key)
    book.clear_rules()
    assert press(client, order, order.pay_key).status_code == 201
    assert len(book.intents(order.pk)) == 1
    assert {call["key"] for call in book.calls(order.pk, CREATE)} == {f"test:create:{order.pk}:1"}
    assert_books_agree(book, order)


# --- a key in use, a key used otherwise, another state ---------------------------------------------------------------


def test_a_confirm_that_is_inside_already_changes_nothing(book: Book) -> None:
    order, client = placed_order()
    book.rule("409_in_use", times=None)
    answer = press(client, order, order.pay_key)
    assert told(answer, order, book) == Told(
        "confirming", 409, "request-in-progress", "same-key", "2", "pending", False, 0
    )
    book.clear_rules()
    again = press(client, order, order.pay_key)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/request-in-progress")
    let_leases_end(order)
    assert press(client, order, order.pay_key).status_code == 201
    assert_books_agree(book, order)


def test_a_confirm_that_is_inside_once_is_tried_again(book: Book) -> None:
    order, client = placed_order()
    book.rule("409_in_use", times=3)
    assert told(press(client, order), order, book) == PAID
    assert_books_agree(book, order)


def test_a_confirm_key_used_otherwise_ends_in_a_cancel_and_the_next_payment(book: Book) -> None:
    order, client = placed_order()
    key = f"test:confirm:{attempt_id(order.pk, 1)}"
    at_stripe("payment_intents", key, amount=5000, currency="gbp")  # another call of ours was made under this key
    assert told(press(client, order), order, book) == UNKNOWN
    assert Attempt.objects.get(order=order).outcome == "unknown"
    complete(order)
    assert Attempt.objects.get(order=order).outcome == "canceled"
    assert told(press(client, order), Order.objects.get(pk=order.pk), book)[:2] == ("succeeded", 201)
    assert_books_agree(book, order)


def test_an_intent_that_was_confirmed_elsewhere_pays_this_press(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}/confirm", payment_method="pm_card_visa", return_url="https://x.test")
    assert told(press(client, order), order, book) == PAID
    assert_books_agree(book, order)


def test_an_intent_that_was_canceled_elsewhere_frees_the_order(book: Book) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}/cancel")
    answer = press(client, order)
    assert told(answer, order, book) == Told("canceled", 402, "payment-refused", "new-key", None, "pending", True, 0)
    assert told(press(client, order), Order.objects.get(pk=order.pk), book) == PAID
    assert [p.phase for p in Payment.objects.filter(order=order).order_by("n")] == ["canceled", "succeeded"]
    assert_books_agree(book, order)


# --- 400 -------------------------------------------------------------------------------------------------------------


def test_an_unknown_payment_method_asks_for_the_card_again(book: Book) -> None:
    order, client = placed_order()
    answer = press(client, order, token="pm_1nowhere")
    assert told(answer, order, book) == Told(
        "failed", 402, "payment-token-invalid", "new-key", None, "pending", True, 0
    )
    assert answer.json()["reason"] == "details-not-usable"
    assert told(press(client, order), Order.objects.get(pk=order.pk), book) == PAID
    assert_books_agree(book, order)


def test_a_confirmation_token_that_was_used_asks_for_the_card_again(book: Book) -> None:
    (first, first_client), (second, second_client) = placed_order(), placed_order()
    token = at_stripe("test_helpers/confirmation_tokens", payment_method="pm_card_visa")["id"]
    assert press(first_client, first, token=token).status_code == 201
    answer = press(second_client, second, token=token)
    assert told(answer, second, book) == Told(
        "failed", 402, "payment-token-invalid", "new-key", None, "pending", True, 0
    )
    assert_books_agree(book, first, second)


def test_a_payment_method_that_was_used_asks_for_the_card_again(book: Book) -> None:
    (first, first_client), (second, second_client) = placed_order(), placed_order()
    card: dict[str, Any] = {
        "card[number]": "4242424242424242",
        "card[exp_month]": 12,
        "card[exp_year]": 2035,
        "card[cvc]": "123",
    }
    method = at_stripe("payment_methods", type="card", **card)["id"]
    assert press(first_client, first, token=method).status_code == 201
    answer = press(second_client, second, token=method)
    assert (answer.status_code, answer.json()["type"]) == (402, "/problems/payment-token-invalid")
    assert_books_agree(book, first, second)


def test_any_other_400_is_refused_for_good(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, client = placed_order()
    monkeypatch.setattr(pay, "_confirm_params", lambda order, token: {"payment_method": token})  # no return_url
    answer = press(client, order)
    assert told(answer, order, book) == Told("failed", 402, "payment-refused", "new-key", None, "pending", True, 0)
    assert answer.json()["reason"] == "refused"
    monkeypatch.undo()
    assert told(press(client, order), Order.objects.get(pk=order.pk), book) == PAID
    assert_books_agree(book, order)


# --- another amount --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"amount": 999}, {"currency": "eur"}])
def test_another_amount_or_currency_is_never_taken_for_payment(book: Book, change: dict[str, Any]) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}", **change)
    answer = press(client, order)
    assert told(answer, order, book) == UNKNOWN_BUT_CHARGED
    for _ in range(2):
        complete(order)
        assert ask_status(client, order)["payment_status"] == "unknown"
    found = Break.objects.get(order=order)
    assert (found.kind, found.subject, found.resolved_at) == ("amount", intent_of(order), None)
    assert Order.objects.get(pk=order.pk).status == "pending"
    assert press(client, order, "another-key").status_code == 409
    assert len(confirms(book, order)) == 1


# --- Stripe-Should-Retry ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("act", "tries"), [("500", 1), ("lock_timeout", 4), ("409_in_use", 4), ("503", 4)])
def test_stripe_says_whether_to_try_again(book: Book, act: str, tries: int) -> None:
    order, client = placed_order()
    book.rule(act, times=None)
    press(client, order)
    assert len(confirms(book, order)) == tries
    assert len({call["key"] for call in confirms(book, order)}) == 1


@pytest.mark.parametrize(
    ("status", "header", "again"),
    [
        (409, None, True),
        (429, None, True),
        (500, None, False),
        (502, None, False),
        (503, None, False),
        (400, None, False),
        (402, None, False),
        (409, "false", False),
        (429, "false", False),
        (500, "true", True),
        (503, "true", True),
    ],
)
def test_without_its_word_only_409_and_429_are_tried_again(status: int, header: str | None, again: bool) -> None:
    headers = {"stripe-should-retry": header} if header else {}
    assert _may_try_again(sdk.StripeError("no", http_status=status, headers=headers)) is again


def test_no_call_begins_without_time_left(book: Book) -> None:
    order, _ = placed_order()
    pay.open_ahead(order.pk)
    intent, calls = intent_of(order), list[Any]()
    give_back_connections()
    with pytest.raises(NothingSent, match="no time left"):
        gateway().retrieve_intent(intent, Deadline(0), calls)
    assert [call.operation for call in calls] == ["look"]
    assert book.calls(order.pk, "/v1/payment_intents/pi_*") == []


def test_a_press_without_time_for_its_confirm_is_released(book: Book, settings: Any) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    settings.PRESS_BUDGET = datetime.timedelta(0)
    assert told(press(client, order), order, book) == RELEASED
    assert confirms(book, order) == []


def test_every_unknown_ends_in_something_definite(book: Book) -> None:
    """Ten minutes after the click nobody confirms any more: the intent is canceled, and that answer is the truth."""
    order, client = placed_order()
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    sent = len(confirms(book, order))
    clicked(order, datetime.timedelta(minutes=11))
    complete(order)
    assert Attempt.objects.get(order=order).outcome == "canceled"
    assert len(confirms(book, order)) == sent
    assert [call["key"] for call in book.calls(order.pk, CANCEL)] == [
        f"test:cancel:{Payment.objects.get(order=order).pk}:0"
    ]
    assert book.succeeded(order.pk) == []
    assert_books_agree(book, order)
