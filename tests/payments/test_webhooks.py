"""Webhooks: verified, stored, answered; worked on afterwards, and never believed
(RULES R78-R85; SECURITY SE29; crash points C28, C29; FAILURES 22, 49, 53, 61, 64, 65, 67, 68, 70, 73, 74)."""

import datetime
import hashlib
import hmac
import json
import random
import threading
import time
from typing import Any

import pytest
from django.conf import settings as shop_settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.leases import end_lease, take_lease
from payments.models import Attempt, Break, Payment, PaymentEvent, WebhookEvent
from payments.reconciliation import inbox
from payments.reconciliation.inbox import TRIES_BEFORE_BREAK, work_webhooks
from payments.reconciliation.recovery import ask_stripe
from payments.webhooks import LARGEST_EVENT
from shop.stack.postgres import Postgres
from shop.stack.redis import Redis
from tests.book import Book, Json
from tests.crashes.dying import forget_connections
from tests.oracles import assert_books_agree
from tests.payments.paying import intent_of, placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/webhooks/stripe/"


def signature(body: bytes, *, secret: str | None = None, at: float | None = None, scheme: str = "v1") -> str:
    moment = int(time.time() if at is None else at)
    secret = secret or shop_settings.STRIPE_WEBHOOK_SECRETS[0]
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},{scheme}={digest}"


def deliver(event: Json | bytes, signed: str | None = None, path: str = PATH, **options: Any) -> int:
    """As Stripe does: the status that we answer."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {"Stripe-Signature": signature(body) if signed is None else signed}
    answer = Client(enforce_csrf_checks=True).post(
        path, body, content_type="application/json; charset=utf-8", headers=headers, **options
    )
    return int(answer.status_code)


def an_event(type: str = "payment_intent.succeeded", **about: Any) -> Json:  # noqa: A002 - Stripe's word
    """An event of our account and environment, about an intent that nobody has."""
    number = random.Random(str(about)).randrange(10**9)
    intent = {
        "id": f"pi_{number}",
        "object": "payment_intent",
        "metadata": {"env": "test", "payment": "p", "order": "o"},
    }
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": type,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": intent | about.pop("intent", {})},
        "request": {"id": "req_1", "idempotency_key": None},
    } | about


def is_due() -> None:
    """As if time had passed: whatever waits is due."""
    WebhookEvent.objects.update(next_try_at=timezone.now() - datetime.timedelta(seconds=1))


def lost_press(book: Book, token: str = "pm_card_visa") -> tuple[Order, Client]:
    """Pressed, and the answer lost: only the events say what came of it."""
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order, token=token)
    book.clear_rules()
    return order, client


def outcome(order: Order) -> str:
    return Attempt.objects.filter(order=order).order_by("-number").values_list("outcome", flat=True)[0]


# --- signatures ------------------------------------------------------------------------------------------------------


def test_a_good_signature_is_stored_and_nothing_more_happens_in_the_request(book: Book) -> None:
    order, _ = lost_press(book)
    calls = len(book.calls())
    events = book.events(intent_of(order))
    assert [deliver(event) for event in events] == [200] * len(events)
    assert set(WebhookEvent.objects.values_list("state", "tries")) == {("stored", 0)}
    assert sorted(WebhookEvent.objects.values_list("event_id", flat=True)) == sorted(event["id"] for event in events)
    assert len(book.calls()) == calls
    assert (outcome(order), Order.objects.get(pk=order.pk).status) == ("unknown", "pending")
    assert work_webhooks() == len(events)
    assert (outcome(order), Order.objects.get(pk=order.pk).status) == ("succeeded", "paid")
    assert_books_agree(book, order)


def test_a_forged_event_is_refused_and_leaves_no_row() -> None:
    event = an_event()
    body = json.dumps(event).encode()
    good, now = signature(body), time.time()
    moment, digest = good.split(",")
    forged = {
        "no header": "",
        "nonsense": "hello",
        "no time": digest,
        "no signature": moment,
        "a wrong one": f"{moment},v1={'0' * 64}",
        "another secret": signature(body, secret="whsec_other"),
        "another scheme": signature(body, scheme="v0"),
        "cut": good[:-1],
        "301 s old": signature(body, at=now - 302),
        "301 s ahead": signature(body, at=now + 303),
        "a moment that was not signed": f"t={int(now) - 1},{digest}",
        "time is no number": f"t=soon,{digest}",
        "not ASCII": f"{moment},v1=\xe9\xe9",
        "empty parts": "t=,v1=",
    }
    for name, header in forged.items():
        assert deliver(event, header) == 400, name
    assert deliver(body + b" ", good) == 400
    assert deliver(json.dumps(event, indent=1).encode(), good) == 400  # the same event, written otherwise
    assert deliver(body[:-1], good) == 400
    assert WebhookEvent.objects.count() == 0


def test_a_signed_body_that_is_no_event_is_refused() -> None:
    for body in (b"", b"{}", b"[]", b"null", b"not json", b"\xff\xfe", b'{"id": "evt_1", "type": "x", "data": {}}'):
        assert deliver(body) == 400
    assert WebhookEvent.objects.count() == 0


def test_the_edges_of_the_tolerance_are_taken() -> None:
    for number, seconds in enumerate((-298, 298)):
        event = an_event(number=number)
        assert deliver(event, signature(json.dumps(event).encode(), at=time.time() + seconds)) == 200
    assert WebhookEvent.objects.count() == 2


def test_every_secret_is_tried_while_one_is_rolled(settings: Any) -> None:
    old, new = settings.STRIPE_WEBHOOK_SECRETS[0], "whsec_new"
    settings.STRIPE_WEBHOOK_SECRETS = [new, old]
    first, second = an_event(number=1), an_event(number=2)
    body = json.dumps(first).encode()
    assert deliver(first, signature(body, secret=old)) == 200
    both = signature(json.dumps(second).encode(), secret="whsec_gone")
    also = signature(json.dumps(second).encode(), secret=new).split(",")[1]
    assert deliver(second, f"{both},{also}") == 200  # Stripe signs with both while a secret is rolled
    settings.STRIPE_WEBHOOK_SECRETS = [new]
    assert deliver(an_event(number=3), signature(json.dumps(an_event(number=3)).encode(), secret=old)) == 400
    assert WebhookEvent.objects.count() == 2


def test_a_body_over_one_mebibyte_is_413() -> None:
    body = json.dumps(an_event()).encode()
    padded = body[:-1] + b" " * (LARGEST_EVENT - len(body)) + b"}"
    assert len(padded) == LARGEST_EVENT
    assert deliver(padded + b" ") == 413
    assert WebhookEvent.objects.count() == 0
    assert deliver(padded) == 200


# --- the route -------------------------------------------------------------------------------------------------------


def test_with_and_without_a_slash_and_never_a_redirect() -> None:
    assert deliver(an_event(number=1), path="/webhooks/stripe") == 200
    assert deliver(an_event(number=2), path="/webhooks/stripe/") == 200
    assert WebhookEvent.objects.count() == 2
    for method in ("get", "put", "delete"):
        assert getattr(Client(), method)(PATH).status_code == 405


def test_an_event_of_a_type_we_do_not_know_is_taken() -> None:
    assert deliver(an_event("invoice.paid", intent={"object": "invoice", "id": "in_1"})) == 200
    work_webhooks()
    assert WebhookEvent.objects.exclude(state="stored").count() + WebhookEvent.objects.filter(tries=1).count() >= 1


def test_a_duplicate_is_200_and_one_row(book: Book) -> None:
    order, _ = lost_press(book)
    event = book.events(intent_of(order))[-1]
    assert [deliver(event) for _ in range(3)] == [200] * 3
    work_webhooks()
    before = list(WebhookEvent.objects.values())
    assert deliver(event) == 200
    assert work_webhooks() == 0
    assert list(WebhookEvent.objects.values()) == before
    assert len(before) == 1
    assert_books_agree(book, order)


def test_twenty_deliveries_at_once_are_one_row() -> None:
    event = an_event()
    together = threading.Barrier(20)
    statuses = []

    def one() -> None:
        together.wait()
        statuses.append(deliver(event))
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    assert WebhookEvent.objects.count() == 1


def test_postgresql_down_is_503_so_that_stripe_sends_it_again(postgres: Postgres) -> None:
    event = an_event()
    postgres.stop(immediate=True)
    assert deliver(event) == 503
    assert deliver(event, "t=1,v1=0") == 400
    postgres.restart()
    forget_connections()
    assert WebhookEvent.objects.count() == 0
    assert deliver(event) == 200
    assert WebhookEvent.objects.count() == 1


def test_redis_down_is_200(book: Book, redis_server: Redis) -> None:
    order, _ = lost_press(book)
    redis_server.kill()
    assert [deliver(event) for event in book.events(intent_of(order))][-1] == 200
    work_webhooks()
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert_books_agree(book, order)


# --- the work --------------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_in_the_middle_has_only_delayed_it(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, _ = lost_press(book)
    deliver(book.events(intent_of(order))[-1])

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(inbox, "_work", dies)
        with pytest.raises(KeyboardInterrupt):
            work_webhooks()
    assert WebhookEvent.objects.get().state == "stored"
    assert work_webhooks() == 0  # nobody else does it at the same moment
    is_due()
    assert work_webhooks() == 1
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert_books_agree(book, order)


def test_a_worker_that_fails_tries_again_later(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    order, _ = lost_press(book)
    deliver(book.events(intent_of(order))[-1])

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("broken")

    with monkeypatch.context() as broken:
        broken.setattr(inbox, "ask_stripe", fails)
        assert work_webhooks() == 0
    row = WebhookEvent.objects.get()
    assert (row.state, row.tries) == ("stored", 1)
    is_due()
    assert work_webhooks() == 1
    assert_books_agree(book, order)


def test_one_event_that_fails_does_not_keep_the_others_waiting(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _), (second, _) = lost_press(book), lost_press(book)
    whole = ask_stripe

    def fails_for_the_first(order: Order, *rest: Any, **more: Any) -> Any:
        if order.pk == first.pk:
            raise ValueError("broken")
        return whole(order, *rest, **more)

    monkeypatch.setattr(inbox, "ask_stripe", fails_for_the_first)
    for order in (first, second):
        deliver(book.events(intent_of(order))[-1])
    assert work_webhooks() == 1
    assert (outcome(first), outcome(second)) == ("unknown", "succeeded")


def test_while_somebody_holds_the_attempt_it_waits_and_is_not_lost(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    book.challenge(intent_of(order), "fail")
    failed = book.events(intent_of(order))[-1]
    assert failed["type"] == "payment_intent.payment_failed"
    holder = take_lease(Attempt.objects.get(order=order))
    assert holder is not None
    deliver(failed)
    for tries in (1, 2):
        is_due()
        assert work_webhooks() == 0
        assert list(WebhookEvent.objects.values_list("state", "tries")) == [("stored", tries)]
    assert outcome(order) == "requires_action"
    end_lease(holder)
    is_due()
    assert work_webhooks() == 1
    assert outcome(order) == "declined"
    assert_books_agree(book, order)


def test_what_never_goes_stale_is_settled_beside_a_press_that_waits(book: Book) -> None:
    """C28: the webhook is first; the press then answers from the row."""
    order, client = placed_order()
    book.rule("hold", when="after", hold="bank")
    answers: list[Any] = []

    def pay_now() -> None:
        answers.append(press(client, order, order.pay_key))
        connection.close()

    pressing = threading.Thread(target=pay_now)
    pressing.start()
    book.wait_until_held("bank")
    deliver(book.events(intent_of(order))[-1])
    assert work_webhooks() == 1
    assert Order.objects.get(pk=order.pk).status == "paid"
    book.release("bank")
    pressing.join()
    assert answers[0].status_code == 201
    assert PaymentEvent.objects.filter(order=order, kind="settled", to_state="succeeded").count() == 1
    assert_books_agree(book, order)


def test_stripe_down_while_working_waits(book: Book, no_stripe: Any) -> None:
    no_stripe()
    order, _ = lost_press(book)
    deliver(book.events(intent_of(order))[-1])
    book.rule("503", "/v1/payment_intents/*", method="GET", times=None)
    assert work_webhooks() == 0
    assert WebhookEvent.objects.get().state == "stored"
    book.clear_rules()
    is_due()
    assert work_webhooks() == 1
    assert_books_agree(book, order)


# --- an event is a hint ----------------------------------------------------------------------------------------------


def test_an_event_that_lies_changes_nothing(book: Book) -> None:
    """Signed, about our intent, and not true: the intent is fetched, and its state decides."""
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    for number, type_ in enumerate(("payment_intent.succeeded", "payment_intent.canceled", "charge.succeeded")):
        lie = an_event(type_, number=number, intent={"id": intent_of(order), "status": "succeeded", "amount": 1})
        deliver(lie)
    work_webhooks()
    assert outcome(order) == "requires_action"
    assert book.succeeded(order.pk) == []
    assert Mail.objects.filter(order=order).count() == 0


def test_a_stale_failure_after_the_money_changes_nothing(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    failed = book.events(intent_of(order))[-1]
    press(client, order)
    before = [list(Attempt.objects.values()), list(Payment.objects.values()), list(Order.objects.values())]
    deliver(failed)
    work_webhooks()
    assert [list(Attempt.objects.values()), list(Payment.objects.values()), list(Order.objects.values())] == before
    assert_books_agree(book, order)


def test_a_failure_of_attempt_1_does_not_decline_attempt_2(book: Book) -> None:
    """FAILURES 68: the event names attempt 1's key; attempt 2 is unknown and stays so until its own proof."""
    order, client = placed_order()
    press(client, order, token="pm_card_chargeDeclined")
    failed = book.events(intent_of(order))[-1]
    book.rule("reset", when="before", times=None)
    press(client, order)
    book.clear_rules()
    deliver(failed)
    work_webhooks()
    assert list(Attempt.objects.filter(order=order).order_by("number").values_list("outcome", flat=True)) == [
        "declined",
        "unknown",
    ]


def test_a_lost_decline_is_proved_by_the_event_of_its_key(book: Book) -> None:
    order, _ = lost_press(book, "pm_card_chargeDeclined")
    failed = book.events(intent_of(order))[-1]
    assert failed["request"]["idempotency_key"] == Attempt.objects.get(order=order).confirm_key
    deliver(failed)
    assert work_webhooks() == 1
    assert outcome(order) == "declined"
    assert_books_agree(book, order)


def test_created_and_requires_action_complete_nothing(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    for event in book.events(intent_of(order)):
        deliver(event)
    work_webhooks()
    assert (outcome(order), Order.objects.get(pk=order.pk).status) == ("requires_action", "pending")
    assert set(WebhookEvent.objects.values_list("state", flat=True)) == {"done"}


# --- whose event is it -----------------------------------------------------------------------------------------------


def test_an_intent_we_do_not_know_yet_is_kept_and_finally_shown_to_staff(book: Book) -> None:
    event = an_event()
    deliver(event)
    for _ in range(TRIES_BEFORE_BREAK):
        is_due()
        assert work_webhooks() == 0
        assert Break.objects.count() == 0
    is_due()
    work_webhooks()
    found = Break.objects.get()
    assert (found.kind, found.subject) == ("missing_local", event["data"]["object"]["id"])
    is_due()
    work_webhooks()
    assert Break.objects.count() == 1
    assert WebhookEvent.objects.get().state == "done"  # kept as a row, and now for staff to decide
    assert book.calls() == []


def test_an_event_that_is_faster_than_our_own_commit_is_matched_by_its_metadata(book: Book) -> None:
    order, _ = lost_press(book)
    intent = intent_of(order)
    (event,) = [event for event in book.events(intent) if event["type"] == "payment_intent.succeeded"]
    Payment.objects.filter(order=order).update(intent_id=None)
    deliver(event)
    assert work_webhooks() == 0
    assert WebhookEvent.objects.get().state == "stored"
    Payment.objects.filter(order=order).update(intent_id=intent)
    is_due()
    assert work_webhooks() == 1
    assert_books_agree(book, order)


def test_other_environments_and_modes_are_foreign_and_ignored(book: Book) -> None:
    order, _ = lost_press(book)
    true = book.events(intent_of(order))[-1]
    elsewhere = [
        true | {"id": "evt_live", "livemode": True},
        an_event(number=1, intent={"metadata": {"env": "live", "order": order.pk, "payment": "x"}}),
        an_event(number=2, intent={"metadata": {}}),
        an_event(number=3, intent={"metadata": {"env": "Test", "order": order.pk}}),
    ]
    calls = len(book.calls())
    assert [deliver(event) for event in elsewhere] == [200] * 4
    assert work_webhooks() == 4
    assert set(WebhookEvent.objects.values_list("state", flat=True)) == {"foreign"}
    assert len(book.calls()) == calls
    assert outcome(order) == "unknown"
    assert Break.objects.count() == 0


def test_what_another_system_wrote_into_metadata_is_not_kept(book: Book) -> None:
    """ST9: staff see that it was there, and not what it said."""
    metadata = {"env": "test", "order": "o1", "customer_email": "ada@example.com", "note": "ring 555 0100"}
    assert deliver(an_event(intent={"metadata": metadata})) == 200
    kept = {"env": "test", "order": "o1", "customer_email": "…", "note": "…"}
    assert WebhookEvent.objects.get().metadata == kept


def test_the_intent_says_whose_it_is_not_the_order_that_metadata_names(book: Book) -> None:
    """FAILURES 50, 53: another order's id in the metadata moves nothing of that order."""
    (mine, _), (other, _) = lost_press(book), lost_press(book)
    event = an_event(intent={"id": intent_of(mine), "metadata": {"env": "test", "order": other.pk, "payment": "x"}})
    deliver(event)
    work_webhooks()
    assert (outcome(mine), outcome(other)) == ("succeeded", "unknown")


def test_no_secret_is_stored(book: Book) -> None:
    order, client = placed_order()
    press(client, order, token="pm_card_threeDSecure2Required")
    events = book.events(intent_of(order))
    secret = events[-1]["data"]["object"]["client_secret"]
    for event in events:
        deliver(event)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(w)::text FROM payments_webhookevent w")
        stored = " ".join(row[0] for row in cursor.fetchall())
    assert secret not in stored
    assert "_secret_" not in stored and "next_action" not in stored and order.email not in stored
