"""Which of Stripe's accounts a payment was opened with is kept and compared: a switch closes Pay, and rings."""

import datetime
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from payments import accounts, pay, tasks
from payments.errors import NothingSent
from payments.gateways.transport import Deadline
from payments.models import Attempt, Heartbeat, KeyAccount, Payment
from tests.book import CONFIRM, CREATE, Book
from tests.orders.making import minutes_ago
from tests.payments.paying import cancel, confirms, placed_order, press
from tests.payments.planting import payment_of

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = "/v1/account"


def opened() -> tuple[Order, Client]:
    order, client = placed_order(stock=5)
    pay.open_ahead(order.pk)
    return order, client


def switched(book: Book) -> str:
    """The shop's key is another account's from now on, the beat has learnt it, and this process has just begun."""
    account = book.reset(another_account=True)
    book.webhooks("never")
    accounts.forget()
    accounts.learn(Deadline(5))
    return account


def refused(answer: Any) -> bool:
    return (answer.status_code, answer.json()["type"], answer.json()["retry"]) == (
        503,
        "/problems/unavailable",
        "same-key",
    )


def rings(client: Client) -> bool:
    Heartbeat.objects.all().delete()
    answer = client.get("/healthz/payments")
    found = "other-account" in answer.json()["runbook"]
    assert answer.status_code == 503 or not found
    return found


# --- kept ------------------------------------------------------------------------------------------------------------


def test_a_payment_keeps_the_account_that_it_was_opened_with(book: Book) -> None:
    account = book.reset()
    order, _ = opened()
    assert payment_of(order).account == f"{account}:test"


def test_the_account_is_committed_before_the_create_call(book: Book) -> None:
    book.rule("reset", CREATE, when="before", times=None)
    order, _ = opened()
    payment = payment_of(order)
    assert (payment.phase, payment.intent_id) == ("opening", None)
    assert payment.account.startswith("acct_1") and payment.first_sent_at is not None


def test_stripe_is_asked_once_for_a_key_and_the_key_itself_is_kept_nowhere(book: Book) -> None:
    for _ in range(3):
        opened()
    accounts.forget()  # another process
    opened()
    assert len(book.calls(path=ASKED)) == 1
    row = KeyAccount.objects.get()
    assert settings.STRIPE_SECRET_KEY not in (row.key_digest, str(row)) and len(row.key_digest) == 64
    assert str(row).endswith(":test")


def test_pages_and_a_press_of_an_opened_payment_ask_nothing(book: Book) -> None:
    order, client = opened()
    KeyAccount.objects.all().delete()
    accounts.forget()
    calls = len(book.calls(path=ASKED))
    client.get("/")
    client.get(f"/orders/{order.pk}/pay/")
    assert press(client, order).status_code == 201
    assert len(book.calls(path=ASKED)) == calls


def test_the_beat_learns_whose_key_it_is_and_makes_sure_now_and_then(book: Book) -> None:
    tasks.complete_due()
    tasks.complete_due()
    assert len(book.calls(path=ASKED)) == 1
    KeyAccount.objects.update(seen_at=timezone.now() - datetime.timedelta(hours=2))
    tasks.complete_due()
    assert len(book.calls(path=ASKED)) == 2
    assert KeyAccount.objects.get().seen_at > minutes_ago(1)


def test_a_key_that_may_not_ask_is_not_compared_and_not_asked_for_at_each_opening(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.rule("403", ASKED, method="GET", times=None)
    for _ in range(3):
        order, client = opened()
        assert press(client, order).status_code == 201
        assert payment_of(order).account == ""
    assert len(book.calls(path=ASKED)) == 1
    assert "account_not_known" in caplog.text
    assert not rings(client)


# --- compared --------------------------------------------------------------------------------------------------------


def test_another_account_than_the_open_payments_closes_pay_and_rings_until_they_have_ended(book: Book) -> None:
    order, client = opened()
    other, browser = placed_order()
    account = switched(book)
    for shopper, one in ((client, order), (browser, other)):
        for _ in range(2):
            assert refused(press(shopper, one))
    assert Attempt.objects.count() == 0
    assert [call for call in book.calls() if call["method"] == "POST"] == []
    assert rings(client)
    assert cancel(client, order).status_code == 200
    assert payment_of(order).phase == "abandoned"
    assert not rings(client)
    accounts.forget()  # a minute later
    assert press(browser, other).status_code == 201
    assert payment_of(other).account == f"{account}:test"


def test_pay_opens_again_when_the_key_is_back(book: Book) -> None:
    order, client = opened()
    row = KeyAccount.objects.get()
    KeyAccount.objects.update(account_id="acct_other")
    accounts.forget()
    assert refused(press(client, order))
    KeyAccount.objects.update(account_id=row.account_id)
    accounts.forget()
    assert press(client, order).status_code == 201


def test_another_mode_of_the_same_account_is_another_account(book: Book, settings: Any) -> None:
    order, client = opened()
    row = KeyAccount.objects.get()
    settings.STRIPE_SECRET_KEY = "sk_live_ofthesameaccount"
    accounts.forget()
    KeyAccount.objects.create(
        key_digest=accounts._digest(), account_id=row.account_id, livemode=True, seen_at=timezone.now()
    )
    assert refused(press(client, order))
    assert accounts.read_other_accounts() == accounts.OtherAccounts(
        f"{row.account_id}:live", [(f"{row.account_id}:test", 1)]
    )


def test_what_was_paid_already_is_replayed_whatever_the_account(book: Book) -> None:
    paid, client = placed_order()
    key = paid.pay_key
    first = press(client, paid, key)
    opened()
    switched(book)
    again = press(client, paid, key)
    assert (again.status_code, again.content) == (201, first.content)


def test_a_payment_of_another_account_is_refused_also_by_a_process_that_has_not_looked_again(book: Book) -> None:
    order, client = opened()
    now = accounts.seen()
    assert not now.others_open
    Payment.objects.update(account="acct_other:test")
    assert refused(press(client, order))
    assert confirms(book, order) == []


def test_a_create_is_not_sent_again_to_another_account(book: Book) -> None:
    book.rule("reset", CREATE, when="after", times=None)
    order, _ = opened()
    switched(book)
    with pytest.raises(NothingSent, match="our key is of"):
        pay.open_payment(payment_of(order), Deadline(5), [])
    assert book.intents() == [] and payment_of(order).phase == "opening"
    assert payment_of(order).locked_until is None


def test_payments_whose_account_was_not_known_are_not_compared(book: Book) -> None:
    order, client = opened()
    Payment.objects.update(account="")
    KeyAccount.objects.update(account_id="acct_other")
    accounts.forget()
    assert press(client, order).status_code == 201
    assert book.calls(path=CONFIRM) != []


def test_a_process_reads_whose_key_it_is_once_a_minute_however_many_presses_come(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [opened() for _ in range(3)]
    accounts.forget()
    reads = []
    for order, client in orders:
        with CaptureQueriesContext(connection) as asked:
            assert press(client, order).status_code == 201
        reads.append(len([query for query in asked if "payments_keyaccount" in query["sql"]]))
    assert reads == [1, 0, 0]
    monkeypatch.setattr(accounts, "_seen", accounts.Seen("acct_old:test", others_open=True, until=0.0))
    assert accounts.seen().account != "acct_old:test"  # too old to be believed
