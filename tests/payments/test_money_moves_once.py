"""Refunds as safe as the charge: whatever was lost, replayed, renamed or late, money moves back once, and an order is
judged by the charge that pays it."""

import datetime
import threading
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone

from orders.mail import send_due_mails
from orders.models import Mail, Order
from payments import pay
from payments.gateways.transport import Deadline
from payments.intents import look_at_intent
from payments.models import Asker, Attempt, Break, Charge, Payment, PaymentEvent, Refund, WebhookEvent, refund_id
from payments.outcome import settle
from payments.reconciliation.double_charges import give_back
from payments.reconciliation.event_feed import read_events
from payments.reconciliation.inbox import work_webhooks
from payments.reconciliation.recovery import ask_stripe, complete_due
from payments.refund import Ask, complete_refund, follow_refunds, refund_once
from payments.row_lock import give_back_connections, locked_order
from shop.ids import new_id
from shop.models import Product
from tests.book import CONFIRM, REFUND, Book
from tests.orders.making import give_up, make_guest, make_order, make_product
from tests.payments.paying import at_stripe, client_of, intent_of, let_leases_end, placed_order, press
from tests.payments.planting import no_triggers, open_breaks, paid_order, payment_of, refund_row, second_charge, swept

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_waiting(settings: Any) -> None:
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    settings.SWEEP_REQUESTS_PER_SECOND = 100_000


@pytest.fixture
def staff() -> Client:
    client = Client(headers={"Accept": "application/json"})
    client.force_login(User.objects.create_superuser("clerk", "clerk@example.com", "a long password"))
    return client


def ask(client: Client, payment: Payment, amount: int, key: str = "refund-1") -> Any:
    return client.post(
        f"/api/payments/{payment.pk}/refunds/",
        {"amount": amount, "reason": "requested_by_customer"},
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )


def posts(book: Book) -> list[Any]:
    return [call for call in book.calls(path=REFUND) if call["method"] == "POST"]


def amounts(book: Book, order: Order | str) -> list[int]:
    return [one["amount"] for one in book.refunds(order if isinstance(order, str) else order.pk)]


def lose_refunds(payment: Payment) -> None:
    """The last commits are gone with a database: rows, audit and all."""
    with no_triggers() as cursor:
        cursor.execute("DELETE FROM payments_refund WHERE payment_id = %s", [payment.pk])
        cursor.execute("DELETE FROM shop_staffact")


def lost_answer(book: Book, staff: Client, payment: Payment, amount: int = 100, key: str = "refund-1") -> None:
    """Stripe has given it back, and its answer was lost."""
    book.rule("reset", path=REFUND, when="after", times=10)
    assert ask(staff, payment, amount, key).status_code == 202
    book.clear_rules()
    assert amounts(book, payment.order_id) == [amount]


def complete_refunds() -> None:
    Refund.objects.update(next_look_at=timezone.now() - datetime.timedelta(hours=2), locked_until=None)
    complete_due(Asker.COMPLETER)


# --- the row was lost -------------------------------------------------------------------------------------------------


def test_a_refund_whose_row_was_lost_goes_back_once_under_its_own_key(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    lost_answer(book, staff, payment)
    lose_refunds(payment)
    again = ask(staff, payment, 100)
    assert (again.status_code, again.json()["status"]) == (201, "succeeded")
    assert again.json()["id"] == refund_id(payment.pk, "refund-1")
    assert ask(staff, payment, 100).content == again.content
    assert amounts(book, payment.order_id) == [100]


def test_a_refund_whose_row_was_lost_counts_against_what_is_left_whatever_key_comes_next(
    book: Book, staff: Client
) -> None:
    order = paid_order()
    payment = payment_of(order)
    lost_answer(book, staff, payment, order.total_minor - 100)
    lose_refunds(payment)
    other = ask(staff, payment, 500, "another-form")
    assert (other.status_code, other.json()["type"], other.json()["left"]) == (409, "/problems/refund-too-large", 100)
    assert ask(staff, payment, 100, "another-form").status_code == 201
    assert amounts(book, order) == [order.total_minor - 100, 100]


def test_a_lost_key_that_comes_back_with_another_amount_is_refused(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    lost_answer(book, staff, payment)
    lose_refunds(payment)
    other = ask(staff, payment, 200)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert amounts(book, payment.order_id) == [100]


def test_a_lost_key_that_comes_back_with_another_amount_while_stripe_is_silent_is_refused_too(
    book: Book, staff: Client
) -> None:
    payment = payment_of(paid_order())
    lost_answer(book, staff, payment)
    lose_refunds(payment)
    book.rule("reset", path=REFUND, method="GET", times=4)  # the look before the claim
    other = ask(staff, payment, 200)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert amounts(book, payment.order_id) == [100]
    assert Refund.objects.get().amount_minor == 100


def test_nothing_is_sent_while_stripe_s_list_cannot_be_read(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    book.rule("reset", path=REFUND, method="GET", times=None)
    assert ask(staff, payment, 100).status_code == 202
    assert posts(book) == []
    book.clear_rules()
    complete_refunds()
    assert amounts(book, payment.order_id) == [100]


# --- what Stripe keeps under a key ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "sent"), [("before", 2), ("after", 1)])
def test_a_refund_whose_call_got_a_stored_500_is_decided_by_stripe_s_list(
    book: Book, staff: Client, when: str, sent: int
) -> None:
    order = paid_order()
    payment = payment_of(order)
    book.rule("500", path=REFUND, when=when)
    first = ask(staff, payment, 300)
    assert first.status_code in (201, 202)
    complete_refunds()
    assert amounts(book, order) == [300]
    row = Refund.objects.get()
    assert (row.outcome, row.stored_errors) == ("succeeded", sent - 1)
    assert len({call["key"] for call in posts(book)}) == sent
    assert ask(staff, payment, order.total_minor - 300, "rest").status_code == 201


def test_a_key_that_keeps_failing_is_asked_for_ever_less_often(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    book.rule("500", path=REFUND, times=None)
    ask(staff, payment, 300)
    for _ in range(4):
        complete_refunds()
    row = Refund.objects.get()
    assert (row.outcome, row.looks, row.stored_errors) == ("unknown", 5, 5)
    assert row.next_look_at is not None and row.next_look_at > timezone.now() + datetime.timedelta(minutes=4)


def test_a_replayed_success_of_a_refund_that_has_failed_since_is_no_news(book: Book) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    first = give_back(Break.objects.get(kind="double_charge"))
    assert first is not None and first.outcome == "succeeded"
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    swept()
    found = Break.objects.get(kind="double_charge", resolved_at=None)
    second = give_back(found)
    assert second is not None and second.refund_id != first.refund_id
    assert [(one["status"], one["amount"]) for one in book.refunds(order.pk)] == [
        ("failed", order.total_minor),
        ("succeeded", order.total_minor),
    ]
    assert open_breaks() == []
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_a_failure_that_nobody_told_of_is_met_by_the_next_click(book: Book) -> None:
    """No webhook, no sweep: the break was opened again by hand, and the row still says that it has gone back."""
    order = paid_order()
    second_charge(book, order)
    swept()
    found = Break.objects.get(kind="double_charge")
    give_back(found)
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    Break.objects.update(resolved_at=None)
    again = give_back(found)
    assert again is not None and again.outcome == "succeeded"
    assert book.refunded(order.pk) == order.total_minor


def test_a_duplicate_whose_rows_were_lost_goes_back_once(book: Book) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    give_back(Break.objects.get(kind="double_charge"))
    with no_triggers() as cursor:
        cursor.execute("DELETE FROM payments_refund")
        cursor.execute("UPDATE payments_break SET resolved_at = NULL")
    assert give_back(Break.objects.get(kind="double_charge")) is None
    assert amounts(book, order) == [order.total_minor]


# --- keys and env are read from rows ----------------------------------------------------------------------------------


def test_a_setting_that_is_renamed_while_a_refund_is_unknown_moves_nothing_twice(
    book: Book, staff: Client, settings: Any
) -> None:
    payment = payment_of(paid_order())
    book.rule("reset", path=REFUND, when="before", times=4)  # nothing arrived: it is sent again under the new setting
    assert ask(staff, payment, 100).status_code == 202
    first = {call["key"] for call in posts(book)}
    settings.PAYMENT_ENV = "renamed"
    complete_refunds()
    assert amounts(book, payment.order_id) == [100]
    assert {call["key"] for call in posts(book)} == first == {Refund.objects.get().gateway_key}


def test_a_setting_that_is_renamed_changes_no_key_of_a_press_or_a_cancel(book: Book, settings: Any) -> None:
    order, client = placed_order()
    book.rule("reset", path=CONFIRM, when="before", times=4)
    assert press(client, order).status_code == 202
    book.clear_rules()
    sent = {call["key"] for call in book.calls(path=CONFIRM)}
    settings.PAYMENT_ENV = "renamed"
    payment = payment_of(order)
    assert payment.cancel_key.startswith("test:cancel:")
    swept()
    Attempt.objects.update(next_look_at=None, locked_until=None)
    complete_due(Asker.COMPLETER)
    assert {call["key"] for call in book.calls(path=CONFIRM)} == sent
    assert len(book.succeeded(order.pk)) == 1
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_what_was_made_under_the_old_name_is_still_ours(book: Book, settings: Any) -> None:
    order = paid_order()
    tampered = payment_of(order)
    settings.PAYMENT_ENV = "renamed"
    with no_triggers() as cursor:
        cursor.execute("UPDATE payments_payment SET captured_minor = captured_minor - 1 WHERE id = %s", [tampered.pk])
    swept()
    assert [kind for kind, _ in open_breaks()] == ["amount"]


# --- an order is judged by the charge that pays it --------------------------------------------------------------------


def good_charge_back_in_dashboard(book: Book, order: Order, amount: int | None = None) -> str:
    good = str(payment_of(order).charge_id)
    book.dashboard_refund(good, amount)
    return good


def test_the_good_charge_goes_back_while_a_second_one_stands_and_the_order_stays_paid(book: Book) -> None:
    order = paid_order(stock=5)
    second = second_charge(book, order)
    swept()
    assert [kind for kind, _ in open_breaks()] == ["double_charge"]
    good = good_charge_back_in_dashboard(book, order)
    for _ in range(3):
        swept()
    payment = payment_of(order)
    assert Order.objects.get(pk=order.pk).status == "paid"
    assert (payment.charge_id, payment.refunded_minor) == (second["latest_charge"], 0)
    assert Product.objects.get().stock == 4
    assert open_breaks() == []
    told = PaymentEvent.objects.get(order=order, kind=PaymentEvent.CREDITED)
    assert good in told.note and second["latest_charge"] in told.note


def test_the_mail_of_it_says_that_the_order_stands(book: Book, mailoutbox: list[Any]) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    good_charge_back_in_dashboard(book, order)
    swept()
    send_due_mails()
    (mail,) = [one for one in mailoutbox if "Refund" in one.subject]
    assert "charged twice" in mail.body and "pays your order" in mail.body
    assert "Left of what you paid" not in mail.body


def test_the_payment_s_page_says_which_charge_a_refund_is_of(book: Book, admin_client: Client) -> None:
    order = paid_order()
    second = second_charge(book, order)
    swept()
    give_back(Break.objects.get(kind="double_charge"))
    page = admin_client.get(f"/admin/payments/payment/{payment_of(order).pk}/change/").content.decode()
    assert f"gone back; of {second['latest_charge']}, which does not pay the order" in page
    assert f"of the charge {second['latest_charge']}" in page  # and so does its story


def test_after_the_credit_has_moved_staff_refund_the_charge_that_stands(book: Book, staff: Client) -> None:
    order = paid_order(stock=5)
    second = second_charge(book, order)
    swept()
    good_charge_back_in_dashboard(book, order)
    swept()
    assert ask(staff, payment_of(order), order.total_minor, "whole").status_code == 201
    assert [(one["charge"], one["status"]) for one in book.refunds(order.pk)][-1] == (
        second["latest_charge"],
        "succeeded",
    )
    assert Order.objects.get(pk=order.pk).status == "refunded"
    assert Product.objects.get().stock == 5
    for _ in range(2):
        swept()
    assert open_breaks() == []


@pytest.mark.parametrize("by", ["sweep", "webhook", "ask"])
def test_after_the_credit_has_moved_the_dashboard_s_refunds_of_that_charge_move_the_order(book: Book, by: str) -> None:
    order = paid_order(stock=5)
    second = second_charge(book, order)
    swept()
    good_charge_back_in_dashboard(book, order)
    swept()
    refund = book.dashboard_refund(second["latest_charge"])

    def told() -> None:
        if by == "ask":
            assert follow_refunds(payment_of(order), Asker.STAFF)
        elif by == "sweep":
            swept()
        else:
            read_events()
            WebhookEvent.objects.filter(state="stored").update(next_try_at=timezone.now())
            work_webhooks()

    told()
    assert (Order.objects.get(pk=order.pk).status, Product.objects.get().stock) == ("refunded", 5)
    book.end_refund(refund["id"], "failed")
    told()
    assert (Order.objects.get(pk=order.pk).status, Product.objects.get().stock) == ("paid", 4)
    assert payment_of(order).refunded_minor == 0


def test_the_charge_that_went_back_first_stands_again_and_is_a_second_one(book: Book) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    good = good_charge_back_in_dashboard(book, order)
    swept()
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    swept()
    assert open_breaks() == [("double_charge", good)]
    made = give_back(Break.objects.get(resolved_at=None))
    assert made is not None and (made.charge_id, made.outcome) == (good, "succeeded")
    assert open_breaks() == []
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_a_part_of_the_good_charge_that_goes_back_moves_no_credit(book: Book) -> None:
    order = paid_order()
    second_charge(book, order)
    swept()
    good = good_charge_back_in_dashboard(book, order, 100)
    swept()
    assert payment_of(order).charge_id == good
    assert [kind for kind, _ in open_breaks()] == ["double_charge"]


def test_a_second_charge_that_is_going_back_pays_no_order(book: Book) -> None:
    order = paid_order(stock=5)
    second_charge(book, order, card="pm_card_pendingRefund")
    swept()
    pending = give_back(Break.objects.get(kind="double_charge"))
    assert pending is not None and pending.outcome == "pending"
    good_charge_back_in_dashboard(book, order)
    swept()
    assert Order.objects.get(pk=order.pk).status == "refunded"
    assert Product.objects.get().stock == 5


def test_the_database_credits_no_charge_of_another_order_or_amount(book: Book) -> None:
    payment, other = payment_of(paid_order()), payment_of(paid_order())
    for charge in (other.charge_id, "ch_nobody", None):
        with pytest.raises(IntegrityError, match=r"charge_id of .* is final"):
            Payment.objects.filter(pk=payment.pk).update(charge_id=charge)


def test_refunds_of_a_payment_that_was_given_up_never_move_the_order(book: Book, staff: Client) -> None:
    order, client = placed_order(stock=5)
    pay.open_ahead(order.pk)
    first_intent = intent_of(order)
    at_stripe(f"payment_intents/{first_intent}", amount=999)
    assert press(client, order).json()["status"] == "unknown"
    let_leases_end(order)
    (charge,) = book.succeeded(order.pk)
    book.dashboard_refund(charge["id"], None)
    ask_stripe(order, Asker.WEBHOOK)
    order.refresh_from_db()
    assert press(client, order).status_code == 201  # by a second payment
    payment = Payment.objects.get(order=order, phase="succeeded")
    assert ask(staff, payment, payment.amount_minor, "whole").status_code == 201
    read_events()
    WebhookEvent.objects.filter(state="stored").update(next_try_at=timezone.now())
    work_webhooks()
    for one in Payment.objects.filter(order=order):
        follow_refunds(one, Asker.STAFF)
    assert (Order.objects.get(pk=order.pk).status, Product.objects.get().stock) == ("refunded", 5)


# --- late money -------------------------------------------------------------------------------------------------------


def late(book: Book) -> Order:
    """Charged, and the order has ended meanwhile; its goods were sold to somebody else."""
    order, client = placed_order(stock=5)
    book.rule("reset", path=CONFIRM, when="after", times=4)
    assert press(client, order).status_code == 202
    book.clear_rules()
    order.refresh_from_db()
    give_up(order, "expired")
    Product.objects.update(stock=0)
    return order


def test_late_money_that_two_lookers_settle_either_revives_the_order_or_goes_back(book: Book) -> None:
    order = late(book)
    payment = payment_of(order)
    give_back_connections()
    finding = look_at_intent(payment, Deadline(5), [])
    settle(payment, None, finding, Asker.WEBHOOK)
    assert Refund.objects.count() == 1
    Product.objects.update(stock=5)  # another order has given its goods back meanwhile
    settle(payment, None, finding, Asker.COMPLETER)
    assert Order.objects.get(pk=order.pk).status == "expired"
    complete_refunds()
    assert book.refunded(order.pk) == order.total_minor
    assert not Mail.objects.filter(kind="receipt").exists()


def test_of_late_money_goes_back_what_the_dashboard_has_left(book: Book) -> None:
    order = late(book)
    book.dashboard_refund(book.succeeded(order.pk)[0]["id"], 300)
    swept()
    for _ in range(2):
        complete_refunds()
    assert sorted(amounts(book, order)) == [300, order.total_minor - 300]
    assert payment_of(order).refunded_minor == order.total_minor
    swept()
    assert open_breaks() == []


# --- clocks, pages, amounts -------------------------------------------------------------------------------------------


def test_the_age_of_a_refund_s_key_is_the_database_s_whatever_two_servers_say(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    with time_machine.travel(timezone.now() + datetime.timedelta(minutes=59)):
        book.rule("reset", path=REFUND, when="after", times=10)
        refund_once(payment, Ask("k", "f", 100, "requested_by_customer", None, asked_by=Asker.SWEEP))
    book.clear_rules()
    row = Refund.objects.get()
    assert row.sent_at is not None and abs(row.sent_at - timezone.now()) < datetime.timedelta(minutes=5)
    book.advance(24.5 * 3600)
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=23.5)):
        Refund.objects.update(next_look_at=None, locked_until=None)
        complete_refund(row.pk, Asker.COMPLETER)
    assert amounts(book, payment.order_id) == [100]
    assert Refund.objects.get().outcome == "succeeded"


def test_a_key_that_stripe_may_have_forgotten_is_not_sent_again(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    book.rule("reset", path=REFUND, when="before", times=4)
    assert ask(staff, payment, 100).status_code == 202
    sent = len(posts(book))
    Refund.objects.update(sent_at=timezone.now() - datetime.timedelta(hours=23, minutes=5))
    complete_refunds()
    assert len(posts(book)) == sent
    assert Refund.objects.get().outcome == "failed"
    assert [kind for kind, _ in open_breaks()] == ["status"]


def test_a_refund_beyond_the_first_page_of_stripe_s_list_is_found(book: Book, staff: Client) -> None:
    order, client = placed_order(stock=10, quantity=2)
    assert press(client, order).status_code == 201
    payment = payment_of(order)
    lost_answer(book, staff, payment, 300)
    charge = book.succeeded(order.pk)[0]["id"]
    book.advance(60)
    for _ in range(101):
        book.dashboard_refund(charge, 1)
    Refund.objects.update(sent_at=timezone.now() - datetime.timedelta(hours=23, minutes=5), locked_until=None)
    complete_refund(Refund.objects.get().pk, Asker.COMPLETER)
    assert Refund.objects.get(amount_minor=300).outcome == "succeeded"
    assert follow_refunds(payment, Asker.SWEEP)
    payment.refresh_from_db()
    assert payment.refunded_minor == 300 + 101
    assert open_breaks() == []


@pytest.mark.parametrize(("amount", "status"), [(1005, 400), (1001, 400), (9, 400), (1010, 201)])
def test_the_last_figure_of_three_decimals_is_0(book: Book, staff: Client, amount: int, status: int) -> None:
    shopper = make_guest()
    product = make_product(stock=5, price_minor=12500, currency="KWD")
    order = make_order((product, 1), shopper=shopper)
    assert press(client_of(shopper), order).status_code == 201
    answer = ask(staff, payment_of(order), amount)
    assert answer.status_code == status, answer.content
    assert amounts(book, order) == ([amount] if status == 201 else [])
    if status == 400:
        assert "must be 0" in answer.json()["errors"]["amount"][0]


# --- the cap ----------------------------------------------------------------------------------------------------------


def test_the_database_alone_keeps_refunds_within_their_charge(book: Book) -> None:
    payment = payment_of(paid_order())
    refund_row(payment, amount_minor=payment.captured_minor - 10, idempotency_key="a", outcome="unknown")
    with pytest.raises(IntegrityError, match="refunds of charge"):
        refund_row(payment, amount_minor=11, idempotency_key="b")
    refund_row(payment, amount_minor=10, idempotency_key="c")
    refund_row(payment, amount_minor=500, idempotency_key="d", refund_id="re_of_stripe_s_book")  # a fact


def test_a_charge_of_a_payment_that_was_given_up_has_a_row_of_its_own(book: Book) -> None:
    order = paid_order()
    second = second_charge(book, order)
    swept()
    rows = {one.pk: one.captured_minor for one in Charge.objects.filter(order=order)}
    assert rows == {payment_of(order).charge_id: order.total_minor, second["latest_charge"]: order.total_minor}


def test_no_key_of_a_refund_that_money_rests_on_comes_from_chance(book: Book, staff: Client) -> None:
    payment = payment_of(paid_order())
    assert ask(staff, payment, 100, key := new_id()).status_code == 201
    (call,) = posts(book)
    assert call["key"] == f"test:refund:{refund_id(payment.pk, key)}:0"


def test_a_refund_of_a_payment_that_is_being_worked_on_is_asked_to_come_again(book: Book, staff: Client) -> None:
    order = paid_order()
    payment = payment_of(order)
    done = threading.Event()

    def hold() -> None:
        with locked_order(order.pk):
            held.set()
            done.wait(60)
        give_back_connections()

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    book.dashboard_refund(str(payment.charge_id), 100)  # so that there is something to write down before the claim
    answer = ask(staff, payment, 200)
    done.set()
    holder.join()
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/request-in-progress")
    assert amounts(book, order) == [100]
    assert ask(staff, payment, 200).status_code == 201
