"""Back, with a live back/forward cache: a page comes to life as it was left, and asks how things are (FAILURES 7).

Chromium keeps a `no-store` page only while nobody overwrites a cookie (Django writes its CSRF cookie with each page)
and while no script was answered with `no-store` (as our API does). So the cookie is taken away before the pay page
comes, and Back is pressed on another site, with no press before. Other browsers have rules of their own: the page must
be right under any.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Error, Page, expect

from tests.book import Book
from tests.browser.shopper import Shopper

NOTE = """addEventListener("pageshow", (event) => {
  if (event.persisted) console.info("revived " + location.pathname);
})"""


@pytest.fixture
def shopper(new_shopper: Callable[..., Shopper]) -> Shopper:
    """In Chromium as people have it."""
    shopper = new_shopper(browser="bfcache_browser")
    shopper.context.add_init_script(NOTE)
    return shopper


@contextmanager
def _revived(page: Page) -> Iterator[None]:
    """Back, within, came by the cache; or the test would be worth nothing."""
    why_not: list[object] = []
    chromium = page.context.new_cdp_session(page)
    chromium.send("Page.enable")
    chromium.on("Page.backForwardCacheNotUsed", lambda event: why_not.append(event["notRestoredExplanations"]))
    try:
        with page.expect_console_message(lambda message: message.text.startswith("revived /orders/")):
            yield
    except Error:
        pytest.fail(f"The page was not revived: {why_not}")


def _pay_page(shopper: Shopper) -> Page:
    shopper.place_order()
    shopper.context.clear_cookies(name="csrftoken")
    return shopper.go_to_payment()


def _away_and_back(shopper: Shopper, meanwhile: Callable[[], object] = lambda: None) -> None:
    page = shopper.page
    page.evaluate("url => location.assign(url)", f"{shopper.book.url}/")
    page.wait_for_url(f"{shopper.book.url}/")
    meanwhile()
    with _revived(page):
        page.evaluate("history.back()")


def test_back_to_an_open_order_shows_a_live_button(shopper: Shopper):
    _pay_page(shopper)
    _away_and_back(shopper)

    expect(shopper.pay_button).to_be_enabled()
    assert shopper.presses == []
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.presses) == 1


def test_back_to_an_order_that_was_paid_meanwhile_shows_the_receipt(shopper: Shopper):
    _pay_page(shopper)
    _away_and_back(shopper, shopper.pay_by_api)

    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_back_to_an_order_whose_card_was_declined_meanwhile_takes_the_new_key(shopper: Shopper):
    _pay_page(shopper)
    _away_and_back(shopper, lambda: shopper.pay_by_api("pm_card_chargeDeclined", status=402))

    shopper.wait_for_problem("You were not charged.")
    assert shopper.presses == []
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.presses) == 1


def test_a_page_revived_after_it_has_left_for_the_receipt_goes_there_again(shopper: Shopper):
    page = shopper.go_to_payment()
    page.route(f"**/orders/{shopper.order}/", lambda route: route.abort("aborted"), times=1)
    with page.expect_event("requestfailed"):
        shopper.pay_button.click()
    expect(shopper.pay_button).to_be_disabled()  # still: a press of this page was made
    shopper.pay_button.dispatch_event("click")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")

    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.presses) == 1


def test_back_from_the_banks_page_shows_the_order_and_no_button(shopper: Shopper):
    page = shopper.go_to_payment()
    shopper.press_with("pm_card_threeDSecure2Required")
    page.get_by_role("heading", name="Your bank wants to be sure").wait_for()
    page.evaluate("history.back()")

    expect(page.get_by_role("heading", name="Your bank wants to know that it is you")).to_be_visible()
    expect(shopper.pay_button).to_have_count(0)
    page.get_by_role("button", name="Continue with your bank").click()
    page.get_by_role("button", name="Complete").click()
    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_back_from_the_receipt_comes_to_the_receipt(shopper: Shopper):
    page = shopper.go_to_payment()
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    page.evaluate("history.back()")

    _is_receipt(page)
    assert shopper.charged() == len(shopper.presses) == 1


def test_back_while_paying_and_forward_again_makes_one_charge(shopper: Shopper, book: Book):
    page = shopper.page
    page.goto("/cart/")
    shopper.go_to_payment()
    book.rule("hold", hold="bank", metadata_order=shopper.order)
    shopper.pay_button.click()
    book.wait_until_held("bank")
    page.evaluate("history.back()")
    page.wait_for_url("**/cart/")
    page.evaluate("history.forward()")
    page.wait_for_url("**/orders/**")
    book.release("bank")

    _is_receipt(page)
    assert shopper.charged() == len(book.charges(shopper.order)) == 1


def _is_receipt(page: Page) -> None:
    expect(page.get_by_role("heading", name="Thank you, your order is paid")).to_be_visible(timeout=15_000)
