"""A payment's page, as Stripe's dashboard has one: what our "at Stripe" links lead to with the sandbox."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from payments.sandbox.answers import Answer
from payments.sandbox.pages import Pages
from payments.sandbox.server import Server
from tests.book import Book
from tests.sandbox.conftest import Shop
from tests.sandbox.test_pages import ask


def read(url: str, thing: str) -> str:
    status, headers, html = ask(url, f"/payments/{thing}")
    assert status == 200
    assert "script-src 'self'" in headers["Content-Security-Policy"] and "style=" not in html
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def press(url: str, intent: str, act: str, **form: str) -> str:
    status, headers, _ = ask(url, f"/payments/{intent}", "POST", {"act": act, **form}, Origin=url)
    assert status == 303
    return ask(url, headers["Location"])[2]


def test_intent_charge_refund_and_dispute_lead_to_one_page(shop: Shop, book: Book, url: str) -> None:
    paid = shop.paid("order_42")
    charge = book.charges()[0]["id"]
    refund = book.dashboard_refund(charge, 400)["id"]
    dispute = book.dispute(charge, reason="fraudulent")["id"]
    for thing in (paid.id, charge, refund, dispute):
        text = read(url, thing)
        assert all(one in text for one in (paid.id, charge, refund, dispute, "order_42"))
    assert "24.00 GBP" in text and "4.00 GBP" in text
    assert re.search(r"Evidence due by \(UTC\) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text)
    assert "Needs response" in text and "Fraudulent" in text and "Disputed: it cannot be refunded." in text


@pytest.mark.parametrize("thing", ["pi_nothing", "ch_nothing", "du_nothing", "nothing", ""])
def test_an_unknown_id_says_so(book: Book, url: str, thing: str) -> None:
    for method, form in (("GET", None), ("POST", {"act": "refund"})):
        status, _, html = ask(url, f"/payments/{thing}", method, form)
        assert status == 404 and "has nothing that is called" in html


def test_what_is_left_is_refunded_whole_or_in_part(shop: Shop, book: Book, url: str) -> None:
    intent, charge = shop.paid().id, book.charges()[0]["id"]
    assert 'value="24.00"' in ask(url, f"/payments/{intent}")[2]
    assert 'value="19.50"' in press(url, intent, "refund", charge=charge, amount="4.50")
    html = press(url, intent, "refund", charge=charge, amount="")
    assert "Refunded." in html and 'value="refund"' not in html
    assert sorted(refund["amount"] for refund in book.refunds()) == [450, 1950]
    assert {refund["idempotency_key"] for refund in book.refunds()} == {None}


@pytest.mark.parametrize("amount", ["25.00", "0", "-1", "NaN", "Infinity", "1.234", "1e400", "a lot"])
def test_a_refund_that_cannot_be_says_why_and_moves_nothing(shop: Shop, book: Book, url: str, amount: str) -> None:
    intent, charge = shop.paid().id, book.charges()[0]["id"]
    status, _, html = ask(url, f"/payments/{intent}", "POST", {"act": "refund", "charge": charge, "amount": amount})
    assert status in (400, 409) and 'role="alert"' in html
    assert book.refunds() == []


def test_nothing_is_done_to_what_is_another_payments(shop: Shop, book: Book, url: str) -> None:
    one, _ = shop.paid("order_1").id, shop.paid("order_2").id
    other = book.charges("order_2")[0]["id"]
    dispute = book.dispute(other)["id"]
    for form in ({"act": "refund", "charge": other}, {"act": "accept", "dispute": dispute}, {"act": "nothing"}):
        assert ask(url, f"/payments/{one}", "POST", form)[0] == 404
    assert book.refunds() == [] and book.disputes()[0]["status"] == "needs_response"


def test_a_dispute_is_answered_and_then_the_bank_decides(shop: Shop, book: Book, url: str) -> None:
    intent = shop.paid().id
    dispute = book.dispute(book.charges()[0]["id"])["id"]
    assert ask(url, f"/payments/{intent}", "POST", {"act": "submit", "dispute": dispute})[0] == 400
    html = press(url, intent, "submit", dispute=dispute, evidence="Sent on Monday.")
    assert "Under review" in html and "Sent on Monday." in html and 'value="accept"' not in html
    assert "Won" in press(url, intent, "won", dispute=dispute)
    assert book.disputes()[0]["status"] == "won"


def test_a_dispute_is_accepted(shop: Shop, book: Book, url: str) -> None:
    intent = shop.paid().id
    dispute = book.dispute(book.charges()[0]["id"])["id"]
    assert "Lost" in press(url, intent, "accept", dispute=dispute)
    assert book.disputes()[0]["status"] == "lost"
    assert ask(url, f"/payments/{intent}", "POST", {"act": "accept", "dispute": dispute})[0] == 409


def test_an_inquiry_is_answered_and_closed(shop: Shop, book: Book, url: str) -> None:
    intent = shop.paid().id
    dispute = book.dispute(book.charges()[0]["id"], status="warning_needs_response")["id"]
    assert 'value="accept"' not in ask(url, f"/payments/{intent}")[2]
    press(url, intent, "submit", dispute=dispute, evidence="Sent on Monday.")
    assert "Warning closed" in press(url, intent, "lost", dispute=dispute)


def test_what_is_typed_is_escaped(shop: Shop, book: Book, url: str) -> None:
    intent = shop.paid("<b>order</b>").id
    dispute = book.dispute(book.charges()[0]["id"])["id"]
    html = press(url, intent, "submit", dispute=dispute, evidence="<script>alert(1)</script>")
    assert "<script>alert" not in html and "<b>order" not in html
    assert "<script>" not in ask(url, "/payments/<script>")[2]


def test_another_sites_page_may_not_press_its_buttons(shop: Shop, book: Book, url: str) -> None:
    intent, charge = shop.paid().id, book.charges()[0]["id"]
    form = {"act": "refund", "charge": charge}
    assert ask(url, f"/payments/{intent}", "POST", form, Origin="https://evil.example")[0] == 403
    assert book.refunds() == []


def test_a_payment_of_the_past_in_capitals_is_shown(book: Book, url: str) -> None:
    """As the shop's scenarios bring one in: its currency in capitals once broke every page that showed it."""
    made = book.bulk([{"amount": 1990, "currency": "GBP", "metadata": {"order": "lost"}}])[0]
    assert book.charges()[0]["currency"] == "gbp"
    assert "19.90 GBP" in ask(url, "/")[2] and f'href="/payments/{made["charge"]}"' in ask(url, "/")[2]
    assert "19.90 GBP" in read(url, made["intent"])


class Broken(Pages):
    def __init__(self) -> None:
        pass

    def answer(self, *visit: Any) -> Answer:
        raise KeyError("GBP")


def test_a_page_that_breaks_answers_500_and_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    server = Server(0)
    server.pages = Broken()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        status, _, said = ask(server.url, "/")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (status, said) == (500, "The sandbox could not answer this: KeyError. Its log says where.")
    assert "Traceback" in capfd.readouterr().err
