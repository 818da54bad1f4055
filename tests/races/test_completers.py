"""The completer beside a press, beside itself, and beside a holder that comes back to life (R49-R53, R84, R86)."""

from collections import Counter

import pytest

from payments import pay
from payments.errors import StaleLease
from payments.gateways.base import gateway
from payments.gateways.stripe import StripeGateway
from payments.gateways.transport import Deadline
from payments.intents import Finding
from payments.leases import Lease, take_lease
from payments.models import Asker, Attempt, Outcome, Payment
from payments.outcome import settle
from payments.reconciliation.recovery import complete_due
from payments.row_lock import give_back_connections
from tests.book import CONFIRM
from tests.layers.pressing import opened_order
from tests.payments.paying import placed_order
from tests.races.crowd import CROWD, at_once, meanwhile, press, run_after, run_before
from tests.races.truth import assert_one_truth, due_now, end_leases, settled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool", "one_try")]

LOOKS = "/v1/payment_intents/*"
POINTS_OF_A_PRESS = {
    "claimed": (run_before, pay, "open_payment"),
    "opened": (run_before, pay, "_commit_confirming"),
    "confirming": (run_before, StripeGateway, "confirm_intent"),
    "charged": (run_after, StripeGateway, "confirm_intent"),
    "settled": (run_after, pay, "settle"),
}


def frozen_at(monkeypatch, point, order, successor):
    """The press stops at this point until its lease is over and the successor has done its work."""
    run_at, owner, name = POINTS_OF_A_PRESS[point]

    def when_the_lease_is_over():
        end_leases(order)
        return successor()

    return run_at(monkeypatch, owner, name, when_the_lease_is_over)


def unknown_order(book, when="after"):
    """An order whose only press lost its answer, and whose next look is due."""
    order, client = opened_order()
    book.rule("reset", CONFIRM, when=when, times=None)
    assert press(client, order).body["status"] == "unknown"
    book.clear_rules()
    due_now(order)
    return order, client


def looks(book, order) -> int:
    return len([call for call in book.calls(order.pk, LOOKS) if call["method"] == "GET"])


@pytest.mark.parametrize("point", POINTS_OF_A_PRESS)
def test_the_completer_leaves_a_press_alone_while_its_lease_runs(book, monkeypatch, point):
    order, client = opened_order()
    run_at, owner, name = POINTS_OF_A_PRESS[point]
    rounds = run_at(monkeypatch, owner, name, complete_due)

    assert press(client, order).status == 201

    assert rounds == [(0, 0)]
    assert looks(book, order) == 0
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("point", ["confirming", "charged"])
def test_a_zombie_and_its_successor_both_ask_stripe_and_charge_once(book, monkeypatch, point):
    """R52: fencing cannot reach Stripe, so both send the same key with the same parameters."""
    order, client = opened_order()
    rounds = frozen_at(monkeypatch, point, order, complete_due)

    answer = press(client, order)

    assert rounds == [(1, 1)]
    assert answer.status == 201
    confirms = book.calls(order.pk, CONFIRM)
    assert Counter(call["replayed"] for call in confirms) == (
        {False: 1, True: 1} if point == "confirming" else {False: 1}
    )
    assert len({call["key"] for call in confirms}) == 1
    assert len(book.intents(order.pk)) == 1
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("point", ["claimed", "opened"])
def test_a_zombie_that_had_sent_nothing_sends_nothing(book, monkeypatch, point):
    """R53: the completer released it; what it wakes up to is another's order, and it changes nothing (R50)."""
    order, client = opened_order()
    rounds = frozen_at(monkeypatch, point, order, complete_due)

    answer = press(client, order)

    assert rounds == [(1, 1)]
    assert (answer.status, answer.body["retry"]) == (503, "same-key")
    assert Attempt.objects.get(order=order).outcome == "released"
    assert book.calls(order.pk, CONFIRM) == []
    assert assert_one_truth(book, order) == "pending"
    assert press(client, order).status == 201
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("point", ["claimed", "opened", "confirming", "charged"])
def test_a_zombie_meets_the_next_press(book, monkeypatch, point):
    """After the release another press of the shopper pays; the zombie's late word changes nothing."""
    order, client = opened_order()
    key = order.pay_key

    def complete_and_press():
        complete_due()
        order.refresh_from_db()
        return press(client, order, order.pay_key)

    second = frozen_at(monkeypatch, point, order, complete_and_press)

    first = press(client, order, key)

    assert second[0].status == 201
    assert first.status == (503 if point in ("claimed", "opened") else 201)
    assert len(book.intents(order.pk)) == 1
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("when", ["after", "before"], ids=["charged", "not charged"])
def test_five_completers_at_once_look_once(book, when):
    order, _ = unknown_order(book, when)
    before = looks(book, order)

    rounds = at_once(5, lambda _: complete_due())

    assert sum(changed for _, changed in rounds) == 1
    assert looks(book, order) == before + 1
    assert assert_one_truth(book, order) == "paid"
    assert complete_due() == (0, 0)


@pytest.mark.parametrize("act", ["reset", "processing"], ids=["found paid", "still undecided"])
def test_two_completers_share_a_batch_and_look_at_each_press_once(book, act):
    """ADR 12: one is at its first press, with the whole batch on its list, and the other does the rest meanwhile."""
    orders = []
    for _ in range(4):
        order, client = opened_order()
        rule = {"when": "after", "times": None} if act == "reset" else {}
        book.rule(act, CONFIRM, **rule)
        press(client, order)
        book.clear_rules()
        due_now(order)
        orders.append(order)
    before = {order.pk: looks(book, order) for order in orders}
    book.rule("hold", LOOKS, method="GET", hold="first")

    with meanwhile(complete_due) as slow:
        book.wait_until_held("first")
        quick = complete_due()
        book.release("first")
        first = slow.result(30)

    assert (first[0], quick[0]) == (4, 3)
    assert first[1] + quick[1] == (4 if act == "reset" else 0)
    assert [looks(book, order) - before[order.pk] for order in orders] == [1, 1, 1, 1]


def test_of_twenty_that_take_a_lease_one_gets_it(book):
    order, _ = unknown_order(book)
    attempt = Attempt.objects.get(order=order)

    leases = at_once(CROWD, lambda _: take_lease(attempt))

    assert len([lease for lease in leases if lease]) == 1
    assert Attempt.objects.get(order=order).lease_token == attempt.lease_token + 1


def test_twenty_that_settle_the_same_success_make_one_transition_and_one_receipt(book):
    order, _ = unknown_order(book)
    payment = Payment.objects.get(order=order)
    give_back_connections()
    intent = gateway().retrieve_intent(str(payment.intent_id), Deadline(5), [])

    at_once(CROWD, lambda _: settle(payment, None, Finding(intent), Asker.WEBHOOK))

    assert assert_one_truth(book, order) == "paid"


def test_twenty_that_settle_one_decline_with_one_lease_make_one_transition(book):
    """Fencing: the first writer moves the token on, and the others write nothing."""
    order, _ = unknown_order(book, "before")
    attempt = Attempt.objects.get(order=order)
    lease = take_lease(attempt)
    key = order.pay_key
    said = Finding(outcome=Outcome.DECLINED, reason="declined")

    def decline(_: int) -> str:
        try:
            settle(attempt.payment, lease, said, Asker.COMPLETER)
        except StaleLease:
            return "stale"
        return "settled"

    assert Counter(at_once(CROWD, decline)) == {"settled": 1, "stale": CROWD - 1}
    assert settled(order, "declined") == 1
    order.refresh_from_db()
    assert order.pay_key != key


@pytest.mark.parametrize("outcome", [Outcome.DECLINED, Outcome.RELEASED, Outcome.UNKNOWN, Outcome.FAILED])
def test_a_stale_token_writes_nothing(book, outcome):
    order, _ = unknown_order(book)
    attempt = Attempt.objects.get(order=order)
    mine = take_lease(attempt)
    assert mine is not None
    end_leases(order)
    assert take_lease(attempt) is not None
    before = Attempt.objects.filter(pk=attempt.pk).values().get()

    with pytest.raises(StaleLease):
        settle(attempt.payment, Lease(Attempt, attempt.pk, mine.token), Finding(outcome=outcome), Asker.SHOPPER)

    assert Attempt.objects.filter(pk=attempt.pk).values().get() == before
    assert order.payment_events.filter(kind="settled").count() == 1  # to unknown, by the press


def test_a_payment_that_two_open_at_once_gets_one_intent(book):
    order, _ = placed_order()

    at_once(8, lambda _: pay.open_ahead(order.pk))

    assert len(book.intents(order.pk)) == 1
    assert Payment.objects.get(order=order).phase == "open"
    assert len({call["key"] for call in book.calls(order.pk)}) == 1
