"""Layer 1 of 5 in a real browser: one press at a time leaves a page. What it does not stop, the other layers do."""

import pytest
from playwright.sync_api import Route, expect

from tests.book import Book
from tests.browser.shopper import VISA, Shopper, card_form, pay_button, type_card


def _hold_the_bank(book: Book, shopper: Shopper) -> None:
    book.rule("hold", hold="bank", metadata_order=shopper.order)


def _one_press_one_charge(shopper: Shopper) -> None:
    shopper.wait_for_receipt()
    assert len(shopper.presses) == 1
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_a_double_click_sends_one_press(shopper: Shopper, book: Book):
    shopper.go_to_payment()
    shopper.pay_button.dblclick()
    _one_press_one_charge(shopper)


def test_while_paying_the_button_is_disabled_and_the_status_has_the_focus(shopper: Shopper, book: Book):
    shopper.go_to_payment()
    _hold_the_bank(book, shopper)
    shopper.page.clock.install()
    shopper.pay_button.click()
    book.wait_until_held("bank")

    expect(shopper.pay_button).to_be_disabled()
    expect(shopper.status).to_have_text("Paying £14.00…")
    expect(shopper.status).to_be_focused()
    shopper.pay_button.dispatch_event("click")
    shopper.page.clock.fast_forward(8_000)
    expect(shopper.status).to_have_text("Still working – you will not be charged twice.")
    book.release("bank")
    _one_press_one_charge(shopper)


@pytest.mark.parametrize("where", ["in a field of the card", "on the button"])
def test_enter_pressed_ten_times_sends_one_press(shopper: Shopper, book: Book, where: str):
    page = shopper.go_to_payment()
    _hold_the_bank(book, shopper)
    target = card_form(page).get_by_label("Security code") if "field" in where else shopper.pay_button
    target.focus()
    for _ in range(10):
        page.keyboard.down("Enter")  # not let go: held
    book.wait_until_held("bank")
    for _ in range(10):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    card_form(page).get_by_label("Security code").press("Enter")
    book.release("bank")
    _one_press_one_charge(shopper)


def test_space_on_the_button_pressed_ten_times_sends_one_press(shopper: Shopper, book: Book):
    page = shopper.go_to_payment()
    _hold_the_bank(book, shopper)
    shopper.pay_button.focus()
    for _ in range(10):
        page.keyboard.press("Space")
    book.wait_until_held("bank")
    for _ in range(10):
        page.keyboard.press("Space")
    book.release("bank")
    _one_press_one_charge(shopper)


def test_a_click_before_the_scripts_are_there_is_no_press_and_breaks_nothing(shopper: Shopper):
    shopper.place_order()
    shopper.page.route("**/js/pay_button.js", lambda route: None)  # it never comes
    shopper.page.goto(f"/orders/{shopper.order}/pay/", wait_until="commit")
    shopper.pay_button.click(no_wait_after=True)  # the browser's own submission: it loads the page again
    shopper.page.unroute("**/js/pay_button.js")
    shopper.page.wait_for_load_state()

    assert shopper.presses == []
    shopper.go_to_payment()
    shopper.pay_button.click()
    _one_press_one_charge(shopper)


def test_reloading_while_paying_leads_to_the_receipt_and_one_charge(shopper: Shopper, book: Book):
    page = shopper.go_to_payment()
    _hold_the_bank(book, shopper)
    shopper.pay_button.click()
    book.wait_until_held("bank")
    page.reload()

    expect(page.get_by_role("heading", name="We are asking your bank")).to_be_visible()
    expect(shopper.pay_button).to_have_count(0)
    book.release("bank")
    _one_press_one_charge(shopper)


# --- what layer 1 does not stop ---------------------------------------------------------------------------------------


def test_four_tabs_pressed_together_end_on_one_receipt(shopper: Shopper, book: Book):
    shopper.place_order()
    tabs = [shopper.page, *(shopper.open_tab() for _ in range(3))]
    for tab in tabs:
        shopper.go_to_payment(tab)
    _hold_the_bank(book, shopper)
    for tab in tabs:
        pay_button(tab).click()
    book.wait_until_held("bank")
    page = shopper.page
    while len([tab for tab in tabs if tab.url.endswith(f"/orders/{shopper.order}/")]) < 3:
        page.wait_for_timeout(50)  # all but the one whose press is being made are sent on to the order's page
    book.release("bank")

    for tab in tabs:
        tab.bring_to_front()
        shopper.wait_for_receipt(tab)
    assert len(shopper.presses) == 4 and len(set(shopper.keys)) == 1
    assert shopper.charged() == len(book.charges(shopper.order)) == 1


def test_with_the_guard_removed_many_presses_leave_and_one_charge_is_made(shopper: Shopper, book: Book):
    shopper.page.route("**/js/pay_button.js", _without_the_guard)
    shopper.go_to_payment()
    _hold_the_bank(book, shopper)
    shopper.pay_button.evaluate("button => { for (let press = 1; press <= 6; press += 1) button.click() }")
    book.wait_until_held("bank")
    book.release("bank")

    shopper.wait_for_receipt()
    assert len(shopper.presses) > 1
    assert shopper.charged() == len(book.charges(shopper.order)) == 1


def _without_the_guard(route: Route) -> None:
    script = route.fetch().text()
    unguarded = script.replace('if (state === "idle") carryOut', "carryOut").replace("button.disabled = true;", "")
    assert len(unguarded) < len(script) - 40
    route.fulfill(body=unguarded, content_type="text/javascript")


def test_each_of_many_fresh_pages_sends_its_press(shopper: Shopper):
    """Disabling must never swallow the submission itself (FAILURES 4)."""
    for _ in range(3):
        shopper.order = ""
        shopper.api("GET", "/api/cart/")
        shopper.place_order("PCL-HB-6", quantity=1 + len(shopper.presses))
        page = shopper.page
        page.goto(f"/orders/{shopper.order}/pay/")
        type_card(page, VISA)
        shopper.pay_button.click()
        shopper.wait_for_receipt()
        assert shopper.charged() == 1
    assert len(shopper.presses) == 3
