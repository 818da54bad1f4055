"""Staff read the page of a payment: with a keyboard, in light and dark, on a narrow screen, and without JavaScript."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.browser.shopper import Shopper
from tests.services import Shop

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 320, "height": 700}


def open_payment(shop: Shop, who: Shopper) -> Page:
    """The page of the payment that this very person has just made, as staff find it."""
    who.place_order()
    who.pay_by_api()
    number = who.api("GET", f"/api/orders/{who.order}/")["number"]
    page, (name, password) = who.page, shop.staff
    page.goto("/admin/login/?next=/admin/payments/payment/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.goto(f"/admin/payments/payment/?q={number}")
    page.get_by_role("link", name=number).click()
    expect(page.get_by_role("heading", name=f"Payment of order {number}")).to_be_visible()
    return page


@pytest.mark.parametrize("screen", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_payment_reads_well(
    shop: Shop, new_shopper: Callable[..., Shopper], scheme: str, screen: dict[str, int]
) -> None:
    page = open_payment(shop, new_shopper(color_scheme=scheme, viewport=screen))
    found = Axe().run(page, options={"iframes": False, "preload": False})
    assert found.violations_count == 0, found.generate_report()
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{overflow} px wider than the screen"


def test_the_story_is_filtered_and_its_keys_are_shown_without_javascript(
    shop: Shop, new_shopper: Callable[..., Shopper]
) -> None:
    page = open_payment(shop, new_shopper(java_script_enabled=False))
    story = page.locator("table.story")
    expect(story.get_by_text("Stripe: open the intent")).to_be_visible()
    page.get_by_role("link", name="Money only").click()
    expect(story.get_by_text("Stripe: confirm of press 1")).to_be_visible()
    expect(story.get_by_text("Stripe: open the intent")).to_have_count(0)
    key = story.locator("tr.call details").first
    assert ":confirm:" not in key.inner_text()
    key.locator("summary").click()
    assert ":confirm:" in key.inner_text()
