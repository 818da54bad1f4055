"""Stripe does not know a payment that is open here: another account or mode, or an emptied sandbox.

Nothing is charged and nothing is said to be declined; what nobody can have been charged for ends by itself, and of what
is in doubt a member of staff has the last word.
"""

import datetime
from typing import Any

import pytest
import stripe
from django.conf import settings
from django.test import Client
from django.utils import timezone

from orders.models import Order
from payments import pay
from payments.cancellation import expire_due
from payments.errors import Invalid, Missing
from payments.gateways.base import gateway
from payments.gateways.stripe import _failure
from payments.gateways.transport import Deadline
from payments.intents import Finding
from payments.leases import take_lease
from payments.models import Asker, Attempt, Break, Payment, create_key
from payments.outcome import settle
from payments.reconciliation.recovery import ask_stripe, complete_due
from payments.row_lock import give_back_connections
from shop.ids import new_id
from shop.models import Product, StaffAct
from tests.book import CANCEL, CONFIRM, Book
from tests.orders.making import minutes_ago
from tests.payments.paying import cancel, complete, intent_of, let_leases_end, placed_order, press, start_over, told
from tests.payments.planting import no_triggers, open_breaks, paid_order, payment_of, swept, tamper
from tests.payments.staff import address, clerk, fields_in, said, shown, words

pytestmark = pytest.mark.django_db(transaction=True)

CHALLENGE = "pm_card_threeDSecure2Required"


def emptied(book: Book) -> None:
    """From now on Stripe knows nothing of what there was."""
    book.reset()
    book.webhooks("never")


def opened(**fields: int) -> tuple[Order, Client]:
    order, client = placed_order(**fields)
    pay.open_ahead(order.pk)
    return order, client


def in_doubt(book: Book) -> tuple[Order, Client, str]:
    """A press whose answer was lost, and then Stripe's book; the order, its browser and its intent."""
    order, client = opened(stock=5)
    book.rule("reset", when="after", times=None)
    assert press(client, order).json()["status"] == "unknown"
    let_leases_end(order)
    intent = intent_of(order)
    emptied(book)
    return order, client, intent


def expired(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(expires_at=minutes_ago(1))
    expire_due()


def stock() -> int:
    return Product.objects.get().stock


# --- what Stripe says ------------------------------------------------------------------------------------------------


def test_a_missing_intent_is_told_from_a_missing_card(book: Book) -> None:
    order, _ = opened()
    intent = intent_of(order)
    give_back_connections()
    for call in (
        lambda: gateway().retrieve_intent("pi_gone", Deadline(5), []),
        lambda: gateway().cancel_intent("pi_gone", f"test:cancel:{new_id()}", Deadline(5), []),
        lambda: gateway().confirm_intent(
            "pi_gone", {"payment_method": "pm_card_visa"}, f"test:confirm:{new_id()}", Deadline(5), []
        ),
    ):
        with pytest.raises(Missing):
            call()
    for params in ({"payment_method": "pm_gone"}, {"confirmation_token": "ctoken_gone"}):
        with pytest.raises(Invalid) as refused:
            gateway().confirm_intent(intent, params, f"test:confirm:{new_id()}", Deadline(5), [])
        assert not isinstance(refused.value, Missing)


def test_a_missing_token_is_told_by_its_parameter_whatever_the_status() -> None:
    for param, kind in (("intent", Missing), ("payment_method", Invalid), ("confirmation_token[data]", Invalid)):
        said = {"error": {"type": "invalid_request_error", "code": "resource_missing", "param": param}}
        error = stripe.InvalidRequestError("No such thing", param, http_status=404, json_body=said)
        assert type(_failure(error)) is kind


def test_a_missing_card_is_still_the_shoppers_to_mend(book: Book) -> None:
    order, client = opened()
    answer = press(client, order, token="pm_gone")
    assert (answer.status_code, answer.json()["type"]) == (402, "/problems/payment-token-invalid")
    assert open_breaks() == []


# --- a press ---------------------------------------------------------------------------------------------------------


def test_a_press_is_told_that_nothing_was_sent_and_staff_that_the_payment_is_missing(book: Book) -> None:
    order, client = opened()
    intent = intent_of(order)
    emptied(book)
    for _ in range(3):
        before = Order.objects.get(pk=order.pk)
        answer = told(press(client, order), before, book)
        assert (answer.http, answer.problem, answer.retry, answer.charges) == (503, "unavailable", "same-key", 0)
    assert Attempt.objects.filter(order=order).live().count() == 0
    assert open_breaks() == [("missing_gateway", intent)]
    found = Break.objects.get()
    assert (found.order, found.payment, found.amount_minor) == (order, payment_of(order), order.total_minor)


def test_the_next_press_pays_once_stripe_knows_the_payment_again(book: Book) -> None:
    order, client = opened()
    intent = intent_of(order)
    tamper(payment_of(order), intent_id="pi_gone")
    assert press(client, order).status_code == 503
    tamper(payment_of(order), intent_id=intent)
    assert press(client, order).status_code == 201
    Break.objects.update(subject=intent)  # as if it had been about this one
    swept()
    assert open_breaks() == []
    assert len(book.succeeded(order.pk)) == 1


def test_presses_of_a_missing_payment_do_not_stop_the_presses_of_others(book: Book, settings: Any) -> None:
    settings.BREAKER_FAILURES = 2
    order, client = opened()
    emptied(book)
    for _ in range(3):
        assert press(client, order).status_code == 503
    other, browser = placed_order()
    assert press(browser, other).status_code == 201


def test_a_press_in_doubt_stays_so_and_is_asked_about_less_and_less_often(book: Book) -> None:
    order, client, intent = in_doubt(book)
    key = Attempt.objects.get().idempotency_key
    assert press(client, order, key).json()["status"] == "unknown"
    for _ in range(4):
        complete(order)
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.looks) == ("unknown", 4)
    assert attempt.next_look_at is not None
    assert attempt.next_look_at - timezone.now() > datetime.timedelta(seconds=100)
    assert open_breaks() == [("missing_gateway", intent)]
    expired(order)
    assert Order.objects.get(pk=order.pk).status == "pending"
    assert book.calls(path=CONFIRM) == []  # it is not sent again blindly


def test_a_look_opens_the_break_and_one_that_finds_the_intent_closes_it(book: Book) -> None:
    order, _ = opened()
    intent = intent_of(order)
    tamper(payment_of(order), intent_id="pi_gone")
    for _ in range(2):
        ask_stripe(Order.objects.get(pk=order.pk), Asker.STAFF)
    assert open_breaks() == [("missing_gateway", "pi_gone")]
    tamper(payment_of(order), intent_id=intent)
    Break.objects.update(subject=intent)
    ask_stripe(Order.objects.get(pk=order.pk), Asker.STAFF)
    assert open_breaks() == []
    assert Break.objects.get().resolved_by == "staff"


def test_what_a_person_has_accepted_is_not_opened_again(book: Book) -> None:
    order, client = opened()
    emptied(book)
    press(client, order)
    Break.objects.update(resolved_at=timezone.now(), accepted=True)
    press(client, order)
    assert open_breaks() == []


# --- what ends by itself ---------------------------------------------------------------------------------------------


def test_an_order_that_expires_ends_by_itself_with_its_stock_back_and_the_break_stays(book: Book) -> None:
    order, client = opened(stock=5)
    intent = intent_of(order)
    emptied(book)
    press(client, order)
    expired(order)
    order.refresh_from_db()
    assert (order.status, order.is_closing, stock()) == ("expired", False, 5)
    assert payment_of(order).phase == "abandoned"
    assert open_breaks() == [("missing_gateway", intent)]
    swept()
    assert open_breaks() == [("missing_gateway", intent)]


def test_an_order_that_is_canceled_ends_by_itself(book: Book) -> None:
    order, client = opened(stock=5)
    assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    emptied(book)
    answer = cancel(client, order)
    assert (answer.status_code, answer.json()["status"], stock()) == (200, "canceled", 5)
    assert [kind for kind, _ in open_breaks()] == ["missing_gateway"]


def test_a_payment_left_closing_ends_by_itself_and_the_order_is_paid_anew(book: Book) -> None:
    order, client = opened()
    Payment.objects.update(phase="closing")
    emptied(book)
    complete(order)
    assert payment_of(order).phase == "abandoned"
    assert press(client, order).status_code == 201
    assert len(book.succeeded(order.pk)) == 1


@pytest.mark.parametrize("how", ["unknown", "challenge", "died"])
def test_a_wish_is_not_carried_out_while_a_press_may_have_charged(book: Book, how: str) -> None:
    order, client = opened(stock=5)
    if how == "challenge":
        press(client, order, token=CHALLENGE)
    else:
        book.rule("reset", when="after", times=None)
        press(client, order)
    if how == "died":
        Attempt.objects.update(phase="confirming", outcome="")
    let_leases_end(order)
    emptied(book)
    assert cancel(client, order).status_code == 202
    for _ in range(2):
        complete(order)
    now = Order.objects.get(pk=order.pk)
    assert (now.status, now.is_closing, stock()) == ("pending", True, 4)
    assert payment_of(order).phase == "closing"
    assert Attempt.objects.get().is_live


def test_a_closing_that_stripe_does_not_answer_is_not_taken_for_a_missing_one(book: Book) -> None:
    order, client = opened()
    book.rule("503", CANCEL, times=None)
    assert cancel(client, order).status_code == 202
    assert payment_of(order).phase == "closing"
    assert open_breaks() == []


# --- what staff end --------------------------------------------------------------------------------------------------

MAY = ("payments.reconcile_payment",)
NOTE = {"note": "nothing in the old account"}


def end(browser: Client, form: dict[str, str] | None = None) -> Any:
    path = address("end-missing", Break.objects.get(resolved_at=None).pk)
    return browser.post(path, (form or shown(browser, path)) | NOTE)


def test_staff_end_a_press_in_doubt_and_the_order_is_paid_anew(book: Book) -> None:
    order, client, _ = in_doubt(book)
    complete(order)
    let_leases_end(order)
    old_key = Order.objects.get(pk=order.pk).pay_key
    answer = end(clerk("oscar", *MAY))
    assert (answer.status_code, said(answer)) == (303, "The payment is ended.")
    assert (payment_of(order).phase, Attempt.objects.get().outcome) == ("abandoned", "canceled")
    found = Break.objects.get()
    assert (found.resolved_by, found.note, found.accepted) == ("oscar", NOTE["note"], True)
    row = StaffAct.objects.get()
    assert (row.act, row.note, row.before["attempts"], row.after["attempts"]) == (
        "end missing",
        NOTE["note"],
        {"1": "unknown"},
        {"1": "canceled"},
    )
    order.refresh_from_db()
    assert order.pay_key != old_key
    assert press(client, order).status_code == 201
    assert list(Payment.objects.order_by("n").values_list("n", "phase")) == [(1, "abandoned"), (2, "succeeded")]


@pytest.mark.parametrize(("wish", "status", "left"), [("cancel", "canceled", 5), ("start-over", "pending", 4)])
def test_staff_end_a_payment_and_the_wish_of_its_order_is_carried_out(
    book: Book, wish: str, status: str, left: int
) -> None:
    order, client, _ = in_doubt(book)
    (cancel if wish == "cancel" else start_over)(client, order)
    let_leases_end(order)
    assert said(end(clerk("oscar", *MAY))) == "The payment is ended."
    order.refresh_from_db()
    assert (order.status, order.is_closing, stock()) == (status, False, left)


def test_nothing_is_ended_that_stripe_knows_by_now(book: Book) -> None:
    order, client = opened()
    intent = intent_of(order)
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    let_leases_end(order)
    tamper(payment_of(order), intent_id="pi_gone")
    complete(order)
    let_leases_end(order)
    browser = clerk("oscar", *MAY)
    form = shown(browser, address("end-missing", Break.objects.get().pk))
    tamper(payment_of(order), intent_id=intent)
    assert "Stripe knows it now" in said(end(browser, form))
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert StaffAct.objects.count() == 0


def test_nothing_is_ended_while_stripe_does_not_answer(book: Book) -> None:
    order, _, _ = in_doubt(book)
    complete(order)
    let_leases_end(order)
    book.rule("503", "/v1/payment_intents/*", method="GET", times=None)
    assert "Stripe has not answered" in said(end(clerk("oscar", *MAY)))
    assert (payment_of(order).phase, Attempt.objects.get().outcome) == ("open", "unknown")


def test_a_press_that_began_meanwhile_is_not_ended_with_the_payment(book: Book) -> None:
    order, client = opened()
    payment = payment_of(order)
    lease = take_lease(payment)
    book.rule("reset", when="after", times=None)
    press(client, order)
    settle(payment, lease, Finding(missing=True, given_up="nothing there"), Asker.STAFF)
    assert (payment_of(order).phase, Attempt.objects.get().outcome) == ("open", "unknown")


def test_ending_it_twice_ends_it_once(book: Book) -> None:
    order, _, _ = in_doubt(book)
    complete(order)
    let_leases_end(order)
    browser = clerk("oscar", *MAY)
    path = address("end-missing", Break.objects.get().pk)
    page = browser.get(path)
    for _ in range(2):
        assert browser.post(path, fields_in(page) | NOTE).status_code == 303
    assert StaffAct.objects.count() == 1
    assert "It was resolved already" in words(browser.get(path))


def test_a_paid_payment_that_stripe_does_not_know_is_not_ended(book: Book) -> None:
    order = paid_order()
    Payment.objects.update(first_sent_at=minutes_ago(10))
    emptied(book)
    swept()
    page = clerk("oscar", *MAY).get(address("end-missing", Break.objects.get().pk))
    assert "Its payment is succeeded: there is nothing to end" in words(page)
    assert payment_of(order).phase == "succeeded"


def test_a_press_under_way_is_not_ended(book: Book) -> None:
    order, _, _ = in_doubt(book)
    complete(order)
    browser = clerk("oscar", *MAY)
    let_leases_end(order)
    form = shown(browser, address("end-missing", Break.objects.get().pk))
    Attempt.objects.update(locked_until=timezone.now() + datetime.timedelta(minutes=1), held_by="shopper")
    answer = end(browser, form)
    assert answer.status_code == 409 and "A press is being made" in words(answer)
    assert payment_of(order).phase == "open"


def test_an_intent_that_nobody_finds_is_ended_by_staff_and_with_it_the_orders_wish(book: Book) -> None:
    order, client = opened(stock=5)
    payment = payment_of(order)
    with no_triggers() as cursor:
        cursor.execute(
            "UPDATE payments_payment SET phase = 'opening', intent_id = NULL, create_params = create_params || %s"
            " WHERE id = %s",
            ['{"description": "another"}', payment.pk],
        )
    intent = book.intents(order.pk)[0]["id"]
    book.dashboard_update(intent, metadata={"payment": "", "order": "", "env": ""})
    assert press(client, order).status_code == 503
    assert open_breaks() == [("missing_local", create_key(order.pk, 1))]
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    let_leases_end(order)
    browser = clerk("oscar", *MAY)
    book.rule("503", "/v1/payment_intents", method="GET", times=None)
    assert "Stripe has not answered" in said(end(browser))
    book.clear_rules()
    let_leases_end(order)
    book.dashboard_update(intent, metadata=payment.create_params["metadata"])
    form = shown(browser, address("end-missing", Break.objects.get().pk))
    assert "Stripe knows it now" in said(end(browser, form))
    assert payment_of(order).intent_id == intent


def test_an_intent_that_is_nowhere_is_ended_by_staff(book: Book) -> None:
    order, client = opened(stock=5)
    payment = payment_of(order)
    with no_triggers() as cursor:
        cursor.execute(
            "UPDATE payments_payment SET phase = 'opening', intent_id = NULL, key_spent_at = now() WHERE id = %s",
            [payment.pk],
        )
    book.dashboard_update(book.intents(order.pk)[0]["id"], metadata={"payment": "", "order": "", "env": ""})
    assert press(client, order).status_code == 503
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    let_leases_end(order)
    assert said(end(clerk("oscar", *MAY))) == "The payment is ended."
    order.refresh_from_db()
    assert (order.status, stock(), open_breaks()) == ("canceled", 5, [])
    assert settings.PAYMENT_ENV and complete_due() == (0, 0)
