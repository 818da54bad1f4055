"""A purchase by hand, a declined card, and what every page owes its reader."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import expect

from tests.book import Book
from tests.browser.shopper import ASKS_BANK, DECLINED, MASTERCARD, NO_MONEY, VISA, Shopper, pay_button, type_card


def test_a_purchase_from_the_first_page_to_the_receipt(shopper: Shopper):
    page = shopper.page
    page.goto("/")
    page.get_by_role("link", name="Brass ballpoint pen").click()
    page.get_by_role("button", name="Add to cart").click()
    page.get_by_role("link", name="Check out").click()
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Full name").fill("Ada Lovelace")
    page.get_by_label("Address line 1").fill("12 Garden Row")
    page.get_by_label("Town or city").fill("London")
    page.get_by_label("Postcode").fill("SE1 6HA")
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url("**/pay/")
    shopper.order = page.url.split("/")[-3]

    expect(page.locator(".totals .grand").last).to_have_text("£24.00")
    expect(page.get_by_text("Prices include tax, delivery is free.").first).to_be_visible()
    expect(page.locator("address")).to_contain_text("12 Garden Row")
    expect(shopper.pay_button).to_have_text("Pay £24.00")
    type_card(page, VISA)
    shopper.pay_button.click()

    shopper.wait_for_receipt()
    assert page.url.endswith(f"/orders/{shopper.order}/")
    expect(page.locator(".facts")).to_contain_text("Visa ending in 4242")
    [charge] = shopper.book.charges(shopper.order)
    assert (charge["amount"], charge["currency"], charge["status"]) == (2400, "gbp", "succeeded")
    assert len(shopper.presses) == 1


def test_after_a_decline_another_card_pays_on_the_same_page_with_one_click(shopper: Shopper):
    shopper.go_to_payment(card=NO_MONEY)
    shopper.pay_button.click()

    shopper.wait_for_problem("You were not charged. The card has not enough money on it. Please try another card.")
    expect(shopper.status).to_be_focused()
    assert shopper.page.url.endswith("/pay/") and shopper.charged() == 0
    expect(shopper.page.frame_locator("iframe").get_by_label("Expiration date")).to_have_value("12 / 34")

    type_card(shopper.page, MASTERCARD)
    assert len(shopper.presses) == 1  # the new key has armed the button, and pressed nothing
    shopper.pay_button.click()

    shopper.wait_for_receipt()
    expect(shopper.page.locator(".facts")).to_contain_text("Mastercard ending in 4444")
    assert shopper.charged() == 1
    assert len(set(shopper.keys)) == 2


def test_a_card_that_is_not_typed_whole_sends_nothing(shopper: Shopper):
    shopper.go_to_payment(card="4242")
    shopper.pay_button.click()

    shopper.wait_for_problem("Your card number is incomplete.")
    assert shopper.presses == []
    type_card(shopper.page, VISA)
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == 1


def test_a_card_form_that_does_not_load_says_so(shopper: Shopper):
    shopper.place_order()
    shopper.page.route("**/stripe.js", lambda route: route.abort())
    shopper.page.goto(f"/orders/{shopper.order}/pay/")

    shopper.page.get_by_role("link", name="load this page again").wait_for()
    shopper.pay_button.click()
    shopper.wait_for_problem("The card form could not be loaded. You were not charged.")
    assert shopper.presses == []


def test_without_javascript_the_page_says_what_is_needed(new_shopper: Callable[..., Shopper]):
    shopper = new_shopper(java_script_enabled=False)
    shopper.page.goto(f"/orders/{shopper.place_order()}/pay/")

    expect(shopper.page.locator("noscript .notice")).to_contain_text("Paying needs JavaScript.")
    expect(shopper.page.locator("noscript .notice")).to_be_visible()
    expect(shopper.pay_button).to_be_hidden()
    shopper.page.get_by_role("button", name="Cancel the order").click()
    expect(shopper.page.get_by_role("heading", name="This order is canceled")).to_be_visible()
    assert shopper.book.charges(shopper.order) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_state_of_payment_is_accessible_and_fits_a_narrow_screen(
    new_shopper: Callable[..., Shopper], book: Book, scheme: str
):
    shopper = new_shopper(color_scheme=scheme, viewport={"width": 320, "height": 800})
    page = shopper.go_to_payment(card=DECLINED)
    _look(shopper, "Pay by card")

    book.rule("hold", hold="busy", metadata_order=shopper.order)
    shopper.pay_button.click()
    book.wait_until_held("busy")
    _look(shopper, "Paying £14.00…")
    book.release("busy")
    shopper.wait_for_problem("You were not charged.")
    _look(shopper, "Your bank declined the payment.")

    type_card(page, ASKS_BANK)
    shopper.pay_button.click()
    shopper.bank.get_by_role("button", name="Complete").wait_for()
    other = shopper.open_tab()
    other.set_viewport_size({"width": 320, "height": 800})
    other.goto(f"/orders/{shopper.order}/")
    shopper.page = other
    _look(shopper, "Continue with your bank")
    shopper.page = page

    shopper.bank.get_by_role("button", name="Complete").click()
    shopper.wait_for_receipt()
    _look(shopper, "Thank you, your order is paid")
    assert shopper.charged() == 1


def _look(shopper: Shopper, text: str) -> None:
    expect(shopper.page.locator("main").get_by_text(text).first).to_be_visible()
    found = Axe().run(shopper.page, options={"iframes": False})
    assert found.violations_count == 0, found.generate_report()
    overflow = shopper.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{text}: {overflow} px wider than the screen"


def test_no_text_of_ours_forbids_reload_back_or_closing(shopper: Shopper):
    page = shopper.go_to_payment()
    texts = [page.content()]
    texts += [
        shopper.context.request.get(src).text()
        for src in page.locator("script[src]").evaluate_all("scripts => scripts.map((script) => script.src)")
    ]
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    texts.append(page.content())

    forbidden = re.compile(r"\b(do not|don.t|never) (refresh|reload|close|go back|press back|leave)", re.IGNORECASE)
    assert [found.group() for text in texts for found in forbidden.finditer(text)] == []


def test_the_receipt_shows_the_same_in_every_tab_and_after_a_reload(shopper: Shopper):
    page = shopper.go_to_payment()
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    page.reload()
    shopper.wait_for_receipt()
    other = shopper.open_tab()
    other.goto(f"/orders/{shopper.order}/pay/")

    shopper.wait_for_receipt(other)
    assert pay_button(other).count() == 0
    assert shopper.charged() == 1
