"""Disputes: noticed by webhook and by Stripe's events, shown to staff, never paid twice (RULES R95, FAILURES 109)."""

import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.test import Client

from orders.models import Order
from payments.disputes import follow_disputes, write_dispute
from payments.gateways.base import SeenDispute, gateway
from payments.gateways.transport import Deadline
from payments.models import Asker, Break, Dispute, Payment, PaymentEvent, Refund
from payments.reconciliation.event_feed import read_events
from payments.reconciliation.inbox import work_webhooks
from payments.refund import left_to_refund
from payments.row_lock import give_back_connections
from tests.book import Book, Json
from tests.payments.planting import paid_order, payment_of, swept
from tests.payments.test_webhooks import deliver

pytestmark = pytest.mark.django_db(transaction=True)


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


def told(book: Book, payment: Payment) -> None:
    """Every event of disputes that Stripe has, by webhook, and worked on."""
    for event in book.events(payment.intent_id):
        if event["type"].startswith("charge.dispute."):
            assert deliver(event) == 200
    work_webhooks()


def disputed(book: Book, **how: Any) -> tuple[Order, Payment, Json]:
    order = paid_order()
    payment = payment_of(order)
    made = book.dispute(payment.charge_id or "", **how)
    told(book, payment)
    return order, payment, made


def test_a_dispute_is_kept_and_told_in_the_story(book: Book) -> None:
    order, payment, made = disputed(book)
    row = Dispute.objects.get()
    assert (row.payment, row.dispute_id, row.status) == (payment, made["id"], "needs_response")
    assert (row.amount_minor, row.currency, row.reason) == (order.total_minor, "GBP", "fraudulent")
    story = PaymentEvent.objects.get(order=order, kind="dispute")
    assert (story.from_state, story.to_state, story.asked_by) == ("", "needs_response", "webhook")
    assert made["id"] in story.note
    order.refresh_from_db()
    assert order.status == "paid"  # what becomes of the order is for staff to say


def test_an_event_that_comes_again_changes_nothing(book: Book) -> None:
    _, payment, _ = disputed(book)
    told(book, payment)
    follow_disputes(payment, Asker.WEBHOOK)
    assert Dispute.objects.count() == 1
    assert PaymentEvent.objects.filter(kind="dispute").count() == 1


def test_one_row_per_dispute_is_kept_by_the_database(book: Book) -> None:
    disputed(book)
    row = Dispute.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError, match="one_row_per_dispute"):
        row.save(force_insert=True)


def test_staff_see_it_on_the_payment(book: Book, staff: Client) -> None:
    _, payment, made = disputed(book)
    page = staff.get(f"/admin/payments/payment/{quote(payment.pk)}/change/", headers={"Accept": "text/html"})
    text = page.content.decode()
    assert made["id"] in text
    assert f"Act: answer in Stripe by {due_of(made)} UTC (finance)." in text
    assert "The bank waits for our answer: the shopper says that they did not pay it." in " ".join(text.split())


def due_of(made: Json) -> str:
    due = datetime.datetime.fromtimestamp(made["evidence_details"]["due_by"], datetime.UTC)
    return f"{due:%Y-%m-%d %H:%M}"


def test_who_asks_whether_it_was_charged_twice_sees_what_is_to_be_done_by_when(book: Book, staff: Client) -> None:
    order, payment, made = disputed(book)
    act = f"Act: answer in Stripe by {due_of(made)} UTC (finance)."
    html = staff.get(f"/admin/desk/charged-twice/?q={order.number}", headers={"Accept": "text/html"}).content.decode()
    head, lines = html[html.index('id="answer"') : html.index('id="lines"')], html[html.index('id="lines"') :]
    assert ">Act</span>" in head and act in head
    assert lines.index('scope="row">charge') < lines.index('scope="row">dispute')  # although Stripe tells whole seconds
    assert act in lines and "needs_response" not in html.replace("needs response", "")
    book.move_dispute(made["id"], "under_review")
    told(book, payment)
    html = staff.get(f"/admin/desk/charged-twice/?q={order.number}", headers={"Accept": "text/html"}).content.decode()
    assert "Act: answer" not in html and ">Look</span>" in html


def test_the_last_day_follows_stripe_s_and_is_no_step_in_the_story(book: Book) -> None:
    order, payment, made = disputed(book)
    assert Dispute.objects.get().due_at is not None
    Dispute.objects.update(due_at=None)  # as of a dispute that was noticed before there was such a column
    swept()
    assert f"{Dispute.objects.get().due_at:%Y-%m-%d %H:%M}" == due_of(made)
    Dispute.objects.update(due_at=None)
    assert follow_disputes(payment, Asker.STAFF)
    assert f"{Dispute.objects.get().due_at:%Y-%m-%d %H:%M}" == due_of(made)
    assert PaymentEvent.objects.filter(order=order, kind="dispute").count() == 1


@pytest.mark.parametrize(
    ("moves", "code", "words"),
    [
        ([], 409, "is disputed and may be lost"),
        (["under_review"], 409, "is disputed and may be lost"),
        (["under_review", "lost"], 409, "has taken £12.50 back after a dispute: a refund would pay it twice"),
        (["under_review", "won"], 201, ""),
    ],
    ids=["open", "under review", "lost", "won"],
)
def test_a_refund_is_refused_while_a_dispute_is_open_or_lost_and_allowed_when_won(
    book: Book, staff: Client, moves: list[str], code: int, words: str
) -> None:
    order, payment, made = disputed(book)
    for status in moves:
        book.move_dispute(made["id"], status)
    told(book, payment)
    answer = refund(staff, payment, order.total_minor)
    assert answer.status_code == code, answer.content
    if code == 409:
        said = answer.json()
        assert (said["type"], said["left"]) == ("/problems/refund-too-large", 0)
        assert words in said["detail"]
        assert Refund.objects.count() == 0
        assert book.refunds() == []
    else:
        assert [one["amount"] for one in book.refunds()] == [order.total_minor]


def test_a_question_of_the_bank_holds_nothing_back(book: Book, staff: Client) -> None:
    """An inquiry moves no money, and a refund is the best answer to it."""
    order, payment, _ = disputed(book, status="warning_needs_response")
    assert left_to_refund(payment) == order.total_minor
    assert refund(staff, payment, order.total_minor).status_code == 201


def test_a_part_that_is_disputed_leaves_the_rest(book: Book) -> None:
    order, payment, _ = disputed(book, amount=500)
    assert left_to_refund(payment) == order.total_minor - 500


def test_a_dispute_in_another_currency_may_be_about_all_of_it(book: Book) -> None:
    _, payment, _ = disputed(book, amount=1)
    Dispute.objects.update(currency="USD")
    assert left_to_refund(payment) == 0


def test_refunded_and_then_disputed_is_flagged_until_it_is_won(book: Book) -> None:
    """The bank takes back what the shopper has already: the seller loses it twice, and must answer the bank."""
    order = paid_order()
    payment = payment_of(order)
    seen = _as_seen("du_race", "needs_response", order)
    book.dashboard_refund(payment.charge_id or "", amount=200)
    read_events()
    work_webhooks()
    write_dispute(payment, seen, Asker.WEBHOOK)
    found = Break.objects.get()
    assert (found.kind, found.subject, found.amount_minor) == ("amount", "du_race", 200)
    assert "answer the dispute" in found.evidence["proposal"]
    write_dispute(payment, _as_seen("du_race", "won", order), Asker.WEBHOOK)
    found.refresh_from_db()
    assert found.resolved_at is not None


def test_a_dispute_that_arrives_during_our_refund_is_flagged(book: Book, staff: Client) -> None:
    order = paid_order()
    payment = payment_of(order)
    book.rule("hold", path="/v1/refunds", hold="refund", lock=False)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(_refund_and_close, staff, payment, order.total_minor)
        book.wait_until_held("refund")
        made = book.dispute(payment.charge_id or "")
        told(book, payment)
        assert Break.objects.get().subject == made["id"]  # both are under way: staff hear of it now
        book.release("refund")
        answer = running.result(30)
    assert answer.json()["status"] == "failed"  # Stripe refused: the charge is disputed
    assert book.refunds() == []
    swept()
    kinds = list(Break.objects.filter(resolved_at=None).values_list("kind", flat=True))
    assert kinds == ["status"]  # the refund that failed; nothing is lost twice any more


def _refund_and_close(client: Client, payment: Payment, amount: int) -> Any:
    try:
        return refund(client, payment, amount)
    finally:
        give_back_connections()


def test_what_was_fetched_earlier_and_written_later_takes_nothing_back(book: Book) -> None:
    order = paid_order()
    payment = payment_of(order)
    assert write_dispute(payment, _as_seen("du_1", "under_review", order), Asker.WEBHOOK)
    assert write_dispute(payment, _as_seen("du_1", "won", order), Asker.WEBHOOK)
    assert not write_dispute(payment, _as_seen("du_1", "needs_response", order), Asker.SWEEP)
    assert Dispute.objects.get().status == "won"


def test_stripe_not_answering_leaves_the_event_for_later(book: Book, no_stripe: Any) -> None:
    no_stripe()
    order = paid_order()
    payment = payment_of(order)
    book.dispute(payment.charge_id or "")
    event = next(one for one in book.events(payment.intent_id) if one["type"] == "charge.dispute.created")
    book.rule("502", method="GET", path="/v1/disputes", times=None)
    assert deliver(event) == 200
    assert work_webhooks() == 0
    assert Dispute.objects.count() == 0


def test_a_dispute_of_another_systems_charge_is_foreign(book: Book) -> None:
    theirs = book.foreign_payment()
    book.dispute(theirs["latest_charge"])
    for event in book.events(theirs["id"]):
        deliver(event)
    work_webhooks()
    assert Dispute.objects.count() == 0


def test_the_gateway_reads_one_dispute(book: Book) -> None:
    order = paid_order()
    made = book.dispute(payment_of(order).charge_id or "", amount=300)
    give_back_connections()
    seen = gateway().retrieve_dispute(made["id"], Deadline(5), [])
    assert (seen.id, seen.status, seen.amount_minor, seen.currency) == (made["id"], "needs_response", 300, "GBP")


def _as_seen(dispute_id: str, status: str, order: Order) -> SeenDispute:
    return SeenDispute(
        id=dispute_id,
        status=status,
        reason="fraudulent",
        amount_minor=order.total_minor,
        currency=order.currency,
        charge_id=payment_of(order).charge_id or "",
        intent_id="",
        created=1_700_000_000,
    )
