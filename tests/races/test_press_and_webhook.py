"""Webhooks that come before the API's own answer, five at a time, or long after (FAILURES 64-70, RULES R80, R84)."""

import itertools

import pytest

from payments.gateways.stripe import StripeGateway
from payments.models import Asker, Attempt, WebhookEvent
from payments.reconciliation.inbox import work_webhooks
from payments.reconciliation.recovery import ask_stripe, complete_due
from tests.book import CONFIRM
from tests.layers.pressing import opened_order
from tests.payments.paying import status_of
from tests.races.crowd import at_once, meanwhile, press, run_after, same_browser
from tests.races.over_http import press_over
from tests.races.truth import assert_one_truth, deliver, due_now, end_leases, event_of, settled, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool", "one_try")]

DECLINED = "pm_card_chargeDeclined"
CHALLENGE = "pm_card_threeDSecure2Required"


def declined_order(book):
    """An order whose first press was declined, and the event that tells of it."""
    order, client = opened_order()
    assert press(client, order, token=DECLINED).status == 402
    order.refresh_from_db()
    return order, client, event_of(book, order, "payment_intent.payment_failed")


def test_a_webhook_before_the_answer_pays_the_order_once(book):
    order, client = opened_order()
    book.rule("hold", CONFIRM, when="after", hold="answer")

    with meanwhile(lambda: press(client, order)) as pressed:
        book.wait_until_held("answer")
        assert deliver(event_of(book, order, "payment_intent.succeeded")) == 200
        assert work_webhooks() == 1
        order.refresh_from_db()
        assert order.status == "paid"
        book.release("answer")

    attempt = Attempt.objects.get(order=order)
    assert (pressed.result().status, pressed.result().content) == (201, bytes(attempt.answer_body or b""))
    assert assert_one_truth(book, order) == "paid"


def test_five_webhooks_and_the_answer_at_one_moment_settle_once(book):
    order, client = opened_order()
    book.rule("hold", CONFIRM, when="after", hold="answer")

    with meanwhile(lambda: press(client, order)) as pressed:
        book.wait_until_held("answer")
        event = event_of(book, order, "payment_intent.succeeded")
        acts = [
            lambda: book.release("answer"),
            *[lambda: deliver(event)] * 5,
            *[work_webhooks] * 5,
            *[lambda: ask_stripe(order, Asker.WEBHOOK)] * 5,
        ]
        at_once(len(acts), lambda number: acts[number]())
    work_webhooks()

    assert pressed.result().status == 201
    assert WebhookEvent.objects.get().state == "done"
    assert assert_one_truth(book, order) == "paid"


def test_stripe_sends_five_at_once_to_a_real_server_before_its_own_answer(book, stack):
    """Signed by the sandbox, stored by the server, worked on by a Celery worker, while the press still waits."""
    url = stack(threads=16, celery=True).urls[0]
    order, client = opened_order()
    book.rule("hold", CONFIRM, when="after", hold="answer")

    with meanwhile(lambda: press_over(url, client, order, order.pay_key)) as pressed:
        book.wait_until_held("answer")
        intent = book.intents(order.pk)[0]["id"]
        kind = "payment_intent.succeeded"
        assert book.send_webhook(intent=intent, type=kind, times=5, simultaneous=True) == [200] * 5
        wait_until(lambda: WebhookEvent.objects.filter(state="done").exists())
        order.refresh_from_db()
        assert order.status == "paid"
        book.release("answer")

    assert pressed.result().status == 201
    assert WebhookEvent.objects.count() == 1
    assert assert_one_truth(book, order) == "paid"


def test_webhooks_alone_pay_an_order_whose_answer_was_lost(book):
    order, client = opened_order()
    book.rule("reset", CONFIRM, when="after", times=None)
    lost = press(client, order)
    assert (lost.status, lost.body["status"]) == (202, "unknown")
    book.clear_rules()
    event = event_of(book, order, "payment_intent.succeeded")

    assert at_once(5, lambda _: deliver(event)) == [200] * 5
    at_once(5, lambda _: work_webhooks())

    assert WebhookEvent.objects.count() == 1
    assert assert_one_truth(book, order) == "paid"
    assert press(client, order, order.pay_key).replayed


@pytest.mark.parametrize(
    ("token", "fault", "comes_to"),
    [("pm_card_visa", None, "succeeded"), (CHALLENGE, None, "requires_action"), ("pm_card_visa", "reset", "unknown")],
    ids=["paid", "challenged", "lost"],
)
def test_a_stalled_worker_of_attempt_one_does_not_decline_attempt_two(book, monkeypatch, token, fault, comes_to):
    """It fetched the intent, declined as it was then; the second press begins and gets its answer; it goes on."""
    order, client, event = declined_order(book)
    if fault:
        book.rule(fault, CONFIRM, when="after", times=None)
    second = run_after(monkeypatch, StripeGateway, "retrieve_intent", lambda: press(client, order, token=token))
    deliver(event)

    work_webhooks()

    assert second[0].status == (201 if comes_to == "succeeded" else 202)
    first, newest = Attempt.objects.filter(order=order).order_by("number")
    assert (first.outcome, newest.outcome) == ("declined", comes_to)
    assert settled(order, "declined") == 1
    order.refresh_from_db()
    assert status_of(client, order)["pay_key"] is None
    book.clear_rules()
    if comes_to == "requires_action":
        book.challenge(book.intents(order.pk)[0]["id"], "pass")
    due_now(order)
    end_leases(order)
    complete_due()
    assert assert_one_truth(book, order) == "paid"


def test_a_stalled_worker_that_held_attempt_one_itself_does_not_touch_attempt_two(book, monkeypatch):
    """Its lease ran out while it was stalled; somebody else declined attempt one; attempt two is under way."""
    order, client = opened_order()
    book.rule("reset", CONFIRM, when="after", times=None)
    assert press(client, order, token=DECLINED).status == 202
    book.clear_rules()
    event = event_of(book, order, "payment_intent.payment_failed")

    def others_go_on():
        end_leases(order)
        assert complete_due() == (1, 1)
        return press(client, order, token=CHALLENGE)

    second = run_after(monkeypatch, StripeGateway, "retrieve_intent", others_go_on)
    deliver(event)
    due_now(order)

    work_webhooks()

    assert second[0].status == 202
    outcomes = list(Attempt.objects.filter(order=order).order_by("number").values_list("outcome", flat=True))
    assert outcomes == ["declined", "requires_action"]
    assert settled(order, "declined") == 1
    assert book.succeeded(order.pk) == []


def test_a_worker_frozen_past_its_lease_does_not_settle_what_it_saw_before(book, monkeypatch):
    """Same attempt, and a look that is out of date: meanwhile the completer sent the confirm, and the bank asks."""
    order, client = opened_order()
    book.rule("reset", CONFIRM, when="before", times=None)
    assert press(client, order, token=CHALLENGE).body["status"] == "unknown"
    book.clear_rules()

    def the_completer_goes_on():
        end_leases(order)
        due_now(order)
        return complete_due()

    rounds = run_after(monkeypatch, StripeGateway, "retrieve_intent", the_completer_goes_on)

    settled_it, _ = ask_stripe(order, Asker.WEBHOOK)

    assert (rounds, settled_it) == ([(1, 1)], False)
    assert Attempt.objects.get(order=order).outcome == "requires_action"
    assert settled(order, "declined") == 0
    book.challenge(book.intents(order.pk)[0]["id"], "pass")
    ask_stripe(order, Asker.WEBHOOK)
    assert assert_one_truth(book, order) == "paid"


def test_the_failed_event_of_attempt_one_changes_nothing_while_attempt_two_is_at_stripe(book):
    """FAILURES 68: its worker comes while the second press waits for its answer, and is told to come again."""
    order, client, event = declined_order(book)
    book.rule("hold", CONFIRM, hold="bank")

    with meanwhile(lambda: press(client, order)) as second:
        book.wait_until_held("bank")
        deliver(event)
        assert work_webhooks() == 0
        assert WebhookEvent.objects.get().state == "stored"
        book.release("bank")

    assert second.result().status == 201
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("order_of_events", list(itertools.permutations((0, 1, 2))))
def test_the_events_of_decline_then_paid_end_alike_in_every_order(book, order_of_events):
    """FAILURES 67: a late "failed" takes no payment back."""
    order, client, failed = declined_order(book)
    assert press(client, order).status == 201
    paid = event_of(book, order, "payment_intent.succeeded")
    charged = event_of(book, order, "charge.succeeded")
    events = [failed, paid, charged]

    for number in order_of_events:
        deliver(events[number])
        work_webhooks()
        deliver(events[number])

    assert work_webhooks() == 0
    assert WebhookEvent.objects.filter(state="done").count() == 3
    assert list(Attempt.objects.filter(order=order).order_by("number").values_list("outcome", flat=True)) == [
        "declined",
        "succeeded",
    ]
    assert assert_one_truth(book, order) == "paid"


def test_five_tabs_that_ask_at_once_ask_stripe_once(book):
    order, client = opened_order()
    assert press(client, order, token=CHALLENGE).status == 202
    book.challenge(book.intents(order.pk)[0]["id"], "pass")
    looks = len(book.calls(order.pk, "/v1/payment_intents/*"))
    twins = same_browser(client, 5)
    Attempt.objects.filter(order=order).update(looked_at=None)

    asking = f"/api/orders/{order.pk}/payment-status/"
    at_once(5, lambda number: twins[number].post(asking, {}, content_type="application/json"))

    assert len(book.calls(order.pk, "/v1/payment_intents/*")) == looks + 1
    assert assert_one_truth(book, order) == "paid"
