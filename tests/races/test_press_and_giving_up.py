"""Pay against cancel, start over and expiry: paid, or given up with the goods back on the shelf; never both.

The rival runs to its end at a named point of the other's work; then both at the same moment.
"""

import pytest

from orders.models import Order
from payments import cancellation, pay
from payments.cancellation import expire_due
from payments.gateways.stripe import StripeGateway
from payments.models import Asker, Attempt
from payments.reconciliation.recovery import complete_due
from tests.book import CANCEL, CONFIRM
from tests.layers.pressing import opened_order
from tests.orders.making import minutes_ago
from tests.payments.paying import placed_order, status_of
from tests.races.crowd import Answer, at_once, press, run_after, run_before, same_browser
from tests.races.truth import assert_one_truth, due_now, end_leases

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool", "one_try")]

CHALLENGE = "pm_card_threeDSecure2Required"

# The press in time order, with the lease of its attempt running from the claim on.
POINTS_OF_A_PRESS = {
    "claimed": (run_before, pay, "open_payment"),
    "opened": (run_before, pay, "_commit_confirming"),
    "confirming": (run_before, StripeGateway, "confirm_intent"),
    "charged": (run_after, StripeGateway, "confirm_intent"),
    "settled": (run_after, pay, "settle"),
}
NOTHING_SENT_YET = ("claimed", "opened", "confirming")
POINTS_OF_A_CANCEL = {
    "wished": (run_before, cancellation, "finish_closing"),
    "closing": (run_before, cancellation, "take_lease"),
    "leased": (run_before, StripeGateway, "cancel_intent"),
    "canceled at Stripe": (run_after, StripeGateway, "cancel_intent"),
}


def ask(client, order, wish) -> Answer:
    """POST .../cancel/ or .../start-over/."""
    answer = client.post(
        f"/api/orders/{order.pk}/{wish}/", {}, content_type="application/json", headers={"Idempotency-Key": "a-wish"}
    )
    return Answer(answer.status_code, answer.content, False)


@pytest.mark.parametrize("wish", ["cancel", "start-over"])
@pytest.mark.parametrize("point", POINTS_OF_A_PRESS)
def test_while_a_press_is_carried_out_nothing_is_given_up(book, monkeypatch, point, wish):
    order, client = opened_order()
    run_at, owner, name = POINTS_OF_A_PRESS[point]
    rival = run_at(monkeypatch, owner, name, lambda: ask(same_browser(client, 1)[0], order, wish))

    assert press(client, order).status == 201

    told = (rival[0].status, rival[0].problem)
    assert told == ((409, "order-already-paid") if point == "settled" else (409, "request-in-progress"))
    assert assert_one_truth(book, order) == "paid"
    assert book.calls(order.pk, CANCEL) == []


@pytest.mark.parametrize("point", [point for point in POINTS_OF_A_PRESS if point != "settled"])
def test_a_press_that_was_frozen_past_its_lease_meets_a_cancel(book, monkeypatch, point):
    """The holder is gone for all anybody can know; the cancel goes to Stripe first, and Stripe decides."""
    order, client = opened_order()
    run_at, owner, name = POINTS_OF_A_PRESS[point]

    def cancel_after_the_lease():
        end_leases(order)
        return ask(same_browser(client, 1)[0], order, "cancel")

    rival = run_at(monkeypatch, owner, name, cancel_after_the_lease)

    answer = press(client, order)

    if point in NOTHING_SENT_YET:
        assert (rival[0].status, rival[0].body["status"]) == (200, "canceled")
        assert assert_one_truth(book, order) == "canceled"
        assert answer.status in (402, 409)
        assert Attempt.objects.get(order=order).outcome in ("canceled", "released")
    else:
        assert (rival[0].status, rival[0].problem) == (409, "order-already-paid")
        assert assert_one_truth(book, order) == "paid"
        assert answer.status == 201


@pytest.mark.parametrize("point", ["claimed", "opened"])
def test_a_wish_alone_stops_a_press_that_thaws(book, monkeypatch, point):
    """The cancel's process died right after it had committed the wish: nothing at Stripe or in the attempt says so."""
    order, client = opened_order()
    run_at, owner, name = POINTS_OF_A_PRESS[point]

    def wish_and_die():
        end_leases(order)
        return cancellation._commit_wish(order.pk, cancellation.Wish.CANCEL, "shopper", Asker.SHOPPER)

    wished = run_at(monkeypatch, owner, name, wish_and_die)

    answer = press(client, order)

    assert (wished, answer.status) == ([True], 409)
    assert book.calls(order.pk, CONFIRM) == []
    end_leases(order)
    complete_due()
    assert assert_one_truth(book, order) == "canceled"
    assert Attempt.objects.get(order=order).outcome == "released"


@pytest.mark.parametrize("point", POINTS_OF_A_CANCEL)
def test_from_the_wish_on_nobody_confirms(book, monkeypatch, point):
    order, client = opened_order()
    run_at, owner, name = POINTS_OF_A_CANCEL[point]
    rival = run_at(monkeypatch, owner, name, lambda: press(same_browser(client, 1)[0], order))

    canceled = ask(client, order, "cancel")

    assert (canceled.status, canceled.body["status"]) == (200, "canceled")
    assert (rival[0].status, rival[0].problem) == (409, "payment-in-progress")
    assert assert_one_truth(book, order) == "canceled"
    assert book.calls(order.pk, CONFIRM) == []
    assert press(client, order).problem == "order-closed"


def test_an_order_whose_payment_was_never_opened_is_canceled_without_stripe(book, monkeypatch):
    order, client = placed_order()
    rival = run_before(monkeypatch, cancellation, "finish_closing", lambda: press(same_browser(client, 1)[0], order))

    assert ask(client, order, "cancel").status == 200

    assert (rival[0].status, rival[0].problem) == (409, "payment-in-progress")
    assert assert_one_truth(book, order) == "canceled"
    assert book.calls(order.pk) == []


def test_a_press_frozen_in_the_create_call_meets_a_cancel_that_learns_its_intent(book, monkeypatch):
    """The cancel replays the create under its key, so that it cancels the very intent that the press would confirm."""
    order, client = placed_order()

    def cancel_after_the_lease():
        end_leases(order)
        return ask(same_browser(client, 1)[0], order, "cancel")

    rival = run_before(monkeypatch, StripeGateway, "create_intent", cancel_after_the_lease)

    answer = press(client, order)

    assert (rival[0].status, rival[0].body["status"]) == (200, "canceled")
    assert answer.status in (402, 409, 503)
    assert assert_one_truth(book, order) == "canceled"
    assert [intent["status"] for intent in book.intents(order.pk)] == ["canceled"]
    assert book.calls(order.pk, CONFIRM) == []


@pytest.mark.parametrize("number", range(6))
def test_pay_and_cancel_at_the_same_moment_end_as_one_of_them(book, number):
    order, client = opened_order() if number % 2 else placed_order()
    one, other = same_browser(client, 2)
    acts = [lambda: press(one, order), lambda: ask(other, order, "cancel")]

    pressed, canceled = at_once(2, lambda n: acts[n]())

    status = assert_one_truth(book, order)
    if status == "paid":
        assert (pressed.status, canceled.status) == (201, 409)
    else:
        assert (status, pressed.status, canceled.status) == ("canceled", 409, 200)
    assert len(book.succeeded(order.pk)) == (status == "paid")


def test_a_cancel_finds_the_charge_whose_answer_was_lost(book):
    order, client = opened_order()
    book.rule("reset", CONFIRM, when="after", times=None)
    assert press(client, order).body["status"] == "unknown"
    book.clear_rules()

    canceled = ask(client, order, "cancel")

    assert (canceled.status, canceled.problem) == (409, "order-already-paid")
    assert assert_one_truth(book, order) == "paid"


def test_expiry_never_takes_an_order_that_is_at_stripe(book, monkeypatch):
    order, client = opened_order()
    Order.objects.filter(pk=order.pk).update(expires_at=minutes_ago(1))
    rival = run_before(monkeypatch, StripeGateway, "confirm_intent", expire_due)

    assert press(client, order).status == 201

    assert rival == [0]
    assert assert_one_truth(book, order) == "paid"


def test_a_press_that_comes_while_the_order_expires_is_refused(book, monkeypatch):
    order, client = opened_order()
    Order.objects.filter(pk=order.pk).update(expires_at=minutes_ago(1))
    rival = run_before(monkeypatch, StripeGateway, "cancel_intent", lambda: press(same_browser(client, 1)[0], order))

    assert expire_due() == 1

    assert (rival[0].status, rival[0].problem) == (409, "payment-in-progress")
    assert assert_one_truth(book, order) == "expired"


def test_start_over_meets_the_challenge_that_was_just_passed(book, monkeypatch):
    """The bank's yes comes between the wish and the cancel at Stripe: the order is paid, and says so."""
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202
    intent = book.intents(order.pk)[0]["id"]
    run_before(monkeypatch, StripeGateway, "cancel_intent", lambda: book.challenge(intent, "pass"))

    answer = ask(client, order, "start-over")

    assert (answer.status, answer.body["payment_status"], answer.body["pay_key"]) == (200, "succeeded", None)
    assert assert_one_truth(book, order) == "paid"


def test_start_over_at_the_same_moment_as_another_press_leaves_one_way_to_pay(book):
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202
    twins = same_browser(client, 4)
    acts = [
        lambda: ask(twins[0], order, "start-over"),
        lambda: ask(twins[1], order, "start-over"),
        lambda: press(twins[2], order, "another-key"),
        lambda: press(twins[3], order, "a-third-key"),
    ]

    answers = at_once(4, lambda n: acts[n]())

    assert all(answer.status in (200, 201, 409) for answer in answers)
    due_now(order)
    complete_due()
    if not book.succeeded(order.pk):
        assert press(client, order, status_of(client, order)["pay_key"]).status == 201
    assert assert_one_truth(book, order) == "paid"
    statuses = sorted(intent["status"] for intent in book.intents(order.pk))
    assert statuses == ["canceled", "succeeded"]


def test_the_bank_page_left_open_cannot_charge_after_start_over(book):
    """FAILURES 8: tab one waits in the challenge, tab two starts over and pays, then tab one passes."""
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202
    left_open = book.intents(order.pk)[0]["id"]
    assert ask(client, order, "start-over").status == 200
    assert press(client, order).status == 201

    with pytest.raises(Exception, match="409"):
        book.challenge(left_open, "pass")

    assert assert_one_truth(book, order) == "paid"
