"""The pages of the other acts of staff, against the sandbox: done once, by who may, on what he saw, written down."""

import datetime
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from orders.mail import send_due_mails
from orders.mail_again import leave_as_sent, mail_snapshot, make_due_again
from orders.models import Mail, Order
from payments.backoffice.actions.forms import marks_of
from payments.backoffice.actions.orders_and_breaks import _given_back
from payments.leases import take_lease
from payments.models import Asker, Attempt, Break, Payment, PaymentEvent, Refund, WebhookEvent
from shop.acts import Act, Who
from shop.models import StaffAct
from tests.book import CANCEL, REFUND, Book
from tests.orders.making import minutes_ago
from tests.payments.paying import intent_of, let_leases_end, placed_order, press
from tests.payments.planting import paid_order, payment_of, second_charge, swept
from tests.payments.staff import address, at_once, clerk, fields_in, said, shown, words
from tests.payments.test_mismatch import mismatched

pytestmark = pytest.mark.django_db(transaction=True)

MAY = (
    "orders.cancel_order",
    "orders.send_mail_again",
    "payments.reconcile_payment",
    "payments.refund_payment",
    "payments.resolve_break",
    "payments.replay_webhookevent",
)
NOTE = {"note": "the shopper called"}


def unknown_order(book: Book, when: str = "after") -> Order:
    order, client = placed_order()
    book.rule("reset", when=when, times=None)
    press(client, order)
    book.clear_rules()
    let_leases_end(order)
    return order


def double_charge(book: Book) -> Break:
    order = paid_order()
    second_charge(book, order)
    Payment.objects.update(first_sent_at=timezone.now() - datetime.timedelta(minutes=10))
    swept()
    return Break.objects.get(kind="double_charge")


def open_break() -> Break:
    order = paid_order()
    return Break.objects.create(kind="amount", subject="pi_x", order=order, amount_minor=5, currency="GBP", evidence={})


def stored_event(order: Order) -> WebhookEvent:
    return WebhookEvent.objects.create(
        event_id="evt_1",
        type="payment_intent.succeeded",
        intent_id=intent_of(order),
        metadata={"env": "dev", "order": order.pk},
        created_at_gateway=timezone.now(),
        next_try_at=timezone.now() + datetime.timedelta(hours=1),
        tries=3,
        note="the order is busy",
    )


def post(browser: Any, path: str, form: dict[str, str] | None = None, **entries: str) -> Any:
    return browser.post(path, (form or shown(browser, path)) | NOTE | entries)


# --- Each act, and what its audit row says ---------------------------------------------------------------------------


def test_an_order_is_canceled(book: Book) -> None:
    order = unknown_order(book, "before")
    answer = post(clerk("clara", *MAY), address("cancel-order", order.pk))
    assert (answer.status_code, said(answer)) == (303, "The order is canceled.")
    moved = PaymentEvent.objects.filter(order=order, asked_by="staff")
    assert set(moved.values_list("kind", "actor")) >= {
        ("closing", "clara"),
        ("call:cancel", "clara"),
        ("settled", "clara"),
    }
    assert set(moved.values_list("actor", flat=True)) == {"clara"}
    assert Order.objects.get(pk=order.pk).status == "canceled"
    row = StaffAct.objects.get()
    assert (row.act, row.actor_name, row.address, row.note) == ("cancel", "clara", "127.0.0.1", NOTE["note"])
    assert (row.before["closing"], row.after["closing"]) == ("", "cancel")


def test_a_paid_order_is_not_canceled_but_offered_a_refund(book: Book) -> None:
    order = paid_order()
    browser = clerk("clara", *MAY)
    page = browser.get(address("cancel-order", order.pk))
    assert "Paid: it cannot be canceled, but refunded" in words(page)
    assert "data-once" not in page.content.decode()


def test_money_that_is_faster_than_the_cancel_pays_the_order(book: Book) -> None:
    order = unknown_order(book)
    answer = post(clerk("clara", *MAY), address("cancel-order", order.pk))
    assert "The money was faster" in said(answer)
    assert Order.objects.get(pk=order.pk).status == "paid"


def test_a_cancel_that_stripe_does_not_answer_is_told_so(book: Book) -> None:
    order = unknown_order(book, "before")
    book.rule("reset", path=CANCEL, when="before", times=None)
    answer = post(clerk("clara", *MAY), address("cancel-order", order.pk))
    assert "Stripe has not answered yet" in said(answer)
    assert Order.objects.get(pk=order.pk).is_closing


@pytest.mark.parametrize(("when", "told", "status"), [("after", "paid", "paid"), ("before", "ended", "pending")])
def test_what_stays_unknown_is_ended_at_stripe(book: Book, when: str, told: str, status: str) -> None:
    order = unknown_order(book, when)
    answer = post(clerk("clara", *MAY), address("cancel-at-stripe", order.pk))
    assert answer.status_code == 303 and told in said(answer)
    assert Order.objects.get(pk=order.pk).status == status
    assert not Attempt.objects.undecided().exists()
    row = StaffAct.objects.get()
    assert (row.act, row.before["payments"]["1"][0], row.after["payments"]["1"][0]) == (
        "cancel at Stripe",
        "open",
        "closing",
    )
    assert set(PaymentEvent.objects.filter(asked_by="staff").values_list("actor", flat=True)) == {"clara"}


def test_a_break_is_taken_on_and_resolved_with_a_note(book: Book) -> None:
    found = open_break()
    browser = clerk("clara", *MAY)
    assert said(post(browser, address("take-break", found.pk))) == "You look into it now."
    found.refresh_from_db()
    assert str(found.owner) == "clara"
    without = post(browser, address("resolve-break", found.pk), note="  ")
    assert (without.status_code, "Write down why" in words(without)) == (422, True)
    assert said(post(browser, address("resolve-break", found.pk))) == "The break is resolved."
    found.refresh_from_db()
    assert (found.resolved_by, found.note, found.accepted) == ("clara", NOTE["note"], True)
    rows = StaffAct.objects.order_by("pk")
    assert [(row.act, row.before["open"], row.after["open"]) for row in rows] == [
        ("take on break", True, True),
        ("resolve break", True, False),
    ]
    assert "It was resolved already" in words(browser.get(address("resolve-break", found.pk)))


def test_what_was_written_is_shown_where_somebody_else_was_faster(book: Book) -> None:
    found = open_break()
    oscar, fiona = clerk("oscar", *MAY), clerk("fiona", *MAY)
    path = address("resolve-break", found.pk)
    form = shown(oscar, path)
    post(fiona, path)
    late = post(oscar, path, form, note="the bank <called>:\na test of theirs")
    assert late.status_code == 409 and "by fiona" in words(late) and "data-once" not in late.content.decode()
    assert "What you wrote" in words(late) and "the bank &lt;called&gt;:<br>a test of theirs" in late.content.decode()
    assert "send the form again" not in words(late) and ">Back to break " in late.content.decode()
    assert "What you wrote" not in words(oscar.get(path))


def test_a_break_is_taken_from_somebody_else_only_by_who_has_read_so(book: Book) -> None:
    found = open_break()
    oscar, fiona = clerk("oscar", *MAY), clerk("fiona", *MAY)
    path = address("take-break", found.pk)
    page = oscar.get(path)
    assert "Nobody looks into it yet." in words(page)
    assert said(post(fiona, path)) == "You look into it now."
    late = post(oscar, path, fields_in(page))
    assert late.status_code == 409 and "Nothing was done" in words(late)
    since = f"fiona, since {StaffAct.objects.get().at:%Y-%m-%d %H:%M:%S} UTC"
    assert f"It takes it from {since}: ask first." in words(late) and "Take it from fiona" in words(late)
    found.refresh_from_db()
    assert str(found.owner) == "fiona"
    assert said(post(oscar, path, fields_in(late))) == "You look into it now."


def test_what_must_be_filled_in_says_so(book: Book) -> None:
    page = words(clerk("clara", *MAY).get(address("resolve-break", open_break().pk)))
    assert "Why (required)" in page


def test_a_second_charge_goes_back_and_the_good_one_is_never_touched(book: Book) -> None:
    found = double_charge(book)
    good = payment_of(found.order) if found.order else None
    assert good is not None
    browser = clerk("clara", *MAY)
    page = browser.get(address("refund-duplicate", found.pk))
    assert f"Goes back {found.subject}" in words(page)
    assert f"Is never touched {good.charge_id}" in words(page)
    answer = post(browser, address("refund-duplicate", found.pk), fields_in(page))
    assert "of the second charge has gone back" in said(answer)
    assert [one["charge"] for one in book.refunds(found.order_id)] == [found.subject]
    found.refresh_from_db()
    made = Refund.objects.get(charge=found.subject)
    assert (found.resolved_by, made.outcome, str(made.actor)) == ("refund", "succeeded", "clara")
    row = StaffAct.objects.get()
    assert (row.act, row.before["refunds"], row.after["refunds"]) == (
        "refund duplicate",
        {},
        {made.pk: ["confirming", made.amount_minor]},
    )
    told = PaymentEvent.objects.filter(kind__in=["refund", "call:refund"])
    assert {event.actor for event in told} == {"clara"}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("succeeded", "has gone back"),
        ("pending", "Stripe has taken it"),
        ("failed", "Nothing went back"),
        ("canceled", "Nothing went back"),
        ("unknown", "nobody knows whether"),
    ],
)
def test_what_stripe_said_of_money_given_back_is_told_as_it_is(status: str, says: str) -> None:
    assert says in _given_back(Refund(outcome=status, amount_minor=100, currency="GBP"), "of it").text


def test_a_good_charge_is_never_given_back_as_a_second_one(book: Book) -> None:
    found = double_charge(book)
    Break.objects.filter(pk=found.pk).update(charge=payment_of(found.order).charge_id if found.order else "")
    browser = clerk("clara", *MAY)
    path = address("refund-duplicate", found.pk)
    assert "is never given back here" in words(browser.get(path))
    assert browser.post(path, {"form_key": "k" * 32, "version": "0" * 32} | NOTE).status_code == 409
    assert book.refunds() == []


def test_a_second_charge_whose_refund_is_not_answered_can_be_given_back_again(book: Book) -> None:
    found = double_charge(book)
    browser = clerk("clara", *MAY)
    book.rule("reset", path=REFUND, when="after", times=None)
    path = address("refund-duplicate", found.pk)
    assert "nobody knows whether" in said(post(browser, path))
    book.clear_rules()
    assert post(browser, path).status_code == 409  # asking again has learnt that all of it has gone back
    assert len(book.refunds(found.order_id)) == 1
    found.refresh_from_db()
    assert found.resolved_at is not None


def test_another_amount_goes_back_and_ends_the_press(book: Book) -> None:
    order, _ = mismatched()
    found = Break.objects.get(kind="amount")
    path = address("refund-mismatch", found.pk)
    browser = clerk("clara", *MAY)
    page = browser.get(path)
    assert "Stripe took £9.99" in words(page) and f"The order's total {order.total_text}" in words(page)
    forms = [shown(one, path) for one in (browser, clerk("carl", *MAY))]
    answer = post(browser, path, forms[0])
    assert said(answer) == "£9.99 of the other amount has gone back."
    assert post(clerk("carl", *MAY), path, forms[1]).status_code == 409  # he saw it before
    assert [one["amount"] for one in book.refunds(order.pk)] == [999]
    row = StaffAct.objects.get()
    assert (row.act, row.order_id, row.before["open"]) == ("refund mismatch", order.pk, True)
    assert not Attempt.objects.undecided().exists()


def test_what_a_break_is_not_about_is_not_given_back(book: Book) -> None:
    found = double_charge(book)
    browser = clerk("clara", *MAY)
    assert "It is about no money to give back" in words(browser.get(address("refund-mismatch", found.pk)))
    form = shown(browser, address("refund-duplicate", found.pk)) | NOTE
    assert browser.post(address("refund-mismatch", found.pk), form).status_code == 409
    assert book.refunds() == [] and not StaffAct.objects.exists()


def test_a_webhook_is_replayed(book: Book) -> None:
    order = unknown_order(book)
    event = stored_event(order)
    answer = post(clerk("clara", *MAY), address("replay-event", event.event_id))
    assert said(answer) == "It is done."
    assert Order.objects.get(pk=order.pk).status == "paid"
    settled = PaymentEvent.objects.get(order=order, kind="settled", to_state="succeeded")
    assert (settled.asked_by, settled.actor) == ("staff", "clara")
    row = StaffAct.objects.get()
    assert (row.act, row.order_id, row.before["state"], row.before["tries"]) == (
        "replay webhook",
        order.pk,
        "stored",
        3,
    )


@pytest.mark.parametrize("state", ["sent", "dropped", "sending", "stuck", "due"])
def test_a_mail_goes_out_again(book: Book, mailoutbox: list[Any], state: str) -> None:
    order = paid_order()
    mail = Mail.objects.get(order=order)
    refused = {"refusals": 10, "doubts": 2, "due_at": timezone.now() + datetime.timedelta(hours=1)}
    Mail.objects.filter(pk=mail.pk).update(state=state, sending_at=minutes_ago(5), **refused)
    send_due_mails()
    assert mailoutbox == []
    browser = clerk("clara", *MAY)
    page = browser.get(address("send-mail-again", mail.pk))
    assert "It sends the mail once more, with a new link." in words(page)
    assert order.email not in page.content.decode()
    assert "The mail goes out" in said(post(browser, address("send-mail-again", mail.pk), fields_in(page)))
    send_due_mails()
    assert len(mailoutbox) == 1
    row = StaffAct.objects.get()
    assert (row.act, row.before["state"], row.after["state"]) == ("send mail again", state, "due")
    mail.refresh_from_db()
    assert (mail.state, mail.refusals, mail.doubts) == ("sent", 0, 0)  # what went wrong before is forgotten


def test_a_mail_that_just_went_out_is_not_sent_twice_by_going_back_and_pressing_again(
    book: Book, mailoutbox: list[Any]
) -> None:
    mail = Mail.objects.get(order=paid_order())
    send_due_mails()
    Mail.objects.update(sent_at=timezone.now() - datetime.timedelta(minutes=3))
    browser = clerk("clara", *MAY)
    path = address("send-mail-again", mail.pk)
    form = shown(browser, path)
    assert "The mail goes out within a minute. It went out before, at 20" in said(post(browser, path, form))
    before_it_went = marks_of(mail_snapshot(mail.pk))
    send_due_mails()
    assert len(mailoutbox) == 2
    mail.refresh_from_db()
    assert mail.sent_at is not None
    back = browser.get(path)
    assert f"This mail went out at {mail.sent_at:%H:%M:%S} UTC: wait two minutes" in words(back)
    assert "data-once" not in back.content.decode()
    # Of a form made before the sending nothing is done, also once the two minutes are over.
    for minutes, told in ((0, "wait two minutes"), (3, "this has changed since you opened the page")):
        Mail.objects.update(sent_at=timezone.now() - datetime.timedelta(minutes=minutes))
        answer = post(browser, path, before_it_went)
        assert answer.status_code == 409 and told in words(answer)
    send_due_mails()
    assert len(mailoutbox) == 2 and StaffAct.objects.count() == 1
    page = words(browser.get(path))
    assert "the shopper then has it twice" in page


def test_the_core_makes_no_mail_due_that_just_went_out(book: Book) -> None:
    mail = Mail.objects.get(order=paid_order())
    send_due_mails()
    clerk("clara")
    who = Who(User.objects.get(username="clara"), None, "")
    assert not make_due_again(mail.pk, Act("send mail again", who, "mail", lambda: mail_snapshot(mail.pk)))
    mail.refresh_from_db()
    assert mail.state == "sent"


LEAVE = {"decision": "leave"}


@pytest.mark.parametrize(("state", "broken_off"), [("sending", True), ("stuck", True), ("stuck", False)])
def test_a_mail_in_doubt_or_stuck_is_left_because_a_person_says_that_it_went_out(
    book: Book, mailoutbox: list[Any], state: str, broken_off: bool
) -> None:
    mail = Mail.objects.get(order=paid_order())
    sending_at = minutes_ago(5) if broken_off else None
    Mail.objects.filter(pk=mail.pk).update(state=state, sending_at=sending_at, doubts=2)
    browser = clerk("clara", *MAY)
    path = address("send-mail-again", mail.pk)
    page = browser.get(path)
    assert "It went out: leave it" in words(page) and "Send it again" in words(page)
    answer = post(browser, path, fields_in(page) | LEAVE)
    assert said(answer) == "The mail counts as sent, because you say so. Nobody sends it again by itself."
    mail.refresh_from_db()
    assert (mail.state, mail.sent_at) == ("sent", sending_at)  # by the sending in doubt, and else nobody knows when
    row = StaffAct.objects.get()
    assert (row.act, row.actor_name, row.note, row.order_id) == (
        "leave mail as sent",
        "clara",
        NOTE["note"],
        mail.order_id,
    )
    assert (row.before["state"], row.after["state"]) == (state, "sent")
    Mail.objects.update(sending_at=minutes_ago(60), due_at=minutes_ago(60))
    send_due_mails()
    assert mailoutbox == []


@pytest.mark.parametrize("state", ["due", "sent", "dropped", "sending"])
def test_a_mail_that_nobody_doubts_is_not_left(book: Book, state: str) -> None:
    mail = Mail.objects.get(order=paid_order())
    Mail.objects.filter(pk=mail.pk).update(state=state, sending_at=timezone.now())
    browser = clerk("clara", *MAY)
    path = address("send-mail-again", mail.pk)
    assert "leave it" not in words(browser.get(path)).replace("Leave it", "")
    assert post(browser, path, marks_of(mail_snapshot(mail.pk)) | LEAVE).status_code == 409
    who = Who(User.objects.get(username="clara"), None, "")
    act = Act("leave mail as sent", who, "mail", lambda: mail_snapshot(mail.pk))
    assert not leave_as_sent(mail.pk, act)
    mail.refresh_from_db()
    assert (mail.state, mail.sent_at) == (state, None)


def test_a_mail_is_left_with_a_reason_once_and_not_by_who_saw_something_else(book: Book) -> None:
    mail = Mail.objects.get(order=paid_order())
    Mail.objects.filter(pk=mail.pk).update(state="stuck")
    path = address("send-mail-again", mail.pk)
    browsers = [clerk("clara", *MAY) for _ in range(2)]
    form = shown(browsers[0], path) | LEAVE
    answer = browsers[0].post(path, form)
    assert answer.status_code == 422 and "Write down why" in words(answer)
    assert post(browsers[0], path, form | {"version": "0" * 32}).status_code == 409
    assert clerk("nobody").post(path, form | NOTE).status_code == 403
    assert not StaffAct.objects.exists()
    answers = at_once(*(lambda one=one: post(one, path, form) for one in browsers))
    assert [one.status_code for one in answers] == [303, 303]
    assert sum("carried out before" in said(one) for one in answers) == 1
    assert StaffAct.objects.count() == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_app_clock_an_hour_off_decides_nothing_about_a_mail(book: Book, hours: int) -> None:
    mail = Mail.objects.get(order=paid_order())
    clerk("clara")
    who = Who(User.objects.get(username="clara"), None, "")
    act = Act("x", who, "mail", lambda: mail_snapshot(mail.pk))
    with time_machine.travel(timezone.now() + datetime.timedelta(hours=hours)):
        Mail.objects.update(state="sending", sending_at=Now())
        assert not leave_as_sent(mail.pk, act) and not make_due_again(mail.pk, act)
        Mail.objects.update(state="sent", sent_at=Now())
        assert not make_due_again(mail.pk, act)
        Mail.objects.update(state="sent", sent_at=Now() - datetime.timedelta(minutes=3))
        assert make_due_again(mail.pk, act) and send_due_mails() == 1


@pytest.mark.parametrize("kind", ["finish-paying", "canceled", "refund"])
def test_a_mail_in_doubt_that_is_no_longer_so_is_dropped(book: Book, kind: str) -> None:
    """Whoever was sending it has died: nothing else ends it, and its alarm would ring for ever."""
    order, then = paid_order(), timezone.now() - datetime.timedelta(minutes=3)
    mail = Mail.objects.create(order=order, kind=kind, state="sending", due_at=then, sending_at=then)
    browser = clerk("clara", *MAY)
    path = address("send-mail-again", mail.pk)
    assert "the mail is dropped" in words(browser.get(path))
    assert "dropped, not sent" in said(post(browser, path))
    send_due_mails()
    mail.refresh_from_db()
    assert (mail.state, list(Mail.objects.in_doubt())) == ("dropped", [])


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("finish-paying", "Money of the order has arrived, and the mail says the opposite"),
        ("canceled", "It says that the order is canceled, and the order is paid"),
        ("refund", "It tells of a refund that has not gone back"),
    ],
)
def test_a_mail_that_is_no_longer_so_is_not_offered_for_sending(
    book: Book, mailoutbox: list[Any], kind: str, told: str
) -> None:
    order = paid_order()
    mail = Mail.objects.create(order=order, kind=kind, state="sent", due_at=timezone.now())
    browser = clerk("clara", *MAY)
    path = address("send-mail-again", mail.pk)
    page = browser.get(path)
    assert f"{told}: it would be dropped, not sent." in words(page)
    assert "once more" not in words(page) and "data-once" not in page.content.decode()
    assert post(browser, path, marks_of(mail_snapshot(mail.pk))).status_code == 409
    Mail.objects.filter(kind="receipt").delete()
    send_due_mails()
    mail.refresh_from_db()
    assert (mailoutbox, mail.state) == ([], "sent")


def test_a_receipt_of_an_order_that_is_not_paid_and_late_money_that_never_came_are_not_offered(book: Book) -> None:
    order, _ = placed_order()
    for kind, told in (("receipt", "the order is pending"), ("late-money", "and none came")):
        mail = Mail.objects.create(order=order, kind=kind, state="dropped", due_at=timezone.now())
        assert told in words(clerk("clara", *MAY).get(address("send-mail-again", mail.pk)))


def test_a_mail_of_which_nobody_knows_whether_it_is_so_waits(book: Book, mailoutbox: list[Any]) -> None:
    order = unknown_order(book)
    mail = Mail.objects.create(order=order, kind="finish-paying", state="dropped", due_at=timezone.now())
    browser = clerk("clara", *MAY)
    page = browser.get(address("send-mail-again", mail.pk))
    assert "The mail waits until it is known" in words(page) and "once more" not in words(page)
    assert "The mail waits until it is known" in said(post(browser, address("send-mail-again", mail.pk)))
    send_due_mails()
    mail.refresh_from_db()
    assert (mailoutbox, mail.state) == ([], "due")


def test_a_mail_that_is_being_sent_right_now_waits(book: Book) -> None:
    mail = Mail.objects.get(order=paid_order())
    browser = clerk("clara", *MAY)
    form = {"form_key": "k" * 32, "version": "0" * 32} | NOTE
    Mail.objects.filter(pk=mail.pk).update(state="sending", sending_at=timezone.now())
    answer = browser.post(address("send-mail-again", mail.pk), form)
    assert (answer.status_code, "It is being sent right now" in words(answer)) == (409, True)
    mail.refresh_from_db()
    assert mail.state == "sending"


# --- What holds for all ---------------------------------------------------------------------------------------------


def every_act(book: Book) -> dict[str, str]:
    """The addresses of acts that can be done now, by the act's name."""
    found = double_charge(book)
    fresh, _ = placed_order()
    unknown = unknown_order(book)
    mismatched()
    mismatch = Break.objects.get(kind="amount")
    mail = Mail.objects.filter(order=found.order_id).order_by("pk").first()
    assert mail is not None
    Mail.objects.update(state="sent")
    return {
        "cancel": address("cancel-order", fresh.pk),
        "cancel at Stripe": address("cancel-at-stripe", unknown.pk),
        "take on break": address("take-break", found.pk),
        "resolve break": address("resolve-break", open_break().pk),
        "refund duplicate": address("refund-duplicate", found.pk),
        "refund mismatch": address("refund-mismatch", mismatch.pk),
        "replay webhook": address("replay-event", stored_event(unknown_order(book)).event_id),
        "send mail again": address("send-mail-again", mail.pk),
    }


def test_every_form_is_carried_out_once_also_by_a_double_click(book: Book) -> None:
    for name, path in every_act(book).items():
        browsers = [clerk("clara", *MAY) for _ in range(2)]
        form = shown(browsers[0], path)
        answers = at_once(*(lambda one=one, path=path, form=form: post(one, path, form) for one in browsers))
        assert [one.status_code for one in answers] == [303, 303], name
        # Who finds the attempt's lease taken, before the other has written what he does, is told that much.
        told = ("carried out before", "Somebody else has taken it over")
        assert sum(any(one in said(answer) for one in told) for answer in answers) == 1, name
        again = post(browsers[0], path, form)
        assert again.status_code == 303 and "Nothing was done now" in said(again), name
        assert StaffAct.objects.filter(act=name).count() == 1, name


def test_a_click_that_comes_while_the_first_is_at_stripe_is_told_so_and_not_of_a_press(book: Book) -> None:
    order = unknown_order(book)
    browser = clerk("clara", *MAY)
    path = address("cancel-at-stripe", order.pk)
    form = shown(browser, path)
    assert take_lease(Attempt.objects.get(order=order), asked_by=Asker.STAFF) is not None
    answer = post(browser, path, form)
    assert answer.status_code == 303 and "Somebody else has taken it over" in said(answer)
    assert not StaffAct.objects.exists()
    # Canceling the order is another act, and the core would refuse it now.
    assert "wait a minute" in words(browser.get(address("cancel-order", order.pk)))


def test_every_form_of_a_person_who_saw_something_else_does_nothing(book: Book) -> None:
    for name, path in every_act(book).items():
        if name == "replay webhook":
            continue  # a worker may try the event at any moment
        browser = clerk("clara", *MAY)
        answer = post(browser, path, shown(browser, path) | {"version": "0" * 32})
        assert answer.status_code == 409, name
        assert "Nothing was done" in words(answer), name
        assert not StaffAct.objects.filter(act=name).exists(), name
        if "note" in answer.content.decode():
            assert NOTE["note"] in answer.content.decode(), name
        assert post(browser, path, fields_in(answer)).status_code == 303, name


def test_no_act_without_its_permission_or_its_token(book: Book) -> None:
    for name, path in every_act(book).items():
        form = shown(clerk("clara", *MAY), path)
        for browser in (clerk("nobody"), clerk("clara", *MAY, enforce_csrf_checks=True)):
            assert browser.post(path, form | NOTE).status_code == 403, name
        assert clerk("nobody").get(path).status_code == 403, name
    assert not StaffAct.objects.exists()


def test_no_act_without_its_audit_row(book: Book) -> None:
    acts = every_act(book)
    browser = clerk("clara", *MAY)
    forms = {path: shown(browser, path) for path in acts.values()}
    before = rows_of_money()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shop_staffact ADD CONSTRAINT broken CHECK (act = '') NOT VALID")
    try:
        for name, path in acts.items():
            answer = post(browser, path, forms[path])
            assert answer.status_code == 503 and "could not be written down" in words(answer), name
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_staffact DROP CONSTRAINT broken")
    assert rows_of_money() == before
    assert book.refunds() == []


def rows_of_money() -> list[Any]:
    """What acts move. Leases and looks aside: taking a lease and giving it back moves nothing."""
    return [
        list(Order.objects.order_by("pk").values_list("pk", "status", "closing_reason")),
        list(Payment.objects.order_by("pk").values_list("pk", "phase", "refunded_minor")),
        list(Attempt.objects.order_by("pk").values_list("pk", "phase", "outcome")),
        list(Break.objects.order_by("pk").values_list("pk", "resolved_at", "owner", "evidence")),
        list(WebhookEvent.objects.order_by("pk").values_list("pk", "state", "tries")),
        list(Mail.objects.order_by("pk").values_list("pk", "state")),
    ]


@pytest.mark.parametrize("page", ["cancel-order", "cancel-at-stripe", "ask-order", "refund", "replay-event"])
def test_what_is_not_there_is_not_found(book: Book, page: str) -> None:
    browser = clerk("clara", *MAY)
    assert browser.get(address(page, "nothing-here")).status_code == 404
    assert browser.get(address(page, "nothing-here").replace("nothing", "%00")).status_code == 400


@pytest.mark.parametrize(
    "page", ["take-break", "resolve-break", "refund-duplicate", "refund-mismatch", "decide-refund", "send-mail-again"]
)
def test_a_number_that_is_not_there_is_not_found(book: Book, page: str) -> None:
    browser = clerk("clara", *MAY)
    for number in (404, 10**30):
        assert browser.get(address(page, number)).status_code == 404
