"""An answer that is lost: the page says what it does not know, and finds out by itself, without Celery or a webhook."""

import re
from functools import partial

import pytest
from playwright.sync_api import Route, expect

from tests.book import Book
from tests.browser.shopper import DECLINED, VISA, Shopper, type_card

pytestmark = pytest.mark.usefixtures("nobody_else_asks")
ORDER_PAGE = re.compile(r"/orders/[^/]+/$")
LOOKS = "/v1/payment_intents/*"


def _lose_every_answer(book: Book, shopper: Shopper) -> None:
    """Stripe charges, or declines, and nobody hears of it; nor can anybody look."""
    book.rule("reset", when="after", times=None, metadata_order=shopper.order)
    book.rule("reset", LOOKS, method="GET", times=None, metadata_order=shopper.order)


def test_a_charge_whose_answer_is_lost_becomes_a_receipt_by_itself(shopper: Shopper, book: Book):
    page = shopper.go_to_payment()
    _lose_every_answer(book, shopper)
    shopper.pay_button.click()
    page.wait_for_url(ORDER_PAGE)

    expect(page.get_by_role("heading", name="We are asking your bank")).to_be_visible()
    expect(page.get_by_text("You will not be charged twice.")).to_be_visible()
    expect(page.locator(".reference").first).to_have_text(re.compile(r"\w{4}-\w{4}"))
    expect(shopper.pay_button).to_have_count(0)
    assert "failed" not in page.inner_text("main").lower() and "try again" not in page.inner_text("main").lower()
    page.goto(f"/orders/{shopper.order}/pay/")  # not to be paid now
    expect(page.get_by_role("heading", name="We are asking your bank")).to_be_visible()
    expect(shopper.pay_button).to_have_count(0)

    book.clear_rules()
    shopper.wait_for_receipt()
    assert len(shopper.presses) == 1
    assert shopper.charged() == len(book.charges(shopper.order)) == 1


def test_a_decline_whose_answer_is_lost_becomes_an_offer_to_pay_again_by_itself(shopper: Shopper, book: Book):
    page = shopper.go_to_payment(card=DECLINED)
    _lose_every_answer(book, shopper)
    shopper.pay_button.click()
    page.wait_for_url(ORDER_PAGE)
    expect(page.get_by_role("heading", name="We are asking your bank")).to_be_visible()

    book.clear_rules()
    expect(page.get_by_role("heading", name="The card was declined")).to_be_visible()
    page.get_by_role("link", name="Pay with another card").click()
    type_card(page, VISA)
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == 1


def test_a_bank_that_answers_later_shows_the_receipt_by_itself_whatever_a_proxy_says_meanwhile(
    shopper: Shopper, book: Book
):
    page = shopper.go_to_payment()
    for status in (200, 502):
        page.route("**/payment-status/", partial(Route.fulfill, status=status, body="<h1>A proxy</h1>"), times=1)
    book.rule("processing", metadata_order=shopper.order)
    shopper.pay_button.click()
    page.wait_for_url(ORDER_PAGE)
    expect(page.get_by_role("heading", name="We are asking your bank")).to_be_visible()

    [intent] = book.intents(shopper.order)
    book.end_processing(intent["id"], "succeed")
    shopper.wait_for_receipt()
    assert shopper.charged() == 1
