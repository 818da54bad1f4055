"""3-D Secure: passed, failed, closed, left, in a frame and by redirect. The server alone says how it ended."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.shopper import ASKS_BANK, VISA, Shopper, type_card

NOT_CONFIRMED = "You were not charged. Your bank could not confirm that it was you."


def _answer_the_bank(shopper: Shopper, answer: str) -> None:
    shopper.bank.get_by_role("button", name=answer).click()


def test_the_bank_asks_in_a_frame_and_the_shopper_passes(shopper: Shopper):
    shopper.go_to_payment(card=ASKS_BANK)
    shopper.pay_button.click()
    _answer_the_bank(shopper, "Complete")

    shopper.wait_for_receipt()
    assert len(shopper.presses) == 1
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


@pytest.mark.parametrize("how", ["answered with no", "closed", "left with Escape"])
def test_a_challenge_that_is_not_passed_gives_the_button_back_for_another_card(shopper: Shopper, how: str):
    page = shopper.go_to_payment(card=ASKS_BANK)
    shopper.pay_button.click()
    shopper.bank.get_by_role("button", name="Fail").wait_for()
    if how == "answered with no":
        _answer_the_bank(shopper, "Fail")
    elif how == "closed":
        page.get_by_role("button", name="Close").click()
    else:
        page.keyboard.press("Escape")

    shopper.wait_for_problem(NOT_CONFIRMED)
    assert shopper.charged() == 0
    type_card(page, VISA)
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == 1


def _leave_the_challenge(shopper: Shopper) -> Page:
    """The tab is gone while the bank waits; the shopper comes back to the order in a new one."""
    shopper.go_to_payment(card=ASKS_BANK)
    shopper.pay_button.click()
    shopper.bank.get_by_role("button", name="Complete").wait_for()
    shopper.page.close()
    shopper.page = shopper.open_tab()
    shopper.page.goto(f"/orders/{shopper.order}/pay/")  # not to be paid now: the order's page says why
    expect(shopper.page.get_by_role("heading", name="Your bank wants to know that it is you")).to_be_visible()
    expect(shopper.pay_button).to_have_count(0)
    return shopper.page


def test_a_challenge_that_was_left_can_be_continued(shopper: Shopper):
    page = _leave_the_challenge(shopper)
    page.get_by_role("button", name="Continue with your bank").click()
    _answer_the_bank(shopper, "Complete")

    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_a_challenge_that_was_left_can_be_given_up_for_another_card(shopper: Shopper):
    page = _leave_the_challenge(shopper)
    page.get_by_role("button", name="Start over with another card").click()
    page.wait_for_url("**/pay/")
    type_card(page, VISA)
    shopper.pay_button.click()

    shopper.wait_for_receipt()
    assert shopper.charged() == 1
    assert sorted(intent["status"] for intent in shopper.book.intents(shopper.order)) == ["canceled", "succeeded"]


def test_a_challenge_passed_in_another_window_shows_the_receipt_here(shopper: Shopper):
    _leave_the_challenge(shopper)
    [intent] = shopper.book.intents(shopper.order)
    shopper.book.challenge(intent["id"], "pass")

    shopper.wait_for_receipt()
    assert shopper.charged() == 1


def _pay_by_redirect(shopper: Shopper) -> Page:
    """A payment method of the kind that leaves the shop's page for the bank's."""
    page = shopper.go_to_payment()
    shopper.press_with("pm_card_threeDSecure2Required")
    page.get_by_role("heading", name="Your bank wants to be sure").wait_for()
    return page


def test_the_bank_asks_on_its_own_page_and_the_shopper_comes_back_to_the_receipt(shopper: Shopper):
    page = _pay_by_redirect(shopper)
    page.get_by_role("button", name="Complete").click()

    shopper.wait_for_receipt()
    assert re.search(r"/orders/[^/?]+/$", page.url)  # the secret that the bank has added is gone
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_the_bank_says_no_on_its_own_page_and_another_card_pays(shopper: Shopper):
    page = _pay_by_redirect(shopper)
    page.get_by_role("button", name="Fail").click()

    expect(page.get_by_role("heading", name="The card was declined")).to_be_visible()
    page.get_by_role("link", name="Pay with another card").click()
    type_card(page, VISA)
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == 1
