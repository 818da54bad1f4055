"""An account with a past: thousands of payments brought in as rows, each like one made through the API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.book import Book, BookRefused
from tests.sandbox.conftest import Process, Shop, wait_for

HOUR = 60 * 60


def rows(count: int, start: float) -> list[dict[str, Any]]:
    return [
        {
            "order": f"o{number}",
            "payment": f"p{number}",
            "amount": 1000 + number,
            "currency": "gbp",
            "created": int(start) + number,
            "env": "test",
        }
        for number in range(count)
    ]


def test_a_row_is_like_a_payment_made_through_the_api(shop: Shop, book: Book) -> None:
    """The same fields, and the same values but for ids and times."""
    expand = ["latest_charge.balance_transaction", "payment_method"]
    paid = shop.paid("o0", amount=1000, metadata={"order": "o0", "payment": "p0", "env": "test"})
    made = shop.client.v1.payment_intents
    wait_for(lambda: book.charges("o0")[0]["balance_transaction"])
    wanted = _plain(made.retrieve(paid.id, {"expand": expand}).to_dict())
    row = book.bulk(rows(1, time.time()))[0]
    assert row["order"] == "o0"
    assert _plain(made.retrieve(row["intent"], {"expand": expand}).to_dict()) == wanted


def _plain(value: Any) -> Any:
    times = ("created", "available_on", "id", "source", "client_secret", "payment_method", "payment_intent")
    if isinstance(value, dict):
        return {
            name: _plain(each)
            for name, each in value.items()
            if not (name in times and isinstance(each, (int, str))) and name != "receipt_url"
        }
    return [_plain(each) for each in value] if isinstance(value, list) else value


def test_rows_are_listed_in_the_order_of_created(shop: Shop, book: Book) -> None:
    now = time.time()
    newest = shop.intent()
    old = book.bulk(rows(5, now - 3 * HOUR))
    older = book.bulk(rows(5, now - 5 * HOUR))
    listing = shop.client.v1.payment_intents.list
    ids = [intent.id for intent in listing({"limit": 3}).auto_paging_iter()]
    assert ids == [newest.id, *(each["intent"] for each in [*older, *old][::-1])]
    window = listing({"created": {"gte": int(now - 3 * HOUR) + 1, "lt": int(now - 3 * HOUR) + 3}}).data
    assert [intent.id for intent in window] == [old[2]["intent"], old[1]["intent"]]
    charges = shop.client.v1.charges.list({"payment_intent": old[3]["intent"]}).data
    assert [charge.id for charge in charges] == [old[3]["charge"]]


def test_a_row_can_be_refunded_disputed_and_counted(shop: Shop, book: Book) -> None:
    row = book.bulk(rows(1, time.time() - HOUR))[0]
    assert shop.client.v1.refunds.create({"payment_intent": row["intent"], "amount": 400}).status == "succeeded"
    assert shop.client.v1.charges.retrieve(row["charge"]).amount_refunded == 400
    book.dispute(row["charge"])
    assert [charge["id"] for charge in book.succeeded("o0")] == [row["charge"]]
    assert book.refunded("o0") == 400
    assert book.events(row["intent"])[0]["type"] == "refund.created"  # nothing was told of the payment itself


def test_so_many_evenly_spread(shop: Shop, book: Book) -> None:
    now = int(time.time())
    made = book.bulk(10, since=now - 1000, until=now, amount=700, env="other")
    intents = book.intents()
    assert [intent["id"] for intent in intents] == [each["intent"] for each in made]
    assert [intent["created"] for intent in intents] == [now - 1000 + 100 * number for number in range(10)]
    assert {(intent["amount"], intent["metadata"]["env"]) for intent in intents} == {(700, "other")}


@pytest.mark.parametrize("row", [{"order": "a"}, {"amount": "7"}, {"amount": 7, "ordre": "a"}])
def test_a_bad_row_brings_nothing_in(book: Book, row: dict[str, Any]) -> None:
    with pytest.raises(BookRefused):
        book.bulk([{"amount": 700}, row])
    assert book.intents() == []


def test_twenty_thousand_are_brought_in_listed_and_found_again(tmp_path: Path) -> None:
    count = 20_000
    process = Process(tmp_path / "book.jsonl")
    try:
        now = int(time.time())
        made = process.book.bulk(count, since=now - count, until=now)
        changed = process.client.v1.refunds.create({"payment_intent": made[7]["intent"], "amount": 100})
        process.kill()
        process = Process(tmp_path / "book.jsonl")
        assert process.client.v1.refunds.retrieve(changed.id).amount == 100
        middle = now - count // 2
        page = process.client.v1.charges.list({"limit": 100, "created": {"gte": middle, "lt": middle + 50}})
        assert len(page.data) == 50
        assert isinstance(process.client.v1.charges.retrieve(made[7]["charge"]), stripe.Charge)
        assert process.client.v1.charges.retrieve(made[7]["charge"]).amount_refunded == 100
    finally:
        process.kill()
