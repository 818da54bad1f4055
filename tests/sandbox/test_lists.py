"""Lists: newest first, cursors, created ranges, read-after-write."""

from __future__ import annotations

import time

import pytest
import stripe

from tests.book import Book
from tests.sandbox.conftest import Shop, body_of, error_of


@pytest.fixture
def seven(shop: Shop) -> list[str]:
    """Newest first."""
    return [shop.intent(f"order_{number}").id for number in range(7)][::-1]


def _ids(listed: stripe.ListObject[stripe.PaymentIntent]) -> list[str]:
    return [intent.id for intent in listed.data]


def test_lists_are_newest_first_and_say_when_there_is_more(shop: Shop, seven: list[str]) -> None:
    listed = shop.client.v1.payment_intents.list({"limit": 3})
    assert _ids(listed) == seven[:3]
    assert (listed.has_more, listed.url) == (True, "/v1/payment_intents")
    assert not shop.client.v1.payment_intents.list({"limit": 7}).has_more


def test_cursors_go_both_ways(shop: Shop, seven: list[str]) -> None:
    listing = shop.client.v1.payment_intents.list
    after = listing({"limit": 3, "starting_after": seven[2]})
    assert (_ids(after), after.has_more) == (seven[3:6], True)
    before = listing({"limit": 2, "ending_before": seven[3]})
    assert (_ids(before), before.has_more) == (seven[1:3], True)
    assert _ids(listing({"ending_before": seven[0]})) == []


def test_the_package_walks_through_all_pages(shop: Shop, seven: list[str]) -> None:
    listed = shop.client.v1.payment_intents.list({"limit": 2})
    assert [intent.id for intent in listed.auto_paging_iter()] == seven


def test_ten_unless_told_and_a_hundred_at_most(shop: Shop) -> None:
    for number in range(12):
        shop.intent(f"o{number}")
    assert len(shop.client.v1.payment_intents.list().data) == 10
    for limit in (0, 101):
        error = error_of(lambda limit=limit: shop.client.v1.payment_intents.list({"limit": limit}))  # type: ignore[misc]
        assert body_of(error)["param"] == "limit"


def test_an_unknown_cursor_is_refused(shop: Shop) -> None:
    error = error_of(lambda: shop.client.v1.payment_intents.list({"starting_after": "pi_nowhere"}))
    assert (error.http_status, body_of(error)["param"]) == (400, "starting_after")
    both = error_of(lambda: shop.client.v1.events.list({"starting_after": "a", "ending_before": "b"}))
    assert both.http_status == 400


def test_created_ranges_include_and_exclude_their_ends(shop: Shop) -> None:
    old = shop.intent("old")
    while int(time.time()) == old.created:
        time.sleep(0.02)
    new = shop.intent("new")
    listing = shop.client.v1.payment_intents.list
    assert _ids(listing({"created": {"gte": old.created}})) == [new.id, old.id]
    assert _ids(listing({"created": {"gt": old.created}})) == [new.id]
    assert _ids(listing({"created": {"lte": old.created}})) == [old.id]
    assert _ids(listing({"created": {"lt": old.created}})) == []
    assert _ids(listing({"created": old.created})) == [old.id]
    assert _ids(listing({"created": {"gt": old.created, "lte": new.created}})) == [new.id]
    assert error_of(lambda: listing({"created": {"since": 1}})).code == "parameter_unknown"  # type: ignore[arg-type]


def test_charges_are_listed_by_intent_with_failed_ones(shop: Shop) -> None:
    intent = shop.intent()
    error_of(lambda: shop.confirm(intent, "pm_card_chargeDeclined"))
    shop.confirm(intent)
    shop.paid("other")
    listed = shop.client.v1.charges.list({"payment_intent": intent.id})
    assert [charge.status for charge in listed.data] == ["succeeded", "failed"]
    assert len(shop.client.v1.charges.list().data) == 3
    first = shop.client.v1.charges.list({"payment_intent": intent.id, "limit": 1})
    assert (len(first.data), first.has_more) == (1, True)


def test_events_are_listed_by_type(shop: Shop, book: Book) -> None:
    shop.paid()
    listing = shop.client.v1.events.list
    assert [event.type for event in listing({"type": "payment_intent.succeeded"}).data] == ["payment_intent.succeeded"]
    some = listing({"types": ["charge.succeeded", "payment_intent.created"]}).data
    assert {event.type for event in some} == {"charge.succeeded", "payment_intent.created"}
    assert {event.type for event in listing({"type": "charge.*"}).data} == {"charge.succeeded"}
    assert error_of(lambda: listing({"type": "a", "types": ["b"]})).http_status == 400
    newest = listing({"limit": 1}).data[0]
    assert [event.id for event in listing({"ending_before": newest.id}).data] == []
    assert shop.client.v1.events.retrieve(newest.id).id == newest.id


def test_what_was_answered_is_listed_at_once(shop: Shop) -> None:
    for number in range(20):
        made = shop.intent(f"o{number}")
        assert shop.client.v1.payment_intents.list({"limit": 1}).data[0].id == made.id
