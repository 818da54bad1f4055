"""Staff answer "was I charged twice?" from one screen: every state of the sandbox has its headline and its text (ST3,
FAILURES 124)."""

import datetime
import re
from collections.abc import Callable
from html import unescape
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import Order
from orders.ownership import Shopper
from payments.backoffice.inquiry.wording import WORDS, Case
from payments.backoffice.payment.times import when_text
from payments.breaks import resolve_break
from payments.disputes import follow_disputes
from payments.models import Asker, Attempt, Break, Payment, Refund
from payments.outcome import carry_out_closing
from payments.reconciliation.double_charges import give_back
from payments.reconciliation.recovery import ask_stripe, complete_due
from payments.refund import Ask, follow_refunds, refund_once
from payments.row_lock import locked_order
from shop.acts import Act, Who
from shop.ids import new_id
from tests.book import Book
from tests.orders.making import give_up, guest_client, make_attempt, make_cart, make_guest, make_product, place
from tests.payments.paying import placed_order, press, start_over
from tests.payments.planting import ours, paid_order, payment_of, refund_row, second_charge, swept

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _in_a_hurry(settings: Any) -> None:
    """The sweep of these tests counts everything as old enough."""
    settings.SWEEP_MIN_AGE = datetime.timedelta(0)
    settings.SWEEP_REQUESTS_PER_SECOND = 100_000


def staff(*permissions: str) -> Client:
    """A member of staff who may see payments, and these permissions."""
    user, _ = User.objects.get_or_create(username="clerk", defaults={"is_staff": True})
    codenames = {"view_payment", *permissions}
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


class Page(NamedTuple):
    html: str
    headline: str
    letter: str
    letters: list[str]


def page(q: str | None, *permissions: str) -> Page:
    answer = staff(*permissions).get("/admin/desk/charged-twice/", {"q": q or ""})
    assert answer.status_code == 200
    html = answer.content.decode()
    headlines = re.findall(r"<h2[^>]*>(?:<span[^>]*>[^<]*</span>)?([^<]*)</h2>", html)
    letters = [unescape(text) for text in re.findall(r"<textarea[^>]*readonly[^>]*>(.*?)</textarea>", html, re.DOTALL)]
    return Page(html, unescape(headlines[0].strip()) if headlines else "", letters[0] if letters else "", letters)


# --- every case, from a real state of the sandbox ---------------------------------------------------------------------


def one(book: Book) -> str:
    return paid_order().number


def none(book: Book) -> str:
    return placed_order()[0].number


def nothing_sent(book: Book) -> str:
    order, _ = placed_order()
    make_attempt(order, "released")
    return order.number


def hold(book: Book) -> str:
    order, client = placed_order()
    assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    assert press(client, order).status_code == 201
    return order.number


def hold_alone(book: Book) -> str:
    order, client = placed_order()
    assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    return order.number


def hold_of_a_challenge(book: Book) -> str:
    order, client = placed_order()
    assert press(client, order, token="pm_card_threeDSecure2Required").status_code == 202
    assert start_over(client, order).status_code == 200
    assert Attempt.objects.get(order=order).outcome == "canceled"
    return order.number


def second_prepared(book: Book, **card: str) -> str:
    order = paid_order()
    second_charge(book, order, **card)
    swept()
    return order.number


def second_sent(book: Book) -> str:
    number = second_prepared(book, card="pm_card_pendingRefund")
    give_back(Break.objects.get(kind="double_charge"))
    assert Break.objects.get(kind="double_charge").resolved_at is None
    return number


def second_done(book: Book) -> str:
    number = second_prepared(book)
    give_back(Break.objects.get(kind="double_charge"))
    return number


def second_gone(book: Book) -> str:
    """In Stripe's dashboard: only the sweep finds that nothing of it is left."""
    number = second_prepared(book)
    book.dashboard_refund(Break.objects.get(kind="double_charge").subject)
    swept()
    return number


def second_kept(book: Book) -> str:
    number = second_prepared(book)
    resolved("kept as agreed")
    return number


def resolved(note: str) -> None:
    found = Break.objects.get(resolved_at=None)
    user = User.objects.create(username="carla", is_staff=True)
    act = Act("resolve break", Who(user, None, ""), f"break {found.pk}", dict, form_key=new_id())
    assert resolve_break(found.pk, note, act)


def not_known(book: Book) -> str:
    order, client = placed_order()
    book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == 202
    book.clear_rules()
    return order.number


def asked_by_the_bank(book: Book) -> str:
    order, client = placed_order()
    assert press(client, order, token="pm_card_threeDSecure2Required").status_code == 202
    return order.number


def disputed(book: Book, status: str = "") -> str:
    order = paid_order()
    payment = payment_of(order)
    made = book.dispute(payment.charge_id or "")
    if status:
        book.move_dispute(made["id"], "under_review")
        book.move_dispute(made["id"], status)
    assert follow_disputes(payment, Asker.WEBHOOK)
    return order.number


def dispute_under_review(book: Book) -> str:
    number = disputed(book)
    payment = Payment.objects.get(order__number=number)
    book.move_dispute(payment.disputes.get().dispute_id, "under_review")
    assert follow_disputes(payment, Asker.WEBHOOK)
    return number


def dispute_lost(book: Book) -> str:
    return disputed(book, "lost")


def dispute_won(book: Book) -> str:
    return disputed(book, "won")


def two_orders(book: Book) -> str:
    shopper, product = make_guest(), make_product()
    first = bought(shopper, (product, 1))
    bought(shopper, (product, 1))
    return first.number


def bought(shopper: Shopper, *goods: Any) -> Order:
    """Bought all the same, however like the last purchase it is."""
    order = place(make_cart(*goods or [(make_product(), 1)]), shopper, again=True).order
    client = guest_client(shopper=shopper)
    if shopper.user_id:
        client.force_login(User.objects.get(pk=shopper.user_id))
    assert press(client, order).status_code == 201
    return order


def given_back(order: Order, amount: int, key: str = "back") -> None:
    refund_once(payment_of(order), Ask(key, "x", amount, "requested_by_customer", None))


def refunded(book: Book) -> str:
    order = paid_order()
    given_back(order, order.total_minor)
    return order.number


def partly_refunded(book: Book) -> str:
    order = paid_order()
    given_back(order, 500)
    return order.number


def refund_sent(book: Book) -> str:
    order, client = placed_order()
    assert press(client, order, token="pm_card_pendingRefund").status_code == 201
    given_back(order, order.total_minor)
    return order.number


def refund_not_known(book: Book) -> str:
    order = paid_order()
    book.rule("reset", path="/v1/refunds", when="after", times=None)
    given_back(order, order.total_minor)
    book.clear_rules()
    return order.number


def refund_stuck(book: Book) -> str:
    order = paid_order()
    given_back(order, order.total_minor)
    book.end_refund(book.refunds(order.pk)[0]["id"], "failed")
    assert follow_refunds(payment_of(order), Asker.WEBHOOK)
    return order.number


def late_money(book: Book) -> str:
    """It came after the order was given up, and the goods were gone: it goes back by itself."""
    number = not_known(book)
    order = Order.objects.get(number=number)
    give_up(order, "expired")
    order.lines.get().product.__class__.objects.update(stock=0)
    Attempt.objects.update(locked_until=None, next_look_at=timezone.now())
    complete_due(Asker.COMPLETER)
    complete_due(Asker.COMPLETER)
    assert payment_of(order).refunded_minor == order.total_minor
    return number


def perhaps_two(book: Book) -> str:
    first = bought(make_guest())
    bought(make_guest(), (make_product(price_minor=9900), 1))
    return first.number


def different(book: Book) -> str:
    order, _ = placed_order()
    book.foreign_payment(order.total_minor, metadata=ours(order))
    swept()
    return order.number


def no_order(book: Book) -> str:
    theirs = book.foreign_payment(777, metadata=ours(new_id()))
    swept()
    charge: str = theirs["latest_charge"]
    return charge


def no_order_resolved(book: Book) -> str:
    charge = no_order(book)
    resolved("of the old shop")
    return charge


def test_a_charge_without_an_order_stands_beside_orders_of_the_same_amount(book: Book) -> None:
    """As the shopper gives it: 12.50, card ending 4242. It leads to Stripe's page and to what to do."""
    order = paid_order()
    theirs = book.foreign_payment(order.total_minor, metadata=ours(new_id()))
    swept()
    for text in ("12.50", "4242"):
        html = page(text).html
        assert order.number in html and "A charge that belongs to no order of ours" in html
        assert f'/payments/{theirs["id"]}"' in html and "open-break-missing-local" in html
    resolved("of the old shop")
    assert "belongs to no order" not in page("12.50").html


CASES: list[tuple[Case, Callable[[Book], str]]] = [
    (Case.ONE, one),
    (Case.ONE, dispute_won),
    (Case.NONE, none),
    (Case.NONE, nothing_sent),
    (Case.HOLD, hold),
    (Case.HOLD_ALONE, hold_alone),
    (Case.HOLD_ALONE, hold_of_a_challenge),
    (Case.SECOND_PREPARED, second_prepared),
    (Case.SECOND_SENT, second_sent),
    (Case.SECOND_DONE, second_done),
    (Case.SECOND_DONE, second_gone),
    (Case.SECOND_KEPT, second_kept),
    (Case.OPEN, not_known),
    (Case.OPEN, asked_by_the_bank),
    (Case.DISPUTE_TO_ANSWER, disputed),
    (Case.DISPUTED, dispute_under_review),
    (Case.DISPUTE_LOST, dispute_lost),
    (Case.TWO_ORDERS, two_orders),
    (Case.REFUND_STUCK, refund_stuck),
    (Case.REFUND_SENT, refund_sent),
    (Case.REFUND_SENT, refund_not_known),
    (Case.REFUNDED, refunded),
    (Case.REFUNDED, late_money),
    (Case.PARTLY_REFUNDED, partly_refunded),
    (Case.PERHAPS_TWO, perhaps_two),
    (Case.DIFFERENT, different),
    (Case.NO_ORDER, no_order),
    (Case.NO_ORDER_RESOLVED, no_order_resolved),
]
# What the text to send must say of each, beside amount and reference.
SAYS = {
    Case.ONE: "You were charged once for order",
    Case.NONE: "You were not charged for order",
    Case.HOLD: "It goes away by itself after some days",
    Case.HOLD_ALONE: "You were not charged for order",
    Case.SECOND_PREPARED: "we are giving it back",
    Case.SECOND_SENT: "on its way back to the same card",
    Case.SECOND_DONE: "has gone back to the same card",
    Case.SECOND_KEPT: "We have looked into the second one",
    Case.OPEN: "You will not be charged twice",
    Case.DISPUTE_TO_ANSWER: "Your bank is looking into this",
    Case.DISPUTED: "Your bank is looking into this",
    Case.DISPUTE_LOST: "taken the money back from us",
    Case.TWO_ORDERS: "each was charged once",
    Case.REFUND_STUCK: "Please tell us how else we can send it",
    Case.REFUND_SENT: "is on its way",
    Case.REFUNDED: "all of it has gone back",
    Case.PARTLY_REFUNDED: "A part has gone back to your card",
    Case.PERHAPS_TWO: "the receipt of another order",
    Case.DIFFERENT: "cannot explain yet",
    Case.NO_ORDER: "belongs to no order",
    Case.NO_ORDER_RESOLVED: "belongs to no order",
}
_NO_AMOUNT = (Case.NONE, Case.OPEN)


@pytest.mark.parametrize(("case", "built"), CASES, ids=[f"{case}: {built.__name__}" for case, built in CASES])
def test_every_state_has_its_headline_and_a_text_that_is_true(book: Book, case: Case, built: Any) -> None:
    name = built(book)
    said = page(name)
    assert said.headline == WORDS[case].headline
    assert SAYS[case] in said.letter
    assert name in said.letter
    for text in (said.letter, *said.letters):
        assert not re.search(r"fail|{|}|(?<!some )days|hours", text, re.IGNORECASE), text
        assert "ada@example.com" not in text
        assert "Lovelace" not in text
    if case not in _NO_AMOUNT:
        order = Order.objects.filter(number=name).first()
        assert (order.total_text if order else "£7.77") in said.letter
    if case in (Case.ONE, Case.SECOND_PREPARED, Case.REFUNDED, Case.TWO_ORDERS, Case.DISPUTED):
        now = timezone.now()
        assert f"£12.50 on {now.day} {now:%B %Y}, card ending 4242" in said.letter


def test_every_case_is_tested_and_has_its_words() -> None:
    assert {case for case, _ in CASES} == set(Case) == set(WORDS) == set(SAYS)


# --- what is shown beside it ------------------------------------------------------------------------------------------


def test_a_second_charge_is_found_by_its_own_id_and_both_are_shown(book: Book) -> None:
    number = second_done(book)
    found = Break.objects.get(kind="double_charge")
    said = page(found.subject)
    good = payment_of(Order.objects.get(number=number))
    assert said.headline == WORDS[Case.SECOND_DONE].headline
    for shown in (found.subject, str(good.charge_id), str(Refund.objects.get().refund_id), "second charge", "refund"):
        assert shown in said.html


def test_what_is_not_known_says_what_will_happen_and_when_the_next_look_is(book: Book) -> None:
    number = not_known(book)
    attempt = Attempt.objects.get()
    said = page(number)
    due = attempt.next_look_at
    assert due is not None
    assert f"Next look: {when_text(due)}" in said.html
    end = attempt.claimed_at + datetime.timedelta(minutes=10)
    assert f"If it is still not known at {when_text(end)}, we cancel it at Stripe" in said.html


def test_what_is_past_its_end_is_overdue_and_another_day_is_named(book: Book) -> None:
    number = not_known(book)
    now = timezone.now()
    ago, ahead = now - datetime.timedelta(days=2), now + datetime.timedelta(days=1)
    Attempt.objects.update(claimed_at=ago, next_look_at=ahead)
    said = page(number).html
    assert (
        f"It is overdue, for we were to cancel it at Stripe at {when_text(ago + datetime.timedelta(minutes=10))}"
        in unescape(said)
    )
    assert "on-call presses Ask Stripe now" in said
    assert f"Next look: {ahead:%Y-%m-%d %H:%M:%S} UTC" in said
    assert "If it is still not known" not in said
    Attempt.objects.update(next_look_at=ago)
    assert f"Next look: {when_text(ago)}, which is due now" in page(number).html


def test_a_full_refund_reads_as_one_charge_and_what_went_back(book: Book) -> None:
    letter = page(refunded(book)).letter
    charged, given_back = letter.index("Charged:\n- £12.50"), letter.index("Given back:\n- £12.50")
    assert charged < given_back
    assert "canceled" not in letter and "expired" not in letter
    assert "The order expired before your payment reached us." in page(late_money(book)).letter


def test_who_was_not_charged_hears_whether_the_order_can_be_paid(book: Book) -> None:
    for built in (none, hold_alone):
        number = built(book)
        order = Order.objects.get(number=number)
        assert (
            f"is still open: you can pay it on its page until {order.expires_at.day} {order.expires_at:%B}"
            in page(number).letter
        )
        Order.objects.filter(pk=order.pk).update(expires_at=timezone.now())
        assert "still open" not in page(number).letter
        Order.objects.filter(pk=order.pk).update(status="canceled")
        assert "The order was canceled." in page(number).letter
    assert "still open" not in page(not_known(book)).letter


def test_an_order_that_late_money_revived_is_told_so(book: Book) -> None:
    number = not_known(book)
    order = Order.objects.get(number=number)
    with locked_order(order.pk) as locked:
        locked.closing_by, locked.closing_reason = "clara", "cancel"
        carry_out_closing(locked)
    ask_stripe(order, Asker.WEBHOOK)
    said = page(number)
    assert said.headline == WORDS[Case.ONE].headline
    assert "The order was canceled before your payment reached us. We still had the goods, so it stands" in said.letter
    assert f"Order {number}: It was canceled by clara at" in said.html


def test_an_open_charge_without_an_order_is_to_act_on_and_links_its_page(book: Book) -> None:
    charge = no_order(book)
    html = page(charge).html
    assert re.search(r'<span class="desk-tag bad">Act</span> A charge that belongs to no order', html)
    assert 'href="/admin/desk/runbook/open-break-missing-local/">What to do' in html
    resolved("of the old shop")
    assert re.search(r'<span class="desk-tag doubt">Look</span> A charge that belongs to no order', page(charge).html)


def test_the_page_asks_stripe_nothing_and_says_when_it_was_last_asked(book: Book) -> None:
    number = one(book)
    before = len(book.calls())
    said = page(number)
    assert len(book.calls()) == before
    last = Order.objects.get(number=number).payment_events.filter(kind__startswith="call:").latest("at")
    assert f"{last.at:%Y-%m-%d %H:%M:%S}" in said.html


def test_what_can_be_done_is_linked_and_the_rest_says_why_not(book: Book) -> None:
    number = one(book)
    order = Order.objects.get(number=number)
    assert f'href="/admin/desk/ask/order/{order.pk}/"' not in page(number).html
    assert "On-call does this" in page(number).html
    said = page(number, "reconcile_payment", "refund_payment").html
    assert f'href="/admin/desk/ask/order/{order.pk}/">Ask Stripe now' in said
    assert f'href="/admin/desk/refund/{payment_of(order).pk}/"' in said


def test_a_text_never_names_an_order_that_shares_only_the_address(book: Book) -> None:
    number = perhaps_two(book)
    other = Order.objects.exclude(number=number).get()
    said = page(number)
    assert other.number in said.html
    assert "Same e-mail, perhaps the same person" in said.html
    for text in said.letters:
        assert other.number not in text
        assert other.total_text not in text
    assert page("ada@example.com").headline == WORDS[Case.PERHAPS_TWO].headline


def test_two_orders_of_one_shopper_say_whether_the_goods_are_the_same(book: Book) -> None:
    shopper = make_guest()
    product = make_product()
    first = bought(shopper, (product, 1))
    second = bought(shopper, (make_product(), 1))
    said = page(first.number)
    assert "They are for different goods." in said.letter
    assert second.number in said.letter
    assert "They are for the same goods." in page(two_orders(book)).letter


def test_what_has_gone_back_of_one_of_two_orders_is_said(book: Book) -> None:
    number = two_orders(book)
    order = Order.objects.get(number=number)
    given_back(order, order.total_minor)
    letter = page(number).letter
    assert "each was charged once" in letter
    _, _, back = letter.partition("this has gone back to you")
    assert re.findall(r"order ([\w-]+)", back) == [number]


def test_a_refund_that_stripe_never_had_is_no_line_of_a_statement(book: Book) -> None:
    number = one(book)
    refund_row(
        payment=payment_of(Order.objects.get(number=number)),
        idempotency_key="never",
        fingerprint="",
        amount_minor=100,
        currency="GBP",
        reason="duplicate",
        phase="finished",
        outcome="failed",
    )
    assert page(number).headline == WORDS[Case.ONE].headline


def test_an_account_is_the_same_shopper_on_another_device(book: Book) -> None:
    user = User.objects.create_user("ada")
    first = bought(Shopper(user.pk, new_id()))
    second = bought(Shopper(user.pk, new_id()))
    said = page(second.number)
    assert said.headline == WORDS[Case.TWO_ORDERS].headline
    assert first.number in said.letter
    assert "The same account" in said.html


def test_orders_far_apart_are_not_two_charges_at_once(book: Book) -> None:
    shopper = make_guest()
    long_ago = bought(shopper)
    ago = timezone.now() - datetime.timedelta(days=40)
    Order.objects.filter(pk=long_ago.pk).update(placed_at=ago)
    Payment.objects.filter(order=long_ago).update(created_at=ago)
    now = bought(shopper)
    said = page(now.number)
    assert said.headline == WORDS[Case.ONE].headline
    assert long_ago.number not in said.html


def test_several_shoppers_are_a_choice_and_no_text_is_offered(book: Book) -> None:
    first, second = one(book), one(book)
    Order.objects.filter(number=second).update(email="bob@example.net")
    said = page("4242")
    assert said.headline == "Several shoppers: choose an order"
    assert said.letters == []
    assert first in said.html
    assert second in said.html


def test_nothing_found_is_said_so(book: Book) -> None:
    assert page("nobody@example.com").headline == "Nothing of ours is called that"
    assert page("").letters == []


def test_what_was_asked_is_shown_as_text_and_nothing_else() -> None:
    said = page('"><script>alert(1)</script>')
    assert "<script>alert" not in said.html


def test_addresses_are_masked_for_staff_without_the_permission(book: Book) -> None:
    one(book)
    masked = page("Ada@Example.com").html.replace('value="Ada@Example.com"', "")
    assert "a…@example.com" in masked
    assert "ada@example.com" not in masked
    assert "ada@example.com" in page("ada@example.com", "see_personal_data").html.replace('value="ada@', "")


def test_only_staff_who_may_see_payments_may_ask(book: Book) -> None:
    client = Client()
    assert client.get("/admin/desk/charged-twice/?q=x").status_code == 302
    packer = User.objects.create(username="packer", is_staff=True)
    packer.user_permissions.set(Permission.objects.filter(codename__in=["view_order", "fulfil_order"]))
    client.force_login(packer)
    assert client.get("/admin/desk/charged-twice/?q=x").status_code == 403


@pytest.mark.parametrize("built", [one, second_done, perhaps_two, no_order])
def test_the_page_can_be_read_by_its_structure(book: Book, built: Any) -> None:
    """One h1, then h2s; every table has a caption and heads with a scope; every box has a label; no style inside."""
    html = page(built(book)).html
    main = html[html.index('id="content-start"') :]
    assert len(re.findall(r"<h1", main)) == 1
    assert re.findall(r"<h([3-6])", main) == []
    assert len(re.findall(r"<table class=\"desk-table\"", main)) == len(re.findall(r"<caption>", main))
    assert re.findall(r"<th(?! scope=)[ >]", main) == []
    for box in re.findall(r"<(?:textarea|input)(?![^>]*hidden)[^>]*id=\"([^\"]+)\"", main):
        assert f'for="{box}"' in main
    assert len(re.findall(r"<textarea[^>]*readonly", main)) == len(re.findall(r"<textarea", main))
    assert " style=" not in main
    assert "<script" not in re.sub(r"<script[^>]*src=[^>]*></script>", "", main)


def test_a_page_costs_the_same_few_queries_however_many_orders(book: Book) -> None:
    shopper, client, counts = make_guest(), staff(), []
    for number in range(6):
        order = bought(shopper)
        if number in (2, 5):  # of three orders, and of six: the acts of three are shown
            with CaptureQueriesContext(connection) as asked:
                assert client.get("/admin/desk/charged-twice/", {"q": order.number}).status_code == 200
            counts.append(len(asked))
    assert counts[0] == counts[1]
