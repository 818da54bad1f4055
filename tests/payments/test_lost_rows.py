"""Our database lost rows of a checkout, and a release since then words the create call otherwise (crash point C22).

The derived key is refused, for somebody has been here: the intent is found again, and never another one is opened.
"""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.test import Client
from django.utils import timezone

from orders.models import Order
from payments import pay
from payments.cancellation import expire_due, give_up_payment
from payments.leases import take_lease
from payments.models import Asker, Attempt, Break, Payment, PaymentEvent, create_key
from payments.reconciliation.recovery import complete_due
from tests.book import CONFIRM, CREATE, Book
from tests.orders.making import minutes_ago
from tests.payments.paying import (
    at_stripe,
    cancel,
    complete,
    confirms,
    intent_of,
    let_leases_end,
    placed_order,
    press,
    start_over,
)
from tests.payments.planting import lose_payment, no_triggers, open_breaks, payment_of, swept

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/v1/payment_intents"


@pytest.fixture
def new_release(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, payments are created with another description."""
    real = pay.new_payment

    def changed(order: Order, n: int) -> Payment:
        payment = real(order, n)
        payment.create_params["description"] = f"Payonce order {order.number}"
        payment.save(update_fields=["create_params"])
        return payment

    return lambda: monkeypatch.setattr(pay, "new_payment", changed)


def lost(order: Order, key: str) -> None:
    """A fail-over: payment and attempts are gone, and the order waits to be paid as it did."""
    lose_payment(order)
    with no_triggers() as cursor:
        cursor.execute("UPDATE orders_order SET pay_key = %s WHERE id = %s", [key, order.pk])


def hide(book: Book, intent: str) -> None:
    """As if the metadata had been taken off in the dashboard: no list shows whose intent it is."""
    book.dashboard_update(intent, metadata={"payment": "", "order": "", "env": ""})


def show(book: Book, intent: str, order: Order) -> None:
    payment = payment_of(order)
    book.dashboard_update(intent, metadata=payment.create_params["metadata"])


def with_min_age_over(sweep: Callable[[], Any]) -> None:
    """As if what was created had been so a while ago."""
    with time_machine.travel(timezone.now() + settings.SWEEP_MIN_AGE + datetime.timedelta(seconds=1)):
        sweep()


def phases(order: Order) -> list[tuple[int, str]]:
    return list(Payment.objects.filter(order=order).order_by("n").values_list("n", "phase"))


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def assert_charged_once(book: Book, order: Order) -> None:
    order.refresh_from_db()
    assert (order.status, len(book.succeeded(order.pk)), len(book.intents(order.pk))) == ("paid", 1, 1)


def paid_and_lost(new_release: Callable[[], None]) -> tuple[Order, Client, str]:
    order, client = placed_order(stock=5)
    key = order.pay_key
    assert press(client, order, key).status_code == 201
    lost(order, key)
    new_release()
    return order, client, key


# --- found in the press ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["pm_card_visa", "pm_card_mastercard"])
@pytest.mark.parametrize("same_key", [True, False])
def test_a_payment_that_was_lost_after_it_was_paid_is_found_and_never_paid_again(
    book: Book, new_release: Any, same_key: bool, token: str
) -> None:
    order, client, key = paid_and_lost(new_release)
    answer = press(client, order, key if same_key else "another-key", token=token)
    assert answer.status_code == 201
    assert phases(order) == [(1, "succeeded")]
    assert PaymentEvent.objects.get(order=order, kind="rebuilt").asked_by == "shopper"
    assert len(confirms(book, order)) == 1  # it was looked at, and not confirmed again
    assert_charged_once(book, order)


def test_a_payment_that_was_lost_unpaid_is_found_and_paid(book: Book, new_release: Any) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    lost(order, order.pay_key)
    new_release()
    assert press(client, order).status_code == 201
    assert_charged_once(book, order)


def test_what_was_lost_after_a_decline_is_not_read_as_paid_nor_its_decline_as_this_ones(
    book: Book, new_release: Any
) -> None:
    order, client = placed_order()
    key = order.pay_key
    assert press(client, order, key, token="pm_card_chargeDeclined").status_code == 402
    second = Order.objects.get(pk=order.pk).pay_key
    assert press(client, order, second).status_code == 201
    lost(order, key)
    new_release()
    # The first press once more: under its gateway key Stripe still says "declined", and the second one has paid.
    assert press(client, order, key, token="pm_card_chargeDeclined").status_code == 201
    assert_charged_once(book, order)


def test_a_challenge_of_lost_rows_goes_on(book: Book, new_release: Any) -> None:
    order, client = placed_order()
    assert press(client, order, token="pm_card_threeDSecure2Required").status_code == 202
    lost(order, order.pay_key)
    new_release()
    answer = press(client, order, token="pm_card_threeDSecure2Required")
    assert (answer.status_code, answer.json()["status"]) == (202, "requires_action")
    book.challenge(intent_of(order), "pass")
    complete(order)
    assert_charged_once(book, order)


def test_a_payment_that_was_canceled_and_followed_before_it_was_lost_leads_to_the_one_that_followed(
    book: Book, new_release: Any
) -> None:
    order, client = placed_order()
    key = order.pay_key
    assert press(client, order, key, token="pm_card_threeDSecure2Required").status_code == 202
    let_leases_end(order)
    start_over(client, order)
    order.refresh_from_db()
    assert press(client, order, order.pay_key).status_code == 201
    assert [n for n, _ in phases(order)] == [1, 2]
    lost(order, key)
    new_release()
    assert press(client, order, key).status_code == 402  # the first one was canceled, and says so
    order.refresh_from_db()
    assert press(client, order, order.pay_key).status_code == 201
    assert phases(order) == [(1, "canceled"), (2, "succeeded")]
    assert len(book.succeeded(order.pk)) == 1


def test_an_intent_of_another_amount_is_canceled_and_never_confirmed(book: Book, new_release: Any) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}", amount=999)
    lost(order, order.pay_key)
    new_release()
    assert problem(press(client, order)) == (503, "unavailable")
    complete(order)
    assert phases(order) == [(1, "canceled")]
    assert press(client, order).status_code == 201
    assert [one["amount"] for one in book.succeeded(order.pk)] == [order.total_minor]


def test_a_lost_attempt_under_another_card_ends_by_a_cancel_and_the_order_is_paid_once(book: Book) -> None:
    """Only the attempt is lost: its confirm key is refused, and what the intent says decides."""
    order, client = placed_order()
    pay.open_ahead(order.pk)
    book.rule("500", CONFIRM, when="before")
    press(client, order)
    with no_triggers() as cursor:
        cursor.execute("DELETE FROM payments_paymentevent WHERE order_id = %s", [order.pk])
        cursor.execute("DELETE FROM payments_attempt WHERE order_id = %s", [order.pk])
    answer = press(client, order, token="pm_card_mastercard")
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    complete(order)
    assert Attempt.objects.get(order=order).outcome == "canceled"
    order.refresh_from_db()
    assert press(client, order).status_code == 201
    assert len(book.succeeded(order.pk)) == 1


def test_a_decline_of_lost_rows_is_not_read_as_the_answer_to_another_card(book: Book, new_release: Any) -> None:
    order, client = placed_order()
    key = order.pay_key
    assert press(client, order, key, token="pm_card_chargeDeclined").status_code == 402
    lost(order, key)
    new_release()
    answer = press(client, order, key, token="pm_card_visa")
    assert (answer.status_code, answer.json()["status"]) == (202, "unknown")
    complete(order)
    order.refresh_from_db()
    assert press(client, order).status_code == 201
    assert len(book.succeeded(order.pk)) == 1


# --- not found, or no answer -----------------------------------------------------------------------------------------


def test_while_stripe_does_not_answer_nothing_is_sent_and_nothing_opened(book: Book, new_release: Any) -> None:
    order, client, key = paid_and_lost(new_release)
    book.rule("503", LIST, method="GET", times=None)
    for number in range(2):
        answer = press(client, order, key)
        assert problem(answer) == (503, "unavailable")
        assert "you were not charged" not in answer.json()["detail"]
        assert phases(order) == [(1, "opening")], number
    assert open_breaks() == []
    assert len([call for call in book.calls(order.pk, CREATE) if call["method"] == "POST"]) == 2  # first life, and one
    book.clear_rules()
    assert press(client, order, key).status_code == 201
    assert_charged_once(book, order)


def test_an_intent_that_no_list_shows_is_a_break_and_nothing_else_is_opened(book: Book, new_release: Any) -> None:
    order, client, key = paid_and_lost(new_release)
    intent = book.intents(order.pk)[0]["id"]
    hide(book, intent)
    for _ in range(2):
        assert problem(press(client, order, key)) == (503, "unavailable")
    assert open_breaks() == [("missing_local", create_key(order.pk, 1))]
    found = Break.objects.get()
    assert (found.order, found.payment, found.found_by) == (order, payment_of(order), "create")
    assert phases(order) == [(1, "opening")]
    # Not by age either: Stripe forgets the key, and we do not.
    Payment.objects.update(first_sent_at=timezone.now() - datetime.timedelta(hours=25))
    book.advance(25 * 3600)
    assert problem(press(client, order, key)) == (503, "unavailable")
    assert phases(order) == [(1, "opening")]
    assert not give_up_payment(order.pk, Asker.SWEEP)
    assert phases(order) == [(1, "opening")]
    assert len(book.succeeded()) == 1 and len(book.intents()) == 1
    # It is found after all: by the press, and the break is gone.
    show(book, intent, order)
    assert press(client, order, key).status_code == 201
    assert open_breaks() == []
    assert Break.objects.get().resolved_by == "shopper"
    assert len(book.succeeded()) == 1


def test_a_payment_whose_key_is_spent_is_abandoned_by_nobody(book: Book, new_release: Any) -> None:
    order, client, key = paid_and_lost(new_release)
    book.rule("503", LIST, method="GET", times=None)
    press(client, order, key)
    payment = payment_of(order)
    lease = take_lease(payment)
    assert lease is not None
    pay._abandon(payment, lease)
    assert phases(order) == [(1, "opening")]


def test_a_key_that_was_never_answered_is_not_forgotten_when_stripe_forgets_it(book: Book, new_release: Any) -> None:
    order, client, key = paid_and_lost(new_release)
    book.rule("503", LIST, method="GET", times=None)
    assert problem(press(client, order, key)) == (503, "unavailable")
    book.advance(25 * 3600)
    book.clear_rules()
    assert press(client, order, key).status_code == 201
    assert_charged_once(book, order)


# --- the repair ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paid", [True, False])
def test_the_sweep_gives_a_lost_intent_back_whatever_became_of_it(book: Book, new_release: Any, paid: bool) -> None:
    order, client = placed_order()
    key = order.pay_key
    pay.open_ahead(order.pk)
    if paid:
        assert press(client, order, key).status_code == 201
    lost(order, key)
    new_release()
    book.rule("503", LIST, method="GET", times=None)
    assert problem(press(client, order, key)) == (503, "unavailable")
    book.clear_rules()
    with_min_age_over(swept)
    assert phases(order) == [(1, "succeeded" if paid else "open")]
    assert open_breaks() == []
    assert press(client, order, key).status_code == (409 if paid else 201)
    assert_charged_once(book, order)


def test_the_sweep_looks_again_for_what_was_not_found_and_its_break_goes_by_itself(
    book: Book, new_release: Any
) -> None:
    order, client, key = paid_and_lost(new_release)
    intent = book.intents(order.pk)[0]["id"]
    hide(book, intent)
    press(client, order, key)
    swept()
    assert [kind for kind, _ in open_breaks()] == ["missing_local"]
    show(book, intent, order)
    swept()
    assert open_breaks() == []
    assert press(client, order, key).status_code == 201
    assert_charged_once(book, order)


def test_the_sweep_takes_nothing_from_a_press_that_is_opening(book: Book) -> None:
    order, _ = placed_order()
    created_for(pay.new_payment(order, 1))
    swept()
    assert phases(order) == [(1, "opening")]


def test_the_sweep_gives_an_intent_whose_answer_was_lost_to_its_payment(book: Book) -> None:
    order, client = placed_order()
    intent = created_for(pay.new_payment(order, 1))
    with_min_age_over(swept)
    assert (phases(order), intent_of(order)) == ([(1, "open")], intent)
    assert press(client, order).status_code == 201
    assert_charged_once(book, order)


def created_for(payment: Payment) -> str:
    """Its create has reached Stripe, and no row of ours says so."""
    params = payment.create_params
    made = at_stripe("payment_intents", **{
        "amount": params["amount"], "currency": params["currency"], "automatic_payment_methods[enabled]": "true",
        **{f"metadata[{name}]": worth for name, worth in params["metadata"].items()},
    })  # fmt: skip
    return str(made["id"])


# --- given up --------------------------------------------------------------------------------------------------------


def test_a_lost_payment_that_is_given_up_is_found_and_canceled_at_stripe(book: Book, new_release: Any) -> None:
    order, client = placed_order()
    pay.open_ahead(order.pk)
    lost(order, order.pay_key)
    new_release()
    book.rule("503", LIST, method="GET", times=None)
    press(client, order)
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    book.clear_rules()
    complete(order)
    assert Order.objects.get(pk=order.pk).status == "canceled"
    assert [one["status"] for one in book.intents(order.pk)] == ["canceled"]


def test_a_lost_payment_whose_order_expires_turns_out_to_be_paid(book: Book, new_release: Any) -> None:
    order, client, key = paid_and_lost(new_release)
    book.rule("503", LIST, method="GET", times=None)
    press(client, order, key)
    let_leases_end(order)
    Order.objects.filter(pk=order.pk).update(expires_at=minutes_ago(1))
    expire_due()
    book.clear_rules()
    complete(order)
    assert_charged_once(book, order)


def test_a_closing_whose_intent_nobody_finds_waits_by_the_ladder(book: Book, new_release: Any) -> None:
    order, client, key = paid_and_lost(new_release)
    hide(book, book.intents(order.pk)[0]["id"])
    press(client, order, key)
    let_leases_end(order)
    assert cancel(client, order).status_code == 202
    complete(order)
    payment = payment_of(order)
    assert payment.looks == 1 and payment.next_look_at is not None
    calls = len(book.calls())
    assert complete_due() == (0, 0)
    assert len(book.calls()) == calls
    assert Order.objects.get(pk=order.pk).is_closing


@pytest.mark.parametrize("paid", [True, False], ids=["paid in the lost hours", "only created"])
def test_a_create_that_is_too_old_to_be_sent_again_is_looked_for_before_the_next_one(book: Book, paid: bool) -> None:
    """A backup was restored: the row says that the create was sent a day ago, and nothing of what came after."""
    order, client = placed_order()
    key = order.pay_key
    pay.open_ahead(order.pk)
    if paid:
        assert press(client, order, key).status_code == 201
    day_ago = timezone.now() - datetime.timedelta(hours=23, minutes=5)
    with no_triggers() as cursor:
        cursor.execute("DELETE FROM payments_paymentevent")
        cursor.execute("DELETE FROM payments_attempt")
        cursor.execute(
            "UPDATE payments_payment SET phase = 'opening', intent_id = NULL, charge_id = NULL, captured_minor = 0,"
            " succeeded_at = NULL, first_sent_at = %s",
            [day_ago],
        )
        cursor.execute("UPDATE orders_order SET status = 'pending', paid_at = NULL, pay_key = %s", [key])
    order.refresh_from_db()
    book.rule("reset", path="/v1/payment_intents", method="GET", times=4)
    assert press(client, order, key).status_code == 503  # while it cannot be looked for, nothing is opened
    assert list(Payment.objects.values_list("n", "phase")) == [(1, "opening")]
    for _ in range(3):
        press(client, order)
    assert len(book.succeeded(order.pk)) == 1
    assert len(book.intents(order.pk)) == 1
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_a_create_that_is_too_old_and_left_nothing_at_stripe_gives_way_to_the_next_one(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", path="/v1/payment_intents", when="before", times=4)
    assert press(client, order).status_code == 503
    book.clear_rules()
    Payment.objects.update(first_sent_at=timezone.now() - datetime.timedelta(hours=23, minutes=5))
    assert press(client, order).status_code == 503
    assert press(client, order).status_code == 201
    assert list(Payment.objects.order_by("n").values_list("n", "phase")) == [(1, "abandoned"), (2, "succeeded")]
