"""Guards of a charge that no other test would miss: each test here is red once its one guard is gone.

The row locks between a look at a token and what is written under it, the fencing of whoever opens a payment, the look
after a replay, and that only what was never sent is given up without a word to Stripe.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from orders.models import Order
from payments import outcome, pay
from payments.errors import NothingSent
from payments.gateways.stripe import StripeGateway
from payments.gateways.transport import Deadline
from payments.intents import Finding, look_at_intent
from payments.leases import Lease, take_lease
from payments.models import Asker, Attempt, Outcome, Payment
from payments.pay import open_payment
from payments.reconciliation.recovery import complete_due
from payments.row_lock import give_back_connections
from tests.book import CONFIRM, CREATE, Book
from tests.oracles import assert_books_agree
from tests.payments.paying import cancel, confirms, intent_of, let_leases_end, placed_order, press
from tests.races.crowd import meanwhile, run_after
from tests.races.waiting import until_it_waits, with_own_connection

pytestmark = pytest.mark.django_db(transaction=True)


# --- between the look at a token and what is written under it, nobody else is there ----------------------------------


def rival_while_judging(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, rival: Callable[[], Any]
) -> list[Future[Any]]:
    """The rival sets out when settling has looked at its own token and before it writes: it waits, or has its way."""
    real, started = outcome.judge, []

    def judge(*args: Any) -> Outcome:
        started.append(pool.submit(with_own_connection, rival))
        until_it_waits(started[0])
        return real(*args)

    monkeypatch.setattr(outcome, "judge", judge)
    return started


def charged_and_not_known(book: Book) -> Order:
    order, client = placed_order()
    book.rule("reset", when="after", times=4)
    assert press(client, order).json()["status"] == "unknown"
    let_leases_end(order)
    return order


def test_nobody_takes_an_attempt_over_while_what_became_of_it_is_being_written(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder was slow, and the lease ran out: whoever wants it now waits, and finds it finished."""
    order = charged_and_not_known(book)
    attempt = Attempt.objects.get(order=order)
    lease = take_lease(attempt)
    let_leases_end(order)
    with ThreadPoolExecutor(1) as pool:
        rivals = rival_while_judging(monkeypatch, pool, lambda: take_lease(attempt))
        outcome.settle(attempt.payment, lease, Finding(outcome=Outcome.DECLINED), Asker.COMPLETER)
        assert rivals[0].result(30) is None
    assert Attempt.objects.get(order=order).outcome == "declined"


def test_nobody_ends_the_lease_of_who_takes_an_attempt_over_while_it_stays_unknown(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited has a token that nobody else has, and a lease that runs."""
    order = charged_and_not_known(book)
    attempt = Attempt.objects.get(order=order)
    lease = take_lease(attempt)
    let_leases_end(order)
    with ThreadPoolExecutor(1) as pool:
        rivals = rival_while_judging(monkeypatch, pool, lambda: take_lease(attempt))
        outcome.settle(attempt.payment, lease, Finding(outcome=Outcome.UNKNOWN), Asker.COMPLETER)
        taken = rivals[0].result(30)
    now = Attempt.objects.with_lease_state().get(order=order)
    assert lease is not None and taken == Lease(Attempt, attempt.pk, lease.token + 2)
    assert (now.lease_token, now.lease_runs) == (taken.token, True)


def test_nobody_takes_a_payment_over_while_it_is_being_written_as_paid(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is one UPDATE that asks for no order's lock: it waits for the payment's row, and finds it over."""
    order = charged_and_not_known(book)
    payment = Payment.objects.get(order=order)
    give_back_connections()
    finding = look_at_intent(payment, Deadline(5), [])
    with ThreadPoolExecutor(1) as pool:
        rivals = rival_while_judging(monkeypatch, pool, lambda: take_lease(payment))
        outcome.settle(payment, None, finding, Asker.WEBHOOK)
        assert rivals[0].result(30) is None
    assert_books_agree(book, order)


def test_a_payment_that_is_being_written_as_paid_is_abandoned_by_nobody(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does settling fail for it, with Stripe's money on no row of ours."""
    order = charged_and_not_known(book)
    payment = Payment.objects.get(order=order)
    give_back_connections()
    finding = look_at_intent(payment, Deadline(5), [])
    lost = Payment.objects.filter(pk=payment.pk)
    lost.update(phase="opening", intent_id=None)  # as with a database that was left behind
    lease = Lease(Payment, payment.pk, payment.lease_token)
    with ThreadPoolExecutor(1) as pool:
        rivals = rival_while_judging(monkeypatch, pool, lambda: pay._abandon(payment, lease))
        outcome.settle(payment, None, finding, Asker.WEBHOOK)
        rivals[0].result(30)
    assert lost.get().phase == "succeeded"


# --- who opens a payment ----------------------------------------------------------------------------------------------


def an_opening(order: Order) -> Payment:
    payment = pay.new_payment(order, 1)
    give_back_connections()
    return payment


def test_who_was_overtaken_before_sending_the_create_sends_nothing_and_keeps_its_first_moment(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age of the key is counted from the first sending, which another holder has made meanwhile."""
    order, _ = placed_order()
    payment = an_opening(order)

    sent_first: list[Any] = []

    def another_holder() -> None:
        """Takes over what ran out, and its answer is lost."""
        let_leases_end(order)
        book.rule("reset", CREATE, when="after", times=4)
        with pytest.raises(NothingSent):
            open_payment(Payment.objects.get(pk=payment.pk), Deadline(5), [])
        sent_first.append(Payment.objects.get(pk=payment.pk).first_sent_at)

    run_after(monkeypatch, Payment, "refresh_from_db", another_holder)
    with pytest.raises(NothingSent):
        open_payment(payment, Deadline(5), [])

    now = Payment.objects.get(order=order)
    assert (now.phase, [now.first_sent_at]) == ("opening", sent_first)
    assert len(book.calls(order.pk, CREATE)) == 4


def test_who_was_overtaken_while_the_create_was_at_stripe_writes_nothing_and_ends_no_lease(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, _ = placed_order()
    payment = an_opening(order)

    def another_holder() -> Lease | None:
        let_leases_end(order)
        return take_lease(payment)

    taken = run_after(monkeypatch, StripeGateway, "create_intent", another_holder)
    with pytest.raises(NothingSent):
        open_payment(payment, Deadline(5), [])

    now = Payment.objects.get(order=order)
    assert taken[0] is not None and (now.phase, now.intent_id) == ("opening", None)
    assert (now.lease_token, now.locked_until is not None) == (taken[0].token, True)
    let_leases_end(order)
    assert open_payment(now, Deadline(5), []).intent_id == intent_of(order)
    assert len(book.intents(order.pk)) == 1


def test_an_order_is_not_given_up_while_an_intent_of_it_may_be_at_stripe(book: Book) -> None:
    """Its create was sent, and nobody heard: it is learnt and canceled, not taken for one that was never sent."""
    order, client = placed_order()
    book.rule("reset", CREATE, when="after", times=None)
    press(client, order)
    let_leases_end(order)

    assert cancel(client, order).status_code == 202  # Stripe does not answer: it is not known yet
    assert Payment.objects.get(order=order).phase == "opening"
    book.clear_rules()
    let_leases_end(order)
    complete_due()

    assert [intent["status"] for intent in book.intents(order.pk)] == ["canceled"]
    assert (Order.objects.get(pk=order.pk).status, Payment.objects.get(order=order).phase) == ("canceled", "canceled")
    assert_books_agree(book, order)


# --- a replay is history ----------------------------------------------------------------------------------------------


def test_a_replayed_confirm_is_not_taken_for_how_things_are(book: Book) -> None:
    """Its answer was lost; while it was asked for again, the shopper passed the bank's challenge."""
    order, client = placed_order()
    book.rule("reset", CONFIRM, when="after")
    book.rule("hold", CONFIRM, hold="bank", lock=False)
    with meanwhile(lambda: press(client, order, token="pm_card_threeDSecure2Required")) as pressed:
        book.wait_until_held("bank")
        book.challenge(intent_of(order), "pass")
        book.release("bank")
        answer = pressed.result(60)
    assert [call["replayed"] for call in confirms(book, order)] == [False, True]
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded")
    assert_books_agree(book, order)
