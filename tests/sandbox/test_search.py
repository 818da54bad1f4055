"""Customers, and search: it sees everything as it was a while ago, so it must not decide whether money moved."""

from __future__ import annotations

from pathlib import Path

import pytest
import stripe

from tests.book import Book
from tests.sandbox.conftest import Process, Shop, Sink, body_of, error_of, wait_for


def search(shop: Shop, query: str, **params: int) -> list[str]:
    return [intent.id for intent in shop.client.v1.payment_intents.search({"query": query, **params}).data]  # type: ignore[typeddict-item]


def test_a_search_is_behind_while_a_list_is_not(shop: Shop, book: Book) -> None:
    intent = shop.intent("order_1")
    assert shop.client.v1.payment_intents.list({"limit": 1}).data[0].id == intent.id
    assert search(shop, "metadata['order']:'order_1'") == []
    book.advance(61)
    assert search(shop, "metadata['order']:'order_1'") == [intent.id]


def test_it_shows_what_was(shop: Shop, book: Book) -> None:
    intent = shop.intent("order_1")
    book.advance(61)
    shop.confirm(intent)
    book.dashboard_update(intent.id, metadata={"order": "other"})
    assert search(shop, "status:'succeeded'") == []
    found = shop.client.v1.payment_intents.search({"query": "metadata['order']:'order_1'"}).data
    assert [each.status for each in found] == ["requires_payment_method"]
    book.advance(61)
    assert search(shop, "status:'succeeded'") == [intent.id]
    assert search(shop, "metadata['order']:'order_1'") == []
    assert search(shop, "metadata['order']:'other'") == [intent.id]


def test_the_lag_is_a_switch(shop: Shop, book: Book) -> None:
    book.search_lag(3600)
    intent = shop.intent()
    book.advance(3000)
    assert search(shop, "amount>1") == []
    book.search_lag(0)
    assert search(shop, "amount>1") == [intent.id]


def test_a_restart_is_no_news(tmp_path: Path) -> None:
    process = Process(tmp_path / "book.jsonl")
    try:
        intent = Shop(process.client).intent("a")
        process.book.advance(61)
        process.kill()
        process = Process(tmp_path / "book.jsonl")
        assert search(Shop(process.client), "metadata['order']:'a'") == [intent.id]
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("amount:700", "b"),
        ("amount>900 AND amount<=2000", "a"),
        ("currency:'eur' OR amount:2000", "ca"),
        ("-currency:'gbp'", "c"),
        ('metadata["order"]:"b"', "b"),
        ("metadata['extra']:null", "ba"),
        ("metadata['order']~'C'", "c"),
        ("status:'succeeded'", ""),
        ("status:'REQUIRES_PAYMENT_METHOD' amount<701", "b"),
        ("created>0 AND customer:null", "cba"),
    ],
)
def test_the_query_language(shop: Shop, book: Book, query: str, found: str) -> None:
    book.search_lag(0)
    ids = {
        shop.intent("a", amount=2000).id: "a",
        shop.intent("b", amount=700).id: "b",
        shop.intent("c", amount=900, currency="eur", metadata={"order": "c", "extra": "1"}).id: "c",
    }
    assert "".join(ids[each] for each in search(shop, query)) == found


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("order_1", "unable to parse"),
        ("amount:1 AND currency:'gbp' OR amount:2", "unable to parse"),
        ("AND amount:1", "unable to parse"),
        ("amount:'many'", "unable to parse"),
        ("currency>'gbp'", "unable to parse"),
        ("metadata:'x'", "unable to parse"),
        ("colour:'red'", "unsupported search field"),
    ],
)
def test_what_cannot_be_searched(shop: Shop, query: str, words: str) -> None:
    error = error_of(lambda: search(shop, query))
    assert error.http_status == 400 and words in body_of(error)["message"]


def test_pages(shop: Shop, book: Book) -> None:
    book.search_lag(0)
    made = [shop.intent("order_1").id for _ in range(5)][::-1]
    first = shop.client.v1.payment_intents.search({"query": "metadata['order']:'order_1'", "limit": 2})
    assert ([intent.id for intent in first.data], first.has_more) == (made[:2], True)
    assert [intent.id for intent in first.auto_paging_iter()] == made


# Customers.


def test_a_customer(shop: Shop, book: Book, sink: Sink) -> None:
    made = shop.client.v1.customers.create({"email": "a@example.com", "name": "A", "metadata": {"user": "7"}})
    assert made.id.startswith("cus_")
    assert shop.client.v1.customers.retrieve(made.id).email == "a@example.com"
    assert shop.client.v1.customers.update(made.id, {"name": "B"}).name == "B"
    wait_for(lambda: {"customer.created", "customer.updated"} <= set(sink.types()))
    assert error_of(lambda: shop.client.v1.customers.retrieve("cus_nobody")).http_status == 404


def test_customers_are_listed_by_email_and_searched(shop: Shop, book: Book) -> None:
    book.search_lag(0)
    first, second = (shop.client.v1.customers.create({"email": f"{name}@example.com"}) for name in "ab")
    assert [each.id for each in shop.client.v1.customers.list().data] == [second.id, first.id]
    assert [each.id for each in shop.client.v1.customers.list({"email": "a@example.com"}).data] == [first.id]
    found = shop.client.v1.customers.search({"query": "email:'b@example.com'"}).data
    assert [each.id for each in found] == [second.id]


def test_a_payment_of_a_customer(shop: Shop) -> None:
    customer = shop.client.v1.customers.create({})
    paid = shop.paid(customer=customer.id)
    shop.paid("other")
    assert [intent.id for intent in shop.client.v1.payment_intents.list({"customer": customer.id}).data] == [paid.id]
    intent = shop.client.v1.payment_intents.retrieve(paid.id, {"expand": ["customer", "latest_charge"]})
    assert isinstance(intent.customer, stripe.Customer) and isinstance(intent.latest_charge, stripe.Charge)
    assert intent.latest_charge.customer == customer.id
    error = error_of(lambda: shop.intent(customer="cus_nobody"))
    assert (error.http_status, body_of(error)["param"]) == (400, "customer")
