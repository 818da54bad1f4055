"""Stripe's events in any order, any number of times, worked on at any moment between them, end in what they end in
when they come one by one in their own order (RULES R80, R81; FAILURES 49, 67, 71, 104, 106)."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orders.models import Mail, Order
from payments.models import Attempt, Break, Dispute, Payment, PaymentEvent, Refund, WebhookEvent
from payments.reconciliation.inbox import work_webhooks
from tests.book import Book, Json
from tests.payments.paying import intent_of, placed_order, press
from tests.payments.test_webhooks import deliver, is_due

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Past:
    """What has happened at Stripe before the first event arrives."""

    declined: int = 0  # presses that the bank refused
    lost: bool = False  # whether the answer to the press that paid was lost
    refunds: tuple[int, ...] = ()  # minor units, made in the dashboard; 0 is all that is left
    dispute: tuple[str, ...] = field(default=())  # its statuses, one after the other


PASTS = {
    "paid, the answer lost": Past(lost=True),
    "declined, then paid": Past(declined=1),
    "declined twice, then paid, the answer lost": Past(declined=2, lost=True),
    "the answer lost, refunded whole": Past(lost=True, refunds=(0,)),
    "declined, then paid, refunded in parts": Past(declined=1, refunds=(300, 200, 0)),
    "disputed": Past(dispute=("needs_response",)),
    "the answer lost, disputed and lost": Past(lost=True, dispute=("needs_response", "under_review", "lost")),
    "refunded in part, disputed and won": Past(refunds=(300,), dispute=("needs_response", "under_review", "won")),
}


def lived_through(book: Book, past: Past) -> Order:
    order, client = placed_order()
    for _ in range(past.declined):
        assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    if past.lost:
        book.rule("reset", when="after", times=None)
    assert press(client, order).status_code == (202 if past.lost else 201)
    book.clear_rules()
    charge = book.succeeded(order.pk)[0]["id"]
    for amount in past.refunds:
        book.dashboard_refund(charge, amount or None)
    if past.dispute:
        made = book.dispute(charge, status=past.dispute[0])
        for status in past.dispute[1:]:
            book.move_dispute(made["id"], status)
    return order


def brought(events: list[Json], work_after: list[bool]) -> None:
    """One after the other, worked on in between where it is said; at the end until nothing is left to do."""
    for event, now in zip(events, work_after, strict=True):
        assert deliver(event) == 200
        if now:
            work_webhooks()
    while WebhookEvent.objects.filter(state="stored").exists():
        is_due()
        work_webhooks()


def end_of(order: Order) -> dict[str, Any]:
    """All that an order has come to, without names and times."""
    order.refresh_from_db()
    payment = Payment.objects.get(order=order)
    of_payment = {"payment": payment}
    return {
        "order": order.status,
        "stock": order.lines.get().product.stock,
        "payment": (payment.phase, payment.captured_minor, payment.refunded_minor),
        "attempts": list(Attempt.objects.filter(order=order).order_by("number").values_list("phase", "outcome")),
        "refunds": sorted(Refund.objects.filter(**of_payment).values_list("amount_minor", "phase", "outcome")),
        "disputes": list(Dispute.objects.filter(**of_payment).values_list("amount_minor", "status")),
        "mails": sorted(Mail.objects.filter(order=order).values_list("kind", flat=True)),
        "breaks": sorted(Break.objects.filter(order=order).values_list("kind", flat=True)),
        "paid": PaymentEvent.objects.filter(order=order, kind="settled", to_state="succeeded").count(),
        "events": sorted(
            WebhookEvent.objects.filter(intent_id=payment.intent_id).values_list("type", "state"),
        ),
    }


@pytest.fixture
def in_order(book: Book) -> Any:
    """Where a past ends when its events come once each, as they happened."""

    @cache
    def end(name: str) -> dict[str, Any]:
        order = lived_through(book, PASTS[name])
        events = book.events(intent_of(order))
        brought(events, [True] * len(events))
        return end_of(order)

    return end


@settings(
    max_examples=20,
    phases=[Phase.generate],  # an example costs half a second: shrinking one would take minutes
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=st.sampled_from(sorted(PASTS)), data=st.data())
def test_any_order_and_repetition_of_events_ends_as_in_order(
    book: Book, in_order: Any, name: str, data: st.DataObject
) -> None:
    order = lived_through(book, PASTS[name])
    events = book.events(intent_of(order))
    again = data.draw(st.lists(st.sampled_from(range(len(events))), max_size=5), label="repeated")
    numbers = data.draw(st.permutations([*range(len(events)), *again]), label="order")
    now = st.sampled_from([True, True, False])
    work_after = data.draw(st.lists(now, min_size=len(numbers), max_size=len(numbers)), label="worked on")
    brought([events[number] for number in numbers], work_after)
    assert end_of(order) == in_order(name)
    assert len(book.succeeded(order.pk)) == 1


@pytest.mark.parametrize("name", PASTS)
def test_each_past_ends_as_stripes_book_says(book: Book, in_order: Any, name: str) -> None:
    """What all orders of arrival are compared with is itself right."""
    past, end = PASTS[name], in_order(name)
    order = Order.objects.latest("placed_at")
    whole = bool(past.refunds) and past.refunds[-1] == 0
    assert end["order"] == ("refunded" if whole else "paid")
    assert end["paid"] == 1
    assert end["attempts"] == [("finished", "declined")] * past.declined + [("finished", "succeeded")]
    assert end["payment"] == ("succeeded", order.total_minor, book.refunded(order.pk))
    assert len(end["refunds"]) == len(past.refunds)
    assert end["disputes"] == ([(order.total_minor, past.dispute[-1])] if past.dispute else [])
    assert {state for _, state in end["events"]} == {"done"}


@pytest.mark.parametrize("name", ["the answer lost, refunded whole", "the answer lost, disputed and lost"])
def test_what_goes_back_of_money_that_is_news_to_us_is_taken_for_what_it_is(
    book: Book, in_order: Any, name: str
) -> None:
    """Its events alone come, before any that tells of the payment, and are all worked on."""
    order = lived_through(book, PASTS[name])
    events = book.events(intent_of(order))
    back = [event for event in events if event["type"].startswith(("refund.", "charge.refund", "charge.dispute."))]
    brought(back, [True] * len(back))
    assert end_of(order) | {"events": None} == in_order(name) | {"events": None}
    rest = [event for event in events if event not in back]
    brought(rest, [True] * len(rest))
    assert end_of(order) == in_order(name)
