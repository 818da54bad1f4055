"""Guards of a refund that no other test would miss: each test here is red once its one guard is gone."""

import datetime
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Order
from payments import outcome, pay, refund
from payments.errors import StaleLease
from payments.gateways.transport import Deadline
from payments.intents import look_at_intent
from payments.leases import Lease, take_lease
from payments.models import Asker, Break, Payment, Refund, RefundQuerySet
from payments.reconciliation.double_charges import give_back
from payments.reconciliation.recovery import ask_stripe
from payments.refund import (
    Ask,
    Said,
    carry_out_refund,
    claim_refund,
    complete_refund,
    follow_refunds,
    refund_once,
    settle_refund,
)
from payments.row_lock import give_back_connections, locked_payment
from shop.models import Product
from shop.problems import Problem
from tests.book import REFUND, Book
from tests.payments.paying import at_stripe, intent_of, let_leases_end, placed_order, press
from tests.payments.planting import open_breaks, ours, paid_order, payment_of, refund_row, second_charge, swept
from tests.payments.test_money_moves_once import amounts, late, posts
from tests.races.crowd import meanwhile, run_before
from tests.races.waiting import until_it_waits, with_own_connection

pytestmark = pytest.mark.django_db(transaction=True)

DAY_AND_AN_HOUR = 25 * 3600  # Stripe remembers a key for 24 hours


@pytest.fixture(autouse=True)
def _no_waiting(settings: Any) -> None:
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    settings.SWEEP_REQUESTS_PER_SECOND = 100_000


def a_claim(payment: Payment, amount_minor: int = 100, key: str = "refund-1") -> tuple[Refund, Lease]:
    row, lease = claim_refund(payment, asked(amount_minor, key))
    assert lease is not None
    return row, lease


def asked(amount_minor: int, key: str = "refund-1") -> Ask:
    return Ask(key, "", amount_minor, "requested_by_customer", None, asked_by=Asker.SWEEP)


def columns(row: Refund) -> dict[str, Any]:
    return dict(Refund.objects.filter(pk=row.pk).values().get())


def let_it_end(row: Refund) -> None:
    """As if time had passed: nobody holds the refund, and its next look is due."""
    past = timezone.now() - datetime.timedelta(hours=1)
    Refund.objects.filter(pk=row.pk, locked_until__isnull=False).update(locked_until=past)
    Refund.objects.filter(pk=row.pk).update(next_look_at=past)


# --- fencing ----------------------------------------------------------------------------------------------------------


def test_a_holder_of_a_refund_that_was_overtaken_writes_nothing(book: Book) -> None:
    """Its "failed" would free an amount that another holder is giving back."""
    row, old = a_claim(payment_of(paid_order()))
    let_it_end(row)
    new = take_lease(row)
    assert new is not None
    before = columns(row)
    with pytest.raises(StaleLease):
        settle_refund(row, old, Said(failed=True), (), Asker.COMPLETER)
    assert columns(row) == before
    assert settle_refund(row, new, Said(failed=True), (), Asker.COMPLETER).outcome == "failed"


def test_a_holder_of_a_refund_that_thaws_a_day_late_sends_nothing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that it holds was spent on a stored error, and Stripe has forgotten it; the next one gave back."""
    payment = payment_of(paid_order())
    row, lease = a_claim(payment)

    def another_holder() -> None:
        book.rule("500", REFUND, when="before")
        for _ in range(2):
            let_it_end(row)
            complete_refund(row.pk, Asker.COMPLETER)
        book.advance(DAY_AND_AN_HOUR)

    run_before(monkeypatch, refund, "_commit_sending", another_holder)
    assert carry_out_refund(row, lease, Asker.COMPLETER).outcome == "succeeded"
    assert amounts(book, payment.order_id) == [100]
    assert len({call["key"] for call in posts(book)}) == len(posts(book)) == 2


def rival_before(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, owner: object, name: str, row: Refund
) -> list[Future[Any]]:
    """Somebody wants the refund's lease just before owner.name goes on: they wait, or have their way."""
    real, rivals = getattr(owner, name), list[Future[Any]]()

    def with_rival(*args: Any, **kwargs: Any) -> Any:
        if not rivals:
            rivals.append(pool.submit(with_own_connection, lambda: take_lease(row)))
            until_it_waits(rivals[0])
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, with_rival)
    return rivals


@pytest.mark.parametrize("by", ["its holder", "whoever reads the list"])
def test_nobody_takes_a_refund_over_while_what_became_of_it_is_being_written(
    book: Book, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    payment = payment_of(paid_order())
    row, lease = a_claim(payment)
    book.rule("reset", REFUND, when="after", times=4)
    assert carry_out_refund(row, lease, Asker.COMPLETER).outcome == "unknown"
    let_it_end(row)
    with ThreadPoolExecutor(1) as pool:
        rivals = rival_before(monkeypatch, pool, refund, "_move", row)
        if by == "its holder":
            settle_refund(row, Lease(Refund, row.pk, lease.token + 1), Said(failed=True), (), Asker.COMPLETER)
        else:
            assert follow_refunds(payment, Asker.WEBHOOK)
        assert rivals[0].result(30) is None
    assert Refund.objects.get().phase == "finished"


def test_nobody_takes_a_refund_over_while_it_is_being_written_that_it_is_sent(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease had run out; it is renewed by the very transaction that looked at its token."""
    row, lease = a_claim(payment_of(paid_order()))
    let_it_end(row)
    with ThreadPoolExecutor(1) as pool:
        rivals = rival_before(monkeypatch, pool, RefundQuerySet, "perhaps_given", row)
        assert refund._commit_sending(row, lease, [])
        assert rivals[0].result(30) is None


# --- what is known, and what is not -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0, 24], ids=["its key is known", "its key is old"])
def test_a_refund_that_stripe_has_shown_neither_failed_nor_is_sent_again_when_the_list_is_short(
    book: Book, hours: int
) -> None:
    payment = payment_of(paid_order())
    row = refund_row(
        payment,
        amount_minor=100,
        idempotency_key="shown",
        phase="confirming",
        outcome="pending",
        refund_id="re_that_was_shown",
        gateway_key="test:refund:shown:0",
        params={"charge": payment.charge_id, "amount": 100},
        sent_at=timezone.now() - datetime.timedelta(hours=hours),
    )
    done = complete_refund(row.pk, Asker.COMPLETER)
    assert done is not None and (done.outcome, done.phase) == ("pending", "confirming")
    assert posts(book) == []


def test_a_replayed_refund_is_read_as_it_is_now(book: Book) -> None:
    """Its answer was lost; while it was asked for again, it failed at the bank."""
    payment = payment_of(paid_order())
    book.rule("reset", REFUND, when="after")
    book.rule("hold", REFUND, hold="bank", lock=False)
    with meanwhile(lambda: refund_once(payment, asked(payment.captured_minor))) as asking:
        book.wait_until_held("bank")
        book.end_refund(book.refunds(payment.order_id)[0]["id"], "failed")
        book.release("bank")
        row = asking.result(60)
    assert [call["replayed"] for call in posts(book)] == [False, True]
    assert row.outcome == "failed"
    assert Order.objects.get(pk=payment.order_id).status == "paid"


def test_what_the_list_shows_just_before_the_sending_counts(book: Book) -> None:
    """More than half is asked for; meanwhile the dashboard has given more than half back: nothing is sent."""
    payment = payment_of(paid_order())
    part = payment.captured_minor * 6 // 10
    row, lease = a_claim(payment, part)
    book.dashboard_refund(str(payment.charge_id), part)
    assert carry_out_refund(row, lease, Asker.SWEEP).outcome == "failed"
    assert posts(book) == []
    assert payment_of(payment.order).refunded_minor == part


# --- an order is judged by the charge that pays it --------------------------------------------------------------------


def test_a_second_charge_never_pays_an_order_that_was_refunded(book: Book) -> None:
    """It was found only when all had gone back: it is money to give back, and the order stays as it ended."""
    order = paid_order(stock=5)
    payment = payment_of(order)
    refund_once(payment, asked(payment.captured_minor))
    second = second_charge(book, order)
    for _ in range(2):
        swept()
        follow_refunds(payment_of(order), Asker.WEBHOOK)
    assert Order.objects.get(pk=order.pk).status == "refunded"
    assert payment_of(order).charge_id == payment.charge_id
    assert open_breaks() == [("double_charge", second["latest_charge"])]


def test_a_second_charge_of_another_amount_never_pays_the_order(book: Book) -> None:
    """The good charge goes back whole: the order ends refunded, and the other charge is money to give back."""
    order = paid_order(stock=5)
    payment = payment_of(order)
    other = book.foreign_payment(order.total_minor - 1, order.currency.lower(), ours(order))
    swept()
    book.dashboard_refund(str(payment.charge_id))
    assert follow_refunds(payment, Asker.WEBHOOK)
    assert Order.objects.get(pk=order.pk).status == "refunded"
    assert (payment_of(order).charge_id, payment_of(order).refunded_minor) == (payment.charge_id, order.total_minor)
    assert open_breaks() == [("double_charge", other["latest_charge"])]


def test_what_goes_back_of_a_payment_that_pays_nothing_leaves_a_paid_order_alone(book: Book) -> None:
    """Another amount was taken and went back; a second payment pays the order since."""
    order, client = placed_order(stock=5)
    pay.open_ahead(order.pk)
    at_stripe(f"payment_intents/{intent_of(order)}", amount=999)
    assert press(client, order).json()["status"] == "unknown"
    let_leases_end(order)
    book.dashboard_refund(book.succeeded(order.pk)[0]["id"])
    ask_stripe(order, Asker.WEBHOOK)
    assert press(client, Order.objects.get(pk=order.pk)).status_code == 201
    first = Payment.objects.get(order=order, n=1)
    assert follow_refunds(first, Asker.WEBHOOK)
    assert (Order.objects.get(pk=order.pk).status, Product.objects.get().stock) == ("paid", 4)


def test_a_second_charge_that_pays_the_order_by_now_is_not_given_back(book: Book) -> None:
    """The break was on the clerk's page when the dashboard gave the good charge back."""
    order = paid_order(stock=5)
    second = second_charge(book, order)
    swept()
    found, good = Break.objects.get(kind="double_charge"), str(payment_of(order).charge_id)
    book.dashboard_refund(good)
    with pytest.raises(Problem, match="left to refund"):
        give_back(found)
    assert [one["charge"] for one in book.refunds(order.pk)] == [good]
    assert (Order.objects.get(pk=order.pk).status, payment_of(order).charge_id) == ("paid", second["latest_charge"])


# --- late money: decided once, by two layers --------------------------------------------------------------------------


def settled_late(book: Book) -> tuple[Order, Payment, Any]:
    """It goes back, for its goods were sold; afterwards there are goods again."""
    order = late(book)
    payment = payment_of(order)
    give_back_connections()
    finding = look_at_intent(payment, Deadline(5), [])
    outcome.settle(payment, None, finding, Asker.WEBHOOK)
    assert Refund.objects.get().by_itself
    Product.objects.update(stock=5)
    return order, payment, finding


def test_late_money_that_has_moved_the_payment_is_not_decided_again(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, payment, finding = settled_late(book)
    again: list[Any] = []
    monkeypatch.setattr(outcome, "_late_money", lambda *args: again.append(args))
    outcome.settle(payment, None, finding, Asker.COMPLETER)
    assert again == []


def test_late_money_whose_refund_is_written_never_revives_its_order(book: Book) -> None:
    order, payment, finding = settled_late(book)
    with locked_payment(payment.pk, order.pk) as rows:
        outcome._late_money(*rows, finding.intent)
    assert Order.objects.get(pk=order.pk).status == "expired"
    assert Refund.objects.count() == 1
