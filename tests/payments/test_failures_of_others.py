"""What went wrong in other shops and has no better home among our tests; docs/failures.md lists all of it."""

import ast
import datetime
import itertools
from functools import partial
from typing import Any

import pytest
from django.conf import settings as shop_settings
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client
from django.utils import timezone

from orders.models import Mail, Order
from payments.cancellation import expire_due
from payments.models import Asker, Attempt, Payment, PaymentEvent, Refund
from payments.reconciliation.inbox import work_webhooks
from payments.reconciliation.recovery import ask_stripe, complete_due
from payments.sandbox.currencies import DECIMALS, display
from shop.env import BASE_DIR
from shop.models import Product
from shop.money import CURRENCIES, decimal_text, money_text
from tests.book import REFUND, Book, Json
from tests.crashes.dying import in_background
from tests.oracles import assert_books_agree
from tests.orders.making import make_attempt, make_guest, make_order, make_product
from tests.payments.paying import (
    cancel,
    client_of,
    complete,
    confirms,
    intent_of,
    placed_order,
    press,
    start_over,
    status_of,
)
from tests.payments.planting import paid_order, payment_of
from tests.payments.test_webhooks import deliver
from tests.races.crowd import at_once

pytestmark = pytest.mark.django_db(transaction=True)

DAY = datetime.timedelta(days=1)


@pytest.fixture
def staff() -> Client:
    client = Client(headers={"Accept": "application/json"})
    client.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    return client


def refund(client: Client, payment: Payment, amount: int, key: str = "refund-1") -> Any:
    return client.post(
        f"/api/payments/{payment.pk}/refunds/",
        {"amount": amount, "reason": "requested_by_customer"},
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )


def rows_of(order: Order) -> list[list[dict[str, Any]]]:
    """All that money has written about it."""
    models: list[tuple[Any, str]] = [(Order, "pk"), (Payment, "order"), (Attempt, "order")]
    models += [(PaymentEvent, "order"), (Mail, "order")]
    return [list(model.objects.filter(**{by: order.pk}).order_by("pk").values()) for model, by in models]


# --- 29: money is read where it was written ---------------------------------------------------------------------------


class ReadsFromReplica:
    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"


def test_a_router_that_would_read_money_from_a_replica_is_refused_at_the_start(settings: Any) -> None:
    assert [error.id for error in run_checks() if error.id == "payments.E009"] == []
    settings.DATABASE_ROUTERS = [f"{__name__}.ReadsFromReplica"]
    assert [error.id for error in run_checks() if error.id == "payments.E009"] == ["payments.E009"]


# --- 44: a refund meets an object that Stripe has locked -------------------------------------------------------------


def test_a_refund_that_meets_a_locked_object_is_made_once_with_one_key(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    book.rule("lock_timeout", REFUND, times=2)
    assert refund(staff, payment, 300).status_code == 201
    book.rule("lock_timeout", REFUND, times=None)
    unsure = refund(staff, payment, 200, "refund-2")
    assert (unsure.status_code, unsure.json()["status"]) == (202, "unknown")
    book.clear_rules()
    assert refund(staff, payment, 200, "refund-2").status_code in (201, 202)
    Refund.objects.update(next_look_at=timezone.now())
    complete_due()
    assert sorted(each["amount"] for each in book.refunds(payment.order_id)) == [200, 300]
    assert len({call["key"] for call in book.calls(path=REFUND) if call["method"] == "POST"}) == 2
    assert set(Refund.objects.values_list("outcome", flat=True)) == {"succeeded"}


# --- 56, 113: what no source of ours may do --------------------------------------------------------------------------


def calls_of(*names: str) -> list[tuple[str, set[str]]]:
    """Every call of a method of that name in our sources: where, and its keyword arguments."""
    found: list[tuple[str, set[str]]] = []
    for path in itertools.chain.from_iterable((BASE_DIR / app).rglob("*.py") for app in ("shop", "orders", "payments")):
        if "sandbox" in path.parts:
            continue
        where = str(path.relative_to(BASE_DIR))
        found += [
            (where, {word.arg or "**" for word in node.keywords})
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names
        ]
    return found


def test_no_lock_is_without_a_time_to_live() -> None:
    locks = calls_of("lock")
    assert [where for where, _ in locks] == ["payments/redis_lock.py"]
    assert all({"timeout", "blocking"} <= words for _, words in locks)


def test_no_task_waits_in_the_broker_for_its_time() -> None:
    """When to try again stands in the row; a message that waits would be handed out twice."""
    sent = calls_of("apply_async", "send_task", "retry", "s", "signature")
    assert sent, "this looks at nothing"
    assert [where for where, words in sent if words & {"eta", "countdown"}] == []
    assert shop_settings.CELERY_TASK_ACKS_LATE is True


# --- 76: back from the bank without a session ------------------------------------------------------------------------


def test_back_from_the_bank_without_a_session_shows_nothing_to_a_stranger_and_the_cart_is_spent(book: Book) -> None:
    order, client = placed_order()
    cart = order.cart
    assert cart is not None and cart.items.exists()
    press(client, order, token="pm_card_threeDSecure2Required")
    book.challenge(intent_of(order), "pass")
    stranger = Client(headers={"Accept": "text/html"})
    back = stranger.get(f"/orders/{order.pk}/return/?payment_intent_client_secret=pi_1_secret_2")
    assert (back.status_code, back.headers["Location"]) == (303, f"/orders/{order.pk}/")
    page = stranger.get(back.headers["Location"], follow=True)
    assert order.email not in page.content.decode()
    assert "secret" not in page.content.decode()
    ask_stripe(order, Asker.WEBHOOK)
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert not cart.items.exists()


# --- 82, 83: every currency, by two tables that do not know each other -----------------------------------------------


@pytest.mark.parametrize("code", CURRENCIES)
def test_what_stripe_takes_and_gives_back_is_what_the_page_said(book: Book, staff: Client, code: str) -> None:
    currency = CURRENCIES[code]
    price = currency.smallest_minor + 1230
    product = make_product(price_minor=price, currency=code)
    shopper = make_guest()
    order, client = make_order((product, 2), shopper=shopper), client_of(shopper)
    page = client.get(f"/orders/{order.pk}/pay/", headers={"Accept": "text/html"}).content.decode()
    assert money_text(2 * price, code) in page
    assert press(client, order).status_code == 201
    charge = book.succeeded(order.pk)[0]
    assert display(charge["amount"], charge["currency"]) == f"{decimal_text(2 * price, code)} {code}"
    part = currency.smallest_minor
    assert refund(staff, payment_of(order), part).status_code == 201
    given = book.refunds(order.pk)[0]
    assert display(given["amount"], given["currency"]) == f"{decimal_text(part, code)} {code}"


def test_a_currency_has_as_many_decimals_at_stripe_as_here() -> None:
    assert {code: DECIMALS[code.lower()] for code in CURRENCIES} == {
        code: currency.decimals for code, currency in CURRENCIES.items()
    }


# --- 89: the goods are counted down while the bank asks --------------------------------------------------------------


def test_stock_set_to_nothing_during_the_challenge_leaves_the_goods_that_are_held(book: Book) -> None:
    order, client = placed_order(stock=1)
    press(client, order, token="pm_card_threeDSecure2Required")
    assert Product.objects.get().stock == 0  # held since it was placed: there is nothing left to withdraw
    Product.objects.update(stock=0)
    book.challenge(intent_of(order), "pass")
    ask_stripe(order, Asker.SHOPPER)
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert Product.objects.get().stock == 0
    assert book.refunds(order.pk) == []


# --- 91: who loses a race gives nothing back -------------------------------------------------------------------------


def _settle_by_one_of_three_ways(order: Order, event: Json, number: int) -> None:
    match number % 3:
        case 0:
            ask_stripe(order, Asker.SHOPPER)
        case 1:
            complete_due()
        case _:
            deliver(event)
            work_webhooks()


def test_many_that_settle_the_last_piece_at_once_refund_nothing(book: Book) -> None:
    for _ in range(5):
        order, client = placed_order(stock=1)
        press(client, order, token="pm_card_threeDSecure2Required")
        book.challenge(intent_of(order), "pass")
        event = book.events(intent_of(order))[-1]
        at_once(6, partial(_settle_by_one_of_three_ways, order, event), connected=False)
        work_webhooks()
        assert Order.objects.get(pk=order.pk).status == "paid"
        assert (book.refunds(order.pk), Refund.objects.count()) == ([], 0)
        assert_books_agree(book, order, stock=1)


# --- 97: a bank that thinks for days ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "ends", "stock"), [("succeed", "paid", 9), ("fail", "pending", 9)])
def test_days_of_processing_are_no_answer(book: Book, word: str, ends: str, stock: int) -> None:
    order, client = placed_order()
    book.rule("processing")
    assert press(client, order).status_code == 202
    long_ago = timezone.now() - 6 * DAY
    for _ in range(3):
        Attempt.objects.update(claimed_at=long_ago)
        Order.objects.update(expires_at=long_ago)
        assert expire_due() == 0
        complete(order)
        assert press(client, order, "another").json()["type"] == "/problems/payment-in-progress"
        assert (Attempt.objects.get().outcome, order.lines.get().product.stock) == ("processing", 9)
    book.end_processing(intent_of(order), word)
    complete(order)
    order.refresh_from_db()
    assert (order.status, order.lines.get().product.stock) == (ends, stock)
    if ends == "pending":
        Order.objects.update(expires_at=long_ago)
        assert (expire_due(), expire_due()) == (1, 0)
        assert order.lines.get().product.stock == 10
    assert_books_agree(book, order)


# --- 98: who expires -------------------------------------------------------------------------------------------------

EXPIRES = {"": True, "declined": True, "failed": True, "canceled": True, "released": True}
STAYS = dict.fromkeys(["confirming", "unknown", "processing", "requires_action", "succeeded"], False)


@pytest.mark.parametrize(("outcome", "expires"), (EXPIRES | STAYS).items())
def test_two_days_later_an_order_expires_unless_money_may_come(book: Book, outcome: str, expires: bool) -> None:
    order = make_order(status="paid" if outcome == "succeeded" else "pending")
    if outcome:
        make_attempt(order, "" if outcome == "confirming" else outcome)
        Payment.objects.update(phase="abandoned" if expires else "open")  # nothing at Stripe to cancel: not its matter
    asked = expire_due(now=timezone.now() + 2 * DAY)
    assert asked == int(expires)
    order.refresh_from_db()
    assert order.status == ("expired" if expires else "paid" if outcome == "succeeded" else "pending")


# --- 104: the event of a refund is faster than its answer ------------------------------------------------------------


def test_a_refund_whose_event_comes_before_its_answer_is_one_row(book: Book, staff: Client) -> None:
    order = paid_order()
    payment = payment_of(order)
    book.rule("hold", REFUND, when="after", hold="refund")
    asked = in_background(refund, staff, payment, order.total_minor)
    book.wait_until_held("refund")
    for event in book.events(payment.intent_id):
        if "refund" in event["type"]:
            deliver(event)
    work_webhooks()
    book.release("refund")
    assert asked.result(60).status_code == 201
    assert list(Refund.objects.values_list("amount_minor", "outcome")) == [(order.total_minor, "succeeded")]
    payment.refresh_from_db()
    assert payment.refunded_minor == order.total_minor == book.refunded(order.pk)
    assert (Order.objects.get(pk=order.pk).status, Product.objects.get().stock) == ("refunded", 10)


# --- 110: which charge is refunded -----------------------------------------------------------------------------------


def test_a_refund_after_declines_goes_to_the_charge_that_took_the_money(book: Book, staff: Client) -> None:
    order, client = placed_order()
    for card in ("pm_card_chargeDeclined", "pm_card_chargeDeclinedFraudulent"):
        assert press(client, order, token=card).status_code == 402
    assert press(client, order).status_code == 201
    assert refund(staff, payment_of(order), 300).status_code == 201
    taken = book.succeeded(order.pk)[0]["id"]
    assert [(each["charge"], each["amount"]) for each in book.refunds(order.pk)] == [(taken, 300)]
    assert payment_of(order).charge_id == taken


# --- 122: a guard that fires leaves the paid order as it is ----------------------------------------------------------


def test_no_guard_that_meets_a_paid_order_changes_it(book: Book) -> None:
    order, client = placed_order()
    key = order.pay_key
    assert press(client, order, key).status_code == 201
    order.refresh_from_db()
    before = rows_of(order)
    guarded = [
        press(client, order, key).status_code,
        press(client, order, key, token="pm_card_mastercard").status_code,
        press(client, order, "another").status_code,
        cancel(client, order).status_code,
        start_over(client, order).status_code,
    ]
    assert guarded == [201, 422, 409, 409, 409]
    for event in book.events(intent_of(order)):
        deliver(event)
    work_webhooks()
    complete_due()
    expire_due(now=timezone.now() + 2 * DAY)
    assert status_of(client, order)["order_status"] == "paid"
    assert rows_of(order) == before
    assert len(confirms(book, order)) == 1
