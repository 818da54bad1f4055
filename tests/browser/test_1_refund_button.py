"""Layer 1 of a refund in the browser: the buttons of its form are disabled once it is on its way.

A courtesy: it spares the second press. That one form gives back once is its one-time key (tests/layers).
"""

from collections.abc import Callable

from playwright.sync_api import Page, Request, Route, expect

from tests.book import REFUND, Book
from tests.browser.shopper import Shopper
from tests.browser.test_desk_payment import open_payment
from tests.services import Shop


def previewed_refund(shop: Shop, who: Shopper) -> Page:
    """The last page before one pound goes back."""
    page = open_payment(shop, who)
    page.get_by_role("link", name="Refund", exact=True).first.click()
    page.get_by_label("Amount in GBP").fill("1.00")
    page.get_by_label("Reason, for Stripe").select_option("requested_by_customer")
    page.get_by_label("Why, for us").fill("a scratch")
    page.get_by_role("button", name="Go on").click()
    return page


def posts_of(page: Page) -> list[Request]:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    return sent


def press_twice(page: Page, book: Book) -> None:
    """Once more while the first is at Stripe. (Of two clicks of one moment the browser itself sends one.)"""
    book.rule("hold", REFUND, hold="bank", lock=False)
    button = page.get_by_role("button", name="Refund £1.00")
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.click(*middle)
    book.wait_until_held("bank", seconds=10)
    page.mouse.click(*middle)
    book.release("bank")
    expect(page.locator(".messagelist")).to_be_visible()


def test_a_second_press_on_a_refund_sends_nothing(shop: Shop, new_shopper: Callable[..., Shopper], book: Book) -> None:
    who = new_shopper()
    page = previewed_refund(shop, who)
    sent = posts_of(page)

    press_twice(page, book)

    assert len(sent) == 1
    assert [one["amount"] for one in book.refunds(who.order)] == [100]


def test_without_it_the_second_press_is_a_second_post_and_the_form_s_key_gives_back_once(
    shop: Shop, new_shopper: Callable[..., Shopper], book: Book
) -> None:
    """The control: the page without its script."""

    def bare(route: Route) -> None:
        route.fulfill(body="", content_type="text/javascript")

    who = new_shopper()
    who.page.route("**/desk_once*.js", bare)
    page = previewed_refund(shop, who)
    sent = posts_of(page)

    press_twice(page, book)

    assert len(sent) == 2
    assert [one["amount"] for one in book.refunds(who.order)] == [100]
