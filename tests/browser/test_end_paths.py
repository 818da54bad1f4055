"""Every way in which a press can end: a definite no gives the button back, all else leads to the truth (FAILURES 5).

The back-off's jitter is drawn from Math.random: at zero no test waits for it.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.book import Book
from tests.browser.shopper import DECLINED, Shopper, pay_button

Spoil = Callable[[Route], None]
NOT_REACHED = "Your payment has not reached us yet. Please press Pay again – you will not be charged twice."


@pytest.fixture
def shopper(new_shopper: Callable[..., Shopper]) -> Shopper:
    hasty = new_shopper()
    hasty.context.add_init_script("Math.random = () => 0")
    return hasty


def _html(status: int, **headers: str) -> Spoil:
    page = "<!doctype html><title>proxy</title><h1>This is not JSON</h1>"
    return lambda route: route.fulfill(status=status, body=page, content_type="text/html", headers=headers)


def _problem(name: str, status: int, retry: str, detail: str, **headers: str) -> Spoil:
    body = json.dumps({"type": f"/problems/{name}", "status": status, "retry": retry, "detail": detail})
    return lambda route: route.fulfill(
        status=status, body=body, content_type="application/problem+json", headers=headers
    )


def _cut(route: Route) -> None:
    route.abort("connectionreset")


def _lose_the_answer(route: Route) -> None:
    """The press arrives and is carried out; the connection breaks before the answer."""
    route.fetch()
    route.abort("connectionreset")


class Spoiled:
    """Spoils the first presses that leave the page, and lets the others through."""

    def __init__(self, shopper: Shopper, spoil: Spoil, times: int) -> None:
        self.spoil, self.left = spoil, times
        shopper.page.route("**/payments/", self)

    def __call__(self, route: Route) -> None:
        self.left -= 1
        self.spoil(route) if self.left >= 0 else route.continue_()


# What happens to the press, how often; what the page says then.
DEFINITE = {
    "502 with a page of a proxy, always": (_html(502), 6, NOT_REACHED),
    "the network is cut, always": (_cut, 6, NOT_REACHED),
    "413 with a page of a proxy": (_html(413), 1, NOT_REACHED),
    "429 and a long wait": (
        _problem("throttled", 429, "same-key", "Too many tries. You were not charged.", **{"Retry-After": "600"}),
        1,
        "Too many tries. You were not charged.",
    ),
    "Stripe cannot be reached, always": (
        _problem("unavailable", 503, "same-key", "Nothing was sent and you were not charged."),
        6,
        "Nothing was sent and you were not charged.",
    ),
    "a page where JSON should be": (_html(200), 6, NOT_REACHED),
    "another's order, or none": (_problem("not-found", 404, "no", "There is nothing here."), 1, NOT_REACHED),
}


@pytest.mark.parametrize("end", DEFINITE)
def test_after_a_press_that_was_not_carried_out_the_button_is_there_for_another(shopper: Shopper, end: str):
    spoil, times, says = DEFINITE[end]
    shopper.go_to_payment()
    Spoiled(shopper, spoil, times)
    shopper.pay_button.click()

    shopper.wait_for_problem(says)
    assert len(shopper.presses) == times
    assert shopper.charged() == 0
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


SPOILED_ONCE: dict[str, Spoil] = {
    "502 with a page of a proxy": _html(502),
    "the network is cut on the way": _cut,
    "the answer is lost": _lose_the_answer,
    "503, come again": _problem("unavailable", 503, "same-key", "Nothing was sent.", **{"Retry-After": "0"}),
    "500": _problem("internal-error", 500, "same-key", "Something went wrong."),
}


@pytest.mark.parametrize("spoiled", SPOILED_ONCE)
def test_a_press_is_sent_again_with_the_same_key_and_body(shopper: Shopper, spoiled: str):
    shopper.go_to_payment()
    Spoiled(shopper, SPOILED_ONCE[spoiled], 1)
    shopper.pay_button.click()

    shopper.wait_for_receipt()
    first, second = shopper.presses
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.post_data == second.post_data
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_without_a_connection_the_page_says_that_nothing_was_sent_and_goes_on_when_there_is_one(shopper: Shopper):
    page = shopper.go_to_payment()
    offline = "Object.defineProperty(navigator, 'onLine', { get: () => globalThis.connected ?? false })"
    page.evaluate(offline)
    Spoiled(shopper, _cut, 1)
    page.evaluate("Math.random = () => 1")
    shopper.pay_button.click()

    expect(shopper.status).to_have_text("No connection. Nothing was sent; we try again as soon as there is one.")
    expect(shopper.pay_button).to_be_disabled()
    page.evaluate("globalThis.connected = true; dispatchEvent(new Event('online'))")
    shopper.wait_for_receipt()
    assert len(set(shopper.keys)) == 1
    assert shopper.charged() == 1


def test_a_decline_gives_the_button_back(shopper: Shopper):
    shopper.go_to_payment(card=DECLINED)
    shopper.pay_button.click()
    shopper.wait_for_problem("You were not charged. Your bank declined the payment.")
    assert [charge["status"] for charge in shopper.book.charges(shopper.order)] == ["failed"]


def test_a_press_that_meets_another_one_shows_the_order_and_its_receipt(shopper: Shopper, book: Book):
    page = shopper.go_to_payment()
    book.rule("hold", hold="bank", metadata_order=shopper.order)
    other = shopper.go_to_payment(shopper.open_tab())
    pay_button(other).click()
    book.wait_until_held("bank")
    page.bring_to_front()
    shopper.pay_button.click()  # 409, or 422 for it is another card under the same key

    expect(page.get_by_role("heading", name="We are asking your bank")).to_be_visible()
    expect(shopper.pay_button).to_have_count(0)
    book.release("bank")
    shopper.wait_for_receipt()
    assert shopper.charged() == len(book.charges(shopper.order)) == 1


def test_a_press_of_an_order_that_was_paid_elsewhere_shows_the_receipt(shopper: Shopper):
    shopper.go_to_payment()
    shopper.pay_by_api()
    shopper.pay_button.click()

    shopper.wait_for_receipt()
    assert shopper.charged() == len(shopper.book.charges(shopper.order)) == 1


def test_a_press_of_an_order_that_was_canceled_elsewhere_shows_so(shopper: Shopper):
    page = shopper.go_to_payment()
    shopper.api("POST", f"/api/orders/{shopper.order}/cancel/", {}, "CANCEL_1234567890123456")
    shopper.pay_button.click()

    expect(page.get_by_role("heading", name="This order is canceled")).to_be_visible()
    assert shopper.book.charges(shopper.order) == []


def test_after_a_decline_in_another_tab_this_one_needs_one_more_click(shopper: Shopper):
    page = shopper.go_to_payment()
    other = shopper.go_to_payment(shopper.open_tab(), card=DECLINED)
    pay_button(other).click()
    other.locator("[data-kind=problem]").wait_for()
    page.bring_to_front()
    shopper.pay_button.click()  # 422: the old key, with another card

    shopper.wait_for_problem("You were not charged. Your bank declined the payment.")
    assert shopper.charged() == 0
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert shopper.charged() == 1


def test_a_total_that_is_not_the_one_seen_is_never_charged(shopper: Shopper):
    page = shopper.go_to_payment()
    page.evaluate("document.querySelector('[data-pay-form]').dataset.amount")
    page.route("**/payments/", lambda route: route.continue_(post_data=_with(route, amount=1)))
    with page.expect_event("framenavigated", lambda frame: frame == page.main_frame):
        shopper.pay_button.click()  # 409 order-changed: the page is loaded again, with the right total

    page.unroute("**/payments/")
    assert shopper.book.charges(shopper.order) == []
    shopper.go_to_payment()
    shopper.pay_button.click()
    shopper.wait_for_receipt()
    assert [charge["amount"] for charge in shopper.book.charges(shopper.order)] == [1400]


def _with(route: Route, **changed: Any) -> str:
    return json.dumps((route.request.post_data_json or {}) | changed)


def test_a_session_that_is_gone_is_told_plainly(shopper: Shopper):
    shopper.go_to_payment()
    shopper.context.clear_cookies()
    shopper.pay_button.click()

    shopper.wait_for_problem("This page is out of date. Load it again to see how your order is doing.")
    assert shopper.book.charges(shopper.order) == []
