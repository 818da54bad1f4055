"""Ask Stripe now, from the desk: one order, a selection, a day; before and after, harmless, and written down."""

import datetime
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Order
from payments.backoffice.actions import ask_stripe
from payments.models import Attempt, Payment, PaymentEvent, Refund
from payments.refund import Ask, refund_once
from shop.models import StaffAct
from tests.book import CONFIRM, CREATE, REFUND, Book
from tests.orders.making import make_attempt, make_order
from tests.payments.paying import let_leases_end, placed_order, press
from tests.payments.planting import paid_order, payment_of
from tests.payments.staff import address, at_once, clerk, fields_in, said, shown, words

pytestmark = pytest.mark.django_db(transaction=True)

MAY = "payments.reconcile_payment"


def unknown_order(book: Book) -> Order:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    let_leases_end(order)
    return order


def day_page(day: object = "") -> str:
    return f"{address('ask-day')}?day={day or timezone.now().date()}"


def test_the_message_says_what_was_and_what_is(book: Book) -> None:
    order = unknown_order(book)
    browser = clerk("clara", MAY)
    path = address("ask-order", order.pk)
    answer = browser.post(path, shown(browser, path))
    assert answer.status_code == 303
    assert said(answer).startswith("It was charged, once: the order is paid. What changed: ")
    assert "order: pending → paid" in said(answer) and "press 1: unknown → succeeded" in said(answer)
    row = StaffAct.objects.get()
    assert (row.act, row.actor_name, row.order_id) == ("ask Stripe", "clara", order.pk)
    assert (row.before["order"], row.after["order"]) == ("pending", "paid")


def test_the_page_says_what_it_may_do_of_this_press_and_the_message_begins_plainly(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", CONFIRM, when="before", times=None)
    press(client, order)
    let_leases_end(order)
    browser, path = clerk("clara", MAY), address("ask-order", order.pk)
    young = "Press 1 is younger than 10 minutes: if Stripe has not heard of it, this very press is finished"
    assert young in words(browser.get(path))
    Attempt.objects.update(claimed_at=timezone.now() - datetime.timedelta(minutes=11))
    page = browser.get(path)
    assert "if Stripe has not charged, its payment is canceled there, and the shopper may pay again" in words(page)
    answer = browser.post(path, fields_in(page))
    assert said(answer).startswith("Nothing was charged. The shopper can pay again. What changed: ")
    assert [one["status"] for one in book.intents(order.pk)] == ["canceled"]
    assert "No press of it is undecided." in words(browser.get(path))


@pytest.mark.parametrize(
    ("outcome", "columns", "says"),
    [
        ("processing", {"was_pending": True}, "we only look"),
        ("requires_action", {"was_pending": True}, "we only look"),
        ("unknown", {"was_pending": True}, "is past its time"),
        ("unknown", {"stored_5xx": True}, "is past its time"),
    ],
)
def test_what_it_may_do_is_what_the_completer_would(outcome: str, columns: dict[str, Any], says: str) -> None:
    order = make_order()
    make_attempt(order, outcome, **columns)
    Payment.objects.update(phase="open")
    assert says in ask_stripe.what_it_may_do(order)
    Order.objects.filter(pk=order.pk).update(closing_since=timezone.now(), closing_by="x", closing_reason="cancel")
    order.refresh_from_db()
    assert "is being given up" in ask_stripe.what_it_may_do(order)


def test_it_may_be_repeated_and_is_one_act_however_often_its_form_comes(book: Book) -> None:
    order = unknown_order(book)
    browser = clerk("clara", MAY)
    path = address("ask-order", order.pk)
    form = shown(browser, path)
    answers = at_once(*(lambda: clerk("clara", MAY).post(path, form) for _ in range(3)))
    assert [one.status_code for one in answers] == [303] * 3
    assert said(browser.post(path, form)) == "Stripe was asked. Nothing has changed."
    assert StaffAct.objects.count() == 1
    assert len(book.succeeded(order.pk)) == 1


def test_a_double_click_on_a_day_is_one_act_an_order(book: Book) -> None:
    orders = [paid_order() for _ in range(2)]
    path = address("ask-selection") + "?" + "&".join(f"order={one.pk}" for one in orders)
    form = shown(clerk("clara", MAY), path)
    answers = at_once(*(lambda: clerk("clara", MAY).post(path, form) for _ in range(4)))
    assert [one.status_code for one in answers] == [200] * 4
    assert StaffAct.objects.count() == 2


def test_a_silent_stripe_is_told_so_and_nothing_is_concluded(book: Book) -> None:
    order = unknown_order(book)
    book.rule("reset", path="/v1/payment_intents/*", method="GET", when="before", times=None)
    book.rule("reset", when="before", times=None)
    browser = clerk("clara", MAY)
    path = address("ask-order", order.pk)
    answer = browser.post(path, shown(browser, path))
    assert answer.status_code == 303
    assert Attempt.objects.get().outcome == "unknown"
    book.clear_rules()


def test_everything_that_moves_carries_the_name_of_who_asked(book: Book) -> None:
    order = paid_order()
    book.rule("reset", path=REFUND, when="after", times=None)
    refund_once(payment_of(order), Ask("k", "f", 100, "duplicate", None))
    book.clear_rules()
    Refund.objects.update(locked_until=None)
    newest = PaymentEvent.objects.order_by("-pk").values_list("pk", flat=True)[0]
    browser = clerk("clara", MAY)
    path = address("ask-order", order.pk)
    answer = browser.post(path, shown(browser, path))
    assert "refund" in said(answer)
    moved = PaymentEvent.objects.filter(pk__gt=newest)
    assert moved.filter(kind="refund", to_state="succeeded").exists()
    assert set(moved.values_list("asked_by", "actor")) == {("staff", "clara")}
    row = StaffAct.objects.get()
    assert row.before != row.after


def test_a_selection_is_asked_about_a_few_at_a_time(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_stripe, "AT_ONCE", 2)
    orders = [unknown_order(book) for _ in range(3)]
    browser = clerk("clara", MAY)
    path = address("ask-selection") + "?" + "&".join(f"order={one.pk}" for one in orders)
    page = browser.get(path)
    assert "3 orders to ask about" in words(page)
    first = browser.post(path, fields_in(page))
    assert "1 more to ask about" in words(first) and "unknown" in words(first) and "succeeded" in words(first)
    assert StaffAct.objects.count() == 2
    last = browser.post(path, fields_in(first))
    assert "That was all" in words(last)
    assert {one.status for one in Order.objects.all()} == {"paid"}
    again = browser.post(path, fields_in(first))  # reload
    assert "Nothing has changed" in words(again)
    assert StaffAct.objects.count() == 3


def test_a_day_has_what_is_open_of_it_and_nothing_else(book: Book) -> None:
    mine, other = unknown_order(book), unknown_order(book)
    Attempt.objects.filter(order=other).update(claimed_at=timezone.now() - datetime.timedelta(days=2))
    paid_order()
    browser = clerk("clara", MAY)
    page = browser.get(day_page())
    assert "1 order to ask about" in words(page)
    done = browser.post(day_page(), fields_in(page))
    assert mine.number in words(done) and other.number not in words(done) and "That was all" in words(done)
    assert "Nothing is open" in words(browser.get(day_page()))
    assert Order.objects.get(pk=other.pk).status == "pending"


@pytest.mark.parametrize("day", ["", "yesterday", "2026-02-30", "0000-00-00", "9999-12-31", "0001-01-01"])
def test_a_day_that_cannot_be_read_is_asked_for_again(book: Book, day: str) -> None:
    browser = clerk("clara", MAY)
    answer: Any = browser.get(f"{address('ask-day')}?day={day}")
    assert answer.status_code in (200, 422)
    assert "Day (UTC)" in words(answer)


def test_a_day_that_is_still_to_come_is_refused_and_an_empty_one_says_what_it_does_not_search() -> None:
    browser = clerk("clara", MAY)
    answer: Any = browser.get(day_page(timezone.now().date() + datetime.timedelta(days=300)))
    assert answer.status_code == 422 and "This day is still to come" in words(answer)
    text = words(browser.get(day_page("2026-01-02")))
    assert "This does not search Stripe for charges that we do not know" in text


def test_a_form_without_its_key_asks_nothing(book: Book) -> None:
    unknown_order(book)
    browser = clerk("clara", MAY)
    for key in ("", "k" * 200, "a:b"):
        answer = browser.post(day_page(), {"form_key": key, "after": ""})
        assert answer.status_code == 303
    assert not StaffAct.objects.exists()


def test_nobody_asks_without_the_permission_or_the_token(book: Book) -> None:
    order = unknown_order(book)
    for path in (address("ask-order", order.pk), day_page(), address("ask-selection") + f"?order={order.pk}"):
        form = shown(clerk("clara", MAY), path)
        for browser in (clerk("nobody"), clerk("clara", MAY, enforce_csrf_checks=True)):
            assert browser.post(path, form).status_code == 403
    assert Attempt.objects.get().outcome == "unknown"


def test_a_stripe_that_does_not_answer_is_told_of_and_the_others_are_asked(book: Book) -> None:
    """A wish to close whose intent nobody has heard of: learning it is a create, which may be lost as well."""
    lost, client = placed_order()
    book.rule("reset", path=CREATE, when="after", times=None)
    press(client, lost)
    let_leases_end(lost)
    Order.objects.filter(pk=lost.pk).update(closing_since=timezone.now(), closing_by="x", closing_reason="cancel")
    book.clear_rules()
    found = unknown_order(book)
    book.rule("reset", path=CREATE, when="after", times=None)
    browser = clerk("clara", MAY)
    answer = browser.post(day_page(), fields_in(browser.get(day_page())))
    assert answer.status_code == 200
    assert "Not all of it was answered" in words(answer)
    assert Order.objects.get(pk=found.pk).status == "paid"
    assert Order.objects.get(pk=lost.pk).is_closing
    assert StaffAct.objects.count() == 2


def test_no_further_order_is_begun_when_the_time_is_up(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        unknown_order(book)
    browser = clerk("clara", MAY)
    page = browser.get(day_page())
    monkeypatch.setattr(ask_stripe, "LONGEST_SECONDS", 0)
    answer = browser.post(day_page(), fields_in(page))
    assert "2 orders to ask about" in words(answer)
    assert not StaffAct.objects.exists()
