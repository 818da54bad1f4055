"""The page of one payment: state, amounts, and one story of everything that happened to the order's money
(EXPERIENCE ST1, ST2, ST8)."""

import datetime
import re
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from orders.mail_again import mail_snapshot, make_due_again
from orders.models import Mail, Order
from orders.order_story import story_of as order_story
from payments.backoffice.payment.timeline import Row, moment_of, story_of
from payments.backoffice.payment.times import when_text
from payments.cancellation import Wish, close_order
from payments.models import (
    Asker,
    Attempt,
    Break,
    Dispute,
    DuplicatesStopped,
    Payment,
    PaymentEvent,
    Refund,
    WebhookEvent,
)
from payments.outcome import carry_out_closing
from payments.pay import new_payment, open_ahead
from payments.reconciliation.on_demand import reconcile_order
from payments.reconciliation.recovery import ask_stripe, complete_attempt, complete_due
from payments.refund import Ask, follow_refunds, refund_once
from payments.row_lock import locked_order
from shop.acts import Act, Who
from shop.ids import new_id
from shop.models import Product, StaffAct
from tests.book import CONFIRM, REFUND, Book
from tests.orders.making import make_attempt, make_order
from tests.payments.paying import cancel, complete, placed_order, press
from tests.payments.planting import paid_order, payment_of, refund_row

pytestmark = pytest.mark.django_db(transaction=True)


def staff_with(*permissions: str) -> Client:
    """Somebody of staff who may see payments, and this."""
    user = User.objects.create_user(f"staff{User.objects.count()}", password="a long password", is_staff=True)
    names = [name.split(".") for name in ("payments.view_payment", *permissions)]
    user.user_permissions.set(
        [Permission.objects.get(content_type__app_label=app, codename=codename) for app, codename in names]
    )
    client = Client()
    client.force_login(user)
    return client


def page_of(client: Client, order: Order, query: str = "") -> str:
    payment = Payment.objects.filter(order=order).order_by("-n")[0]
    answer = client.get(f"/admin/payments/payment/{quote(payment.pk)}/change/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def read(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def rows_of(order: Order, **asked: Any) -> list[Row]:
    return story_of(order, order.payments.all(), **asked).rows


def texts(order: Order, **asked: Any) -> list[str]:
    return [row.what for row in rows_of(order, **asked)]


# --- The head ---------------------------------------------------------------------------------------------------------


def test_the_head_says_order_state_card_and_a_masked_shopper(book: Book) -> None:
    order = paid_order()
    text = read(page_of(staff_with(), order))
    assert order.number in text
    assert "Paid." in text
    assert "visa ending in 4242" in text
    assert "a…@example.com" in text and "A…" in text
    assert order.email not in text and order.name not in text
    whole = read(page_of(staff_with("orders.see_personal_data"), order))
    assert order.email in whole and order.name in whole


def test_an_unknown_outcome_is_said_to_be_unknown(book: Book, short_confirm: None) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == 202
    text = read(page_of(staff_with(), order))
    assert "Stripe has not said yet whether it charged" in text
    assert "failed" not in text.lower()
    due = Attempt.objects.get().next_look_at
    assert due is not None and f"Next look: {when_text(due)}." in text


def test_each_refund_is_listed_with_its_state_and_who_asked_for_it(book: Book) -> None:
    order = paid_order()
    ada = User.objects.create_user("ada")
    refund_once(payment_of(order), Ask("one", "f", 100, "duplicate", ada.pk))
    book.rule("reset", REFUND, when="before", times=None)
    refund_once(payment_of(order), Ask("two", "f", 200, "duplicate", None))
    said = read(page_of(staff_with(), order))
    first, second = Refund.objects.order_by("created_at")
    assert f"£1.00 gone back {first.created_at:%Y-%m-%d %H:%M:%S} ada" in said
    assert f"£2.00 not known yet {second.created_at:%Y-%m-%d %H:%M:%S} nobody of staff" in said


@pytest.mark.parametrize(
    ("status", "outcome", "says"),
    [
        ("pending", None, "nobody has pressed Pay yet"),
        ("pending", "declined", "the last press came to declined"),
        ("pending", "", "Press 1 is being worked on right now"),
        ("pending", "requires_action", "the bank waits for the shopper"),
        ("pending", "processing", "the bank is working on it"),
        ("canceled", "canceled", "Canceled. Stripe took no money for it"),
        ("expired", "declined", "Expired. Stripe took no money for it"),
    ],
)
def test_the_state_in_words(status: str, outcome: str | None, says: str) -> None:
    order = make_order()
    if outcome is None:
        new_payment(order, 1)
    else:
        make_attempt(order, outcome)
    Order.objects.filter(pk=order.pk).update(status=status)
    assert says in read(page_of(staff_with(), order))


def test_late_money_that_has_gone_back_is_not_said_to_be_at_stripe(book: Book) -> None:
    order = paid_order()
    Order.objects.filter(pk=order.pk).update(status="expired")
    assert "Stripe has this money all the same" in read(page_of(staff_with(), order))
    refund_once(payment_of(order), Ask("one", "f", order.total_minor, "duplicate", None))
    assert "all of it has gone back" in read(page_of(staff_with(), order))


def test_the_amounts_add_up(book: Book) -> None:
    order = paid_order()
    payment = payment_of(order)
    refund_once(payment, Ask("one", "f", 100, "duplicate", None))
    book.rule("reset", REFUND, when="before", times=None)
    refund_once(payment, Ask("two", "f", 200, "duplicate", None))
    Dispute.objects.create(
        payment=payment, dispute_id="dp_1", amount_minor=300, currency="GBP", status="lost", opened_at=timezone.now()
    )
    text = read(page_of(staff_with(), order))
    for name, amount in {
        "Authorised": "£12.50",
        "Captured": "£12.50",
        "Not decided": "£0.00",
        "Refunded": "£1.00",
        "Refunds not decided": "£2.00",
        "Disputed": "£3.00",
        "Left to refund": "£6.50",
    }.items():
        assert f"{name} {amount}" in text


def test_a_press_that_may_still_charge_is_an_amount_not_decided() -> None:
    order = make_order()
    make_attempt(order, "unknown")
    assert "Not decided £12.50 a press that may still charge" in read(page_of(staff_with(), order))


@pytest.mark.parametrize(
    "page",
    ["https://dashboard.stripe.com/test/payments/{id}", "http://127.0.0.1:1/payments/{id}"],
    ids=["real", "sandbox"],
)
def test_intent_and_charge_link_to_where_stripe_shows_them(book: Book, settings: Any, page: str) -> None:
    settings.STRIPE_PAYMENT_PAGE = page
    order = paid_order()
    payment, html = payment_of(order), page_of(staff_with(), order)
    for one in (payment.intent_id, payment.charge_id):
        assert one is not None
        assert f'href="{page.format(id=one)}"' in html


def test_open_breaks_are_shown_with_what_could_be_done(book: Book) -> None:
    order = paid_order()
    for subject, resolved in (("ch_open", None), ("ch_gone", timezone.now())):
        Break.objects.create(
            kind="double_charge",
            subject=subject,
            order=order,
            amount_minor=1250,
            currency="GBP",
            evidence={"proposal": f"Give {subject} back."},
            resolved_at=resolved,
        )
    html = page_of(staff_with(), order)
    breaks = read(html[html.index('id="breaks-head"') : html.index('id="story-head"')])
    assert "Give ch_open back." in breaks and "£12.50" in breaks
    assert "ch_gone" not in breaks
    assert 'href="/admin/desk/runbook/open-break-double-charge/"' in html


def test_what_can_be_done_now_is_a_link_and_the_rest_says_why_not(book: Book) -> None:
    order = paid_order()
    html = page_of(staff_with("payments.reconcile_payment", "orders.cancel_order"), order)
    assert f'<a href="/admin/desk/ask/order/{order.pk}/">Ask Stripe now</a>' in html
    text = read(html)
    assert "Cancel the order. Paid: it cannot be canceled, but refunded." in text
    assert "Refund. Finance does this." in text
    assert f"/admin/desk/refund/{payment_of(order).pk}/" not in html


# --- Orders that were given up ----------------------------------------------------------------------------------------


def lost_press(book: Book) -> tuple[Order, Client]:
    """Charged, and nobody here knows it yet."""
    order, client = placed_order()
    book.rule("reset", CONFIRM, when="after", times=4)
    assert press(client, order).status_code == 202
    book.clear_rules()
    return order, client


def ended_as_if(order: Order, wish: str, by: str) -> None:
    """As a database would have it that came back without the news of the press."""
    with locked_order(order.pk) as locked:
        locked.closing_by, locked.closing_reason = by, wish
        carry_out_closing(locked)


def test_a_canceled_order_says_whose_wish_it_was(book: Book) -> None:
    order, client = placed_order()
    open_ahead(order.pk)
    assert cancel(client, order).json()["status"] == "canceled"
    ended = order.payment_events.get(kind="order ended")
    assert (ended.from_state, ended.to_state, ended.asked_by, ended.actor) == (
        "pending",
        "canceled",
        "shopper",
        "shopper",
    )
    assert texts(order).count("Order canceled by the shopper") == 1
    assert "Order canceled" not in texts(order)  # not told twice
    assert "Order canceled by the shopper" in texts(order, money_only=True)
    assert [moment.what for moment in order_story(order, [])].count("Order pending → canceled") == 1


def test_an_order_that_staff_cancel_names_them_and_one_that_ran_out_nobody(book: Book) -> None:
    named, ran_out = placed_order()[0], placed_order()[0]
    close_order(named.pk, Wish.CANCEL, by="clara", asked_by=Asker.STAFF)
    close_order(ran_out.pk, Wish.EXPIRE, by="expiry", asked_by=Asker.COMPLETER)
    assert "Order canceled by clara" in texts(named)
    assert "Order expired by itself, for its time was over" in texts(ran_out)
    asked_by = PaymentEvent.objects.filter(kind="order ended").values_list("asked_by", flat=True)
    assert set(asked_by) == {"staff", "completer"}


def test_late_money_that_revives_an_order_is_told_with_its_end(book: Book) -> None:
    order, _ = lost_press(book)
    ended_as_if(order, "cancel", "shopper")
    for _ in range(3):
        ask_stripe(order, Asker.WEBHOOK)
    order.refresh_from_db()
    assert order.status == "paid"
    late = "Late money: the order was canceled and its goods were still here, so it is revived and paid"
    told = texts(order)
    assert told.index("Order canceled by the shopper") < told.index(late)
    assert told.count(late) == 1
    row = next(row for row in rows_of(order) if row.what == late)
    assert (row.was, row.now) == ("canceled", "paid")
    assert "Late money: order canceled → paid" in [moment.what for moment in order_story(order, [])]
    said = read(page_of(staff_with(), order))
    assert "Paid. It was canceled by the shopper at" in said
    assert "The money came after that, and its goods were still here: it is revived." in said


def test_late_money_that_goes_back_is_told_with_its_end(book: Book) -> None:
    order, _ = lost_press(book)
    ended_as_if(order, "expire", "expiry")
    Product.objects.update(stock=0)
    for _ in range(3):
        ask_stripe(order, Asker.WEBHOOK)
        complete_due(Asker.COMPLETER)
    late = "Late money: the order was expired and its goods are gone, so all of the money goes back"
    told = texts(order)
    assert told.count(late) == 1
    refund = next(row for row in rows_of(order) if row.what == "Refund of £12.50 due")
    assert refund.details[0] == "by itself, for the money came late"
    assert not [row for row in rows_of(order) if "requested" in " ".join(row.details)]
    said = read(page_of(staff_with(), order))
    assert "The order is expired. Money came all the same, and all of it has gone back." in said


def test_each_sending_of_a_mail_stays_in_both_stories(book: Book) -> None:
    order, _ = placed_order()
    hours = [timezone.now() - datetime.timedelta(hours=hour) for hour in (3, 2, 1)]
    mail = Mail.objects.create(order=order, kind="receipt", due_at=hours[0], state="sent", sent_at=hours[0])
    user = User.objects.create_user("ada")

    def again() -> bool:
        who, key = Who(user, None, ""), new_id()
        return make_due_again(mail.pk, Act("x", who, "mail", lambda: mail_snapshot(mail.pk), order.pk, key))

    for hour in hours[1:]:
        assert again()
        assert not again()  # it is due already; that act too is written down
        Mail.objects.filter(pk=mail.pk).update(state="sent", sent_at=hour)
    assert [row.at for row in rows_of(order) if row.what == "Mail receipt" and row.now == "sent"] == hours
    told = order_story(order, list(StaffAct.objects.all()))
    assert [one.at for one in told if one.what == "Mail sent: receipt"] == hours
    assert again()
    Mail.objects.filter(pk=mail.pk).update(state="dropped", sending_at=timezone.now())
    assert [row.now for row in rows_of(order) if row.what == "Mail receipt"] == ["sent", "sent", "sent", "dropped"]


# --- The story --------------------------------------------------------------------------------------------------------


def test_the_story_tells_of_presses_calls_and_settlements_in_order(book: Book) -> None:
    order, client = placed_order()
    first = order.pay_key
    press(client, order, first, token="pm_card_chargeDeclined")
    press(client, order)
    rows = rows_of(order)
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    assert [row.what for row in rows if row.source in ("press", "call", "settled")] == [
        "Pay pressed: press 1",
        "Stripe: open the intent of press 1",
        "Stripe: confirm of press 1",
        "Settled: press 1",
        "Pay pressed: press 2",
        "Stripe: confirm of press 2",
        "Settled: press 2",
    ]
    confirm = next(row for row in rows if row.what == "Stripe: confirm of press 1")
    assert (confirm.http_status, confirm.by) == (402, "shopper")
    assert confirm.request_id.startswith("req_") and confirm.milliseconds is not None
    assert confirm.key == Attempt.objects.get(order=order, number=1).confirm_key
    assert [(row.was, row.now) for row in rows if row.source == "settled"] == [
        ("confirming", "declined"),
        ("confirming", "succeeded"),
    ]
    html = page_of(staff_with(), order)
    for row in rows:
        assert row.what in read(html)
    assert f"<summary>{confirm.short_key}</summary>" in html and confirm.key in html and confirm.request_id in html
    assert first in html


def test_every_source_is_in_the_story(book: Book) -> None:
    order = paid_order()
    payment, now = payment_of(order), timezone.now()
    WebhookEvent.objects.create(
        event_id="evt_done",
        type="payment_intent.succeeded",
        intent_id=payment.intent_id or "",
        created_at_gateway=now,
        next_try_at=now,
        state="done",
        done_at=now,
        tries=2,
        note="nothing to do",
    )
    WebhookEvent.objects.create(
        event_id="evt_waits",
        type="charge.refunded",
        intent_id=payment.intent_id or "",
        created_at_gateway=now,
        next_try_at=now,
        tries=1,
        note="Stripe did not answer",
    )
    DuplicatesStopped.objects.create(
        order=order, layer=2, day=now.date(), count=4, first_at=now, last_at=now, last_key="the-key"
    )
    Break.objects.create(
        kind="status", subject="re_1", order=order, resolved_at=now, resolved_by="ada", note="looked into it"
    )
    user = User.objects.create_user("ada")
    StaffAct.objects.create(
        actor=user,
        actor_name="ada",
        act="cancel",
        subject=f"order {order.pk}",
        order_id=order.pk,
        address="10.0.0.7",
        before={"order": "pending", "payments": {"1": ["open", 0, 0]}},
        after={"order": "canceled", "payments": {"1": ["canceled", 0, 0]}},
        note="the shopper rang",
    )
    refund_once(payment, Ask("give-back", "f", 100, "duplicate", user.pk))
    assert "10.0.0.7" not in page_of(staff_with(), order)  # where staff sit is for those who may read all acts
    text = read(page_of(staff_with("shop.view_staffact"), order))
    for said in (
        f"Order {order.number} placed",
        "Webhook payment_intent.succeeded received",
        "Webhook payment_intent.succeeded worked on 2 tries nothing to do",
        "Webhook charge.refunded received not done yet, next try",
        "4 repeated requests were stopped: its key had been answered, or was at work (layer 2)",
        "Break found: Stripe and our rows disagree about a payment, re_1",
        "Break resolved: Stripe and our rows disagree about a payment, re_1 looked into it",
        "Staff: cancel “the shopper rang”",
        "order: pending → canceled",
        "payment 1: open, captured £0.00, refunded £0.00 → canceled, captured £0.00, refunded £0.00",
        "ada from 10.0.0.7",
        "Refund of £1.00 asked for",
        "Stripe: give money back",
        "Mail receipt",
    ):
        assert said in text


def test_money_only_leaves_out_what_only_looks(book: Book) -> None:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    press(client, order)
    book.clear_rules()
    complete(order)
    refund_once(payment_of(order), Ask("give-back", "f", 100, "duplicate", None))
    whole, money = set(texts(order)), set(texts(order, money_only=True))
    assert money < whole
    assert {"Pay pressed: press 1", "Stripe: confirm of press 1", "Settled: press 1", "Refund"} <= money
    assert whole - money >= {"Stripe: look of press 1", "Stripe: open the intent of press 1", "Mail receipt"}
    html = page_of(staff_with(), order, "?show=money")
    assert "Stripe: look" not in html and 'href="?#story"' in html
    assert 'href="?show=money#story"' in page_of(staff_with(), order)


def test_an_order_with_2000_events_still_renders_and_pages_lose_and_repeat_nothing(book: Book) -> None:
    order = paid_order()
    payment, start = payment_of(order), timezone.now()
    second = datetime.timedelta(seconds=1)
    PaymentEvent.objects.bulk_create(
        PaymentEvent(
            order=order,
            payment=payment,
            at=start + number // 3 * second,  # three of one moment: no page may cut between them
            kind="call:look",
            asked_by=Asker.COMPLETER,
            note=f"look {number}",
        )
        for number in range(2000)
    )
    WebhookEvent.objects.bulk_create(
        WebhookEvent(
            event_id=f"evt_{number}",
            type="charge.updated",
            intent_id=payment.intent_id or "",
            created_at_gateway=start,
            received_at=start,
            next_try_at=start,
            state="done",
            done_at=start + (60 + number) * second,
            note=f"event {number}",
        )
        for number in range(500)
    )
    seen: list[Row] = []
    until, pages = None, 0
    while pages == 0 or until is not None:
        story = story_of(order, [payment], until)
        assert len(story.rows) <= 200
        seen, until, pages = story.rows + seen, story.older, pages + 1
    assert [row.at for row in seen] == sorted(row.at for row in seen)
    looks = [row.details[0] for row in seen if row.what == "Stripe: look"]
    assert sorted(looks) == sorted(f"look {number}" for number in range(2000))
    assert len([row for row in seen if row.what == "Webhook charge.updated worked on"]) == 500
    assert len([row for row in seen if row.what == "Webhook charge.updated received"]) == 500
    html = page_of(staff_with(), order)
    assert html.count("Stripe: look") == 200 and len(html) < 400_000
    link = re.search(r'href="(\?until=[^"#]+)#story"', html)
    assert link is not None
    older = page_of(staff_with(), order, link[1])
    assert older.count("Stripe: look") + older.count("Webhook charge.updated") > 150 and "Back to the newest" in older


def test_a_broken_moment_in_the_address_shows_the_newest(book: Book) -> None:
    order = paid_order()
    for text in ("yesterday", "2026-11-24T10:00:00", "", "9" * 400):
        assert moment_of(text) is None
    assert "Settled: press 1" in page_of(staff_with(), order, "?until=yesterday")


def test_the_page_costs_so_many_reads_however_much_has_happened(book: Book, django_assert_num_queries: Any) -> None:
    order = paid_order()
    client = staff_with()
    payment = payment_of(order)
    path = f"/admin/payments/payment/{quote(payment.pk)}/change/"
    client.get(path)
    with django_assert_num_queries(READS):
        client.get(path)
    for number in range(5):
        refund_once(payment, Ask(f"key-{number}", "f", 10, "duplicate", None))
    PaymentEvent.objects.bulk_create(
        PaymentEvent(order=order, payment=payment, kind="call:look", asked_by=Asker.SWEEP) for _ in range(500)
    )
    with django_assert_num_queries(READS):
        client.get(path)


# Session, user, permissions twice; the payment twice, for Django reads it again; the order's
# past; one of each source; ten of the offers.
READS = 35


def test_nobody_without_the_permission_sees_it(book: Book) -> None:
    order = paid_order()
    client = Client()
    client.force_login(User.objects.create_user("other", password="a long password", is_staff=True))
    assert client.get(f"/admin/payments/payment/{quote(payment_of(order).pk)}/change/").status_code == 403
    assert staff_with().get("/admin/payments/payment/no-such-payment/change/").status_code == 302


# --- The list ---------------------------------------------------------------------------------------------------------


def listed(client: Client, state: str) -> set[str]:
    html = client.get("/admin/payments/payment/", {"state": state}).content.decode()
    return {number for number in Order.objects.values_list("number", flat=True) if number in html}


def _payment(order: Order, **columns: Any) -> Payment:
    make_attempt(order, "succeeded" if columns.get("phase") == "succeeded" else "declined")
    payment = Payment.objects.get(order=order)
    Payment.objects.filter(pk=payment.pk).update(**columns)
    payment.refresh_from_db()
    return payment


def _with_break(kind: str, **order: Any) -> Order:
    made = make_order(**order)
    _payment(made)
    Break.objects.create(kind=kind, subject=f"{kind} {made.number}", order=made)
    return made


def _with_refund(outcome: str, phase: str) -> Order:
    made = make_order(status="paid")
    payment = _payment(made, phase="succeeded", captured_minor=1250)
    refund_row(
        payment=payment,
        idempotency_key="k",
        fingerprint="",
        amount_minor=1,
        currency="GBP",
        reason="duplicate",
        phase=phase,
        outcome=outcome,
    )
    return made


def _undecided(outcome: str, minutes: int) -> Order:
    made = make_order()
    make_attempt(made, outcome, claimed_at=timezone.now() - datetime.timedelta(minutes=minutes))
    return made


def _disputed(status: str) -> Order:
    made = make_order(status="paid")
    payment = _payment(made, phase="succeeded", captured_minor=1250)
    Dispute.objects.create(
        payment=payment,
        dispute_id=f"dp_{made.number}",
        amount_minor=1,
        currency="GBP",
        status=status,
        opened_at=timezone.now(),
    )
    return made


def test_each_filter_finds_its_payments_and_no_others() -> None:
    fine = make_order(status="paid")
    _payment(fine, phase="succeeded", captured_minor=1250)
    pending_but_paid = make_order()
    _payment(pending_but_paid, phase="succeeded", captured_minor=1250)
    young, old = _undecided("unknown", 1), _undecided("processing", 11)
    found = {
        "unknown": {young},
        "stuck": {old},
        "paid-but-pending": {pending_but_paid, _with_break("status")},
        "charged-without-order": {_with_break("missing_local", status="canceled")},
        "two-charges": {_with_break("double_charge", status="paid")},
        "amount-differs": {_with_break("amount", status="paid")},
        "refund-pending": {_with_refund("pending", "confirming"), _with_refund("unknown", "confirming")},
        "refund-failed": {_with_refund("failed", "finished")},
        "disputed": {_disputed("needs_response")},
    }
    _with_refund("succeeded", "finished")
    _disputed("won")
    client = staff_with()
    assert {state: listed(client, state) for state in found} == {
        state: {order.number for order in orders} for state, orders in found.items()
    }


def test_the_list_masks_the_shopper(book: Book) -> None:
    order = paid_order()
    masked = staff_with().get("/admin/payments/payment/").content.decode()
    assert "a…@example.com" in masked and order.email not in masked
    whole = staff_with("orders.see_personal_data").get("/admin/payments/payment/").content.decode()
    assert order.email in whole


def test_a_take_over_is_in_the_story(book: Book) -> None:
    order, client = placed_order()
    book.rule("409_in_use", times=None)
    press(client, order)
    book.clear_rules()
    attempt = Attempt.objects.get(order=order)
    Attempt.objects.filter(pk=attempt.pk).update(locked_until=timezone.now() - datetime.timedelta(seconds=5))
    complete_attempt(attempt.pk, Asker.COMPLETER)
    row = next(row for row in rows_of(order) if row.source == "lease")
    assert (row.what, row.was, row.now) == ("Lease taken over of press 1", "shopper", "completer")


def test_looks_for_refunds_and_disputes_are_in_the_story_but_not_the_sweep_s(book: Book) -> None:
    order = paid_order()
    reconcile_order(order.pk, Asker.STAFF, "ada")
    follow_refunds(payment_of(order), Asker.SWEEP)
    looks = [row for row in rows_of(order) if row.what.startswith("Stripe: list")]
    assert [(row.what, row.by, row.http_status) for row in looks] == [
        ("Stripe: list the refunds", "ada", 200),
        ("Stripe: list the disputes", "ada", 200),
    ]
    assert all(row.request_id for row in looks)


def test_a_payment_that_was_opened_ahead_says_so(book: Book) -> None:
    order, _ = placed_order()
    open_ahead(order.pk)
    [row] = [row for row in rows_of(order) if row.source == "call"]
    assert (row.what, row.by, row.http_status) == ("Stripe: open the intent", "shopper", 200)


def test_events_of_others_are_filtered_in_the_inbox() -> None:
    now = timezone.now()
    for state in ("foreign", "done"):
        WebhookEvent.objects.create(
            event_id=f"evt_{state}", type="charge.succeeded", state=state, created_at_gateway=now, next_try_at=now
        )
    html = staff_with("payments.view_webhookevent").get("/admin/payments/webhookevent/", {"state__exact": "foreign"})
    assert "evt_foreign" in html.content.decode() and "evt_done" not in html.content.decode()
