"""The stand-in for Stripe.js in a real browser, in a shop's page under a strict Content-Security-Policy."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, FrameLocator, Page, sync_playwright

from shop.stack import chromium
from tests.book import Book
from tests.sandbox.conftest import PUBLISHABLE_KEY, Process, Shop

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A shop</title>
<main><h1>Pay</h1><form id="form"><div id="card"></div><button>Pay</button></form></main>
<script src="{sandbox}/stripe.js"></script><script src="/app.js"></script></html>"""

APP = """
window.seen = [];
document.addEventListener("securitypolicyviolation", (event) => seen.push("violation " + event.violatedDirective));
window.stripe = Stripe("{key}");
window.elements = stripe.elements({{ mode: "payment", amount: 2400, currency: "gbp" }});
window.element = elements.create("payment", {{}});
element.on("ready", () => seen.push("ready"));
element.on("loaderror", () => seen.push("loaderror"));
element.on("change", (event) => {{ window.change = event; }});
element.mount("#card");
document.getElementById("form").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const checked = await elements.submit();
  window.result = checked.error ? checked : await stripe.createConfirmationToken({{
    elements, params: {{ payment_method_data: {{ billing_details: {{ name: "Ann" }} }}, return_url: location.href }},
  }});
}});
"""


@pytest.fixture(scope="module")
def page_url(process: Process) -> Iterator[str]:
    """A shop of another origin whose policy allows the sandbox what a shop would allow Stripe, and nothing more."""
    policy = (
        f"default-src 'none'; script-src 'self' {process.url}; frame-src {process.url}; connect-src 'self' "
        f"{process.url}; style-src 'self'; base-uri 'none'; form-action 'self'"
    )

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = self.path == "/app.js"
            text = APP.format(key=PUBLISHABLE_KEY) if script else PAGE.format(sandbox=process.url)
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, page_url: str, book: Book) -> Iterator[Page]:
    page = browser.new_page()
    page.goto(page_url)
    until(page, "seen.length")
    yield page
    assert page.url != page_url or page.evaluate("seen") == ["ready"]  # no violation of the policy
    page.close()


def until(page: Page, fact: str) -> Any:
    """Playwright's own waiting needs eval, which the policy forbids."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if value := page.evaluate(fact):
            return value
        time.sleep(0.02)
    raise AssertionError(f"never: {fact}")


def fill(page: Page, number: str = "4242 4242 4242 4242", expiry: str = "12 / 34", cvc: str = "123") -> FrameLocator:
    frame = page.frame_locator("#card iframe")
    frame.get_by_label("Card number").fill(number)
    frame.get_by_label("Expiration date").fill(expiry)
    frame.get_by_label("Security code").fill(cvc)
    return frame


def pay(page: Page) -> Any:
    page.evaluate("() => { window.result = null }")
    page.get_by_role("button", name="Pay").click()
    return until(page, "window.result")


def test_a_typed_card_becomes_a_token_that_pays(page: Page, shop: Shop, book: Book) -> None:
    fill(page)
    token = pay(page)["confirmationToken"]
    assert token["id"].startswith("ctoken_") and token["object"] == "confirmation_token"
    assert token["payment_method_preview"]["billing_details"]["name"] == "Ann"
    paid = shop.confirm(shop.intent(), None, confirmation_token=token["id"], expand=["latest_charge"])  # type: ignore[arg-type]
    assert paid.status == "succeeded"
    assert page.evaluate("change") == {
        "elementType": "payment",
        "collapsed": False,
        "value": {"type": "card"},
        "empty": False,
        "complete": True,
    }


def test_the_card_never_enters_the_shops_page(page: Page) -> None:
    fill(page, "4000000000009995")
    everything = page.content() + json.dumps(pay(page))
    assert "4000000000009995" not in everything.replace(" ", "")


@pytest.mark.parametrize(
    ("card", "code", "message"),
    [
        ({"number": "4242 4242"}, "incomplete_number", "Your card number is incomplete."),
        ({"number": "4242424242424241"}, "invalid_number", "Your card number is invalid."),
        ({"expiry": "12"}, "incomplete_expiry", "Your card's expiration date is incomplete."),
        ({"expiry": "01 / 20"}, "invalid_expiry_year_past", "Your card's expiration year is in the past."),
        ({"cvc": "1"}, "incomplete_cvc", "Your card's security code is incomplete."),
    ],
)
def test_a_wrong_card_is_said_plainly_in_the_form(page: Page, card: dict[str, str], code: str, message: str) -> None:
    frame = fill(page, **card)
    assert pay(page) == {"error": {"type": "validation_error", "code": code, "message": message}}
    frame.get_by_text(message).wait_for()


def test_enter_in_the_card_form_submits_the_shops_form(page: Page) -> None:
    frame = fill(page)
    frame.get_by_label("Security code").press("Enter")
    assert until(page, "window.result")["confirmationToken"]


def test_a_click_fills_in_a_test_card(page: Page) -> None:
    frame = page.frame_locator("#card iframe")
    frame.get_by_text("Test cards").click()
    frame.get_by_role("button", name=re.compile("American Express")).click()
    assert frame.get_by_label("Card number").input_value() == "3782 822463 10005"
    assert pay(page)["confirmationToken"]["payment_method_preview"]["card"]["last4"] == "0005"


def test_a_token_needs_a_submitted_form(page: Page) -> None:
    fill(page)
    name = page.evaluate("stripe.createConfirmationToken({ elements }).catch((error) => error.name)")
    assert name == "IntegrationError"


def _challenged(page: Page, shop: Shop) -> tuple[str, FrameLocator]:
    intent = shop.challenged()
    page.evaluate(
        "(secret) => { window.next = null; stripe.handleNextAction({ clientSecret: secret })"
        ".then((result) => { window.next = result; }); }",
        intent.client_secret,
    )
    bank = page.frame_locator("dialog iframe")
    bank.get_by_role("button", name="Complete").wait_for()
    return intent.id, bank


def test_a_passed_challenge_gives_the_intent(page: Page, shop: Shop, book: Book) -> None:
    intent_id, bank = _challenged(page, shop)
    bank.get_by_role("button", name="Complete").click()
    after = until(page, "window.next")["paymentIntent"]
    assert (after["id"], after["status"]) == (intent_id, "succeeded")
    assert page.locator("dialog").count() == 0
    assert len(book.succeeded("order_1")) == 1


@pytest.mark.parametrize("how", ["Fail", "Close", "Escape"])
def test_a_failed_or_closed_challenge_gives_an_error_and_no_charge(
    page: Page, shop: Shop, book: Book, how: str
) -> None:
    intent_id, bank = _challenged(page, shop)
    if how == "Fail":
        bank.get_by_role("button", name="Fail").click()
    elif how == "Close":
        page.get_by_role("button", name="Close").click()
    else:
        page.keyboard.press("Escape")
    error = until(page, "window.next")["error"]
    assert error["code"] == "payment_intent_authentication_failure"
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert page.locator("dialog").count() == 0
    assert (len(book.intents()), book.charges()) == (1, [])
    assert book.intents()[0]["id"] == intent_id


def test_an_intent_that_needs_no_action_is_an_integration_error(page: Page, shop: Shop) -> None:
    secret = shop.intent().client_secret
    name = page.evaluate(
        "(secret) => stripe.handleNextAction({ clientSecret: secret }).catch((error) => error.name)", secret
    )
    assert name == "IntegrationError"


def test_a_redirect_goes_to_the_bank_and_comes_back(page: Page, shop: Shop, page_url: str) -> None:
    intent = shop.challenged(return_url=f"{page_url}back?order=1")
    page.evaluate("(secret) => { stripe.handleNextAction({ clientSecret: secret }); }", intent.client_secret)
    page.wait_for_url(re.compile("/3ds/"))
    page.get_by_role("button", name="Complete").click()
    page.wait_for_url(re.compile("/back"))
    assert f"order=1&payment_intent={intent.id}&" in page.url
    assert page.url.endswith("&redirect_status=succeeded")


def test_retrieve_payment_intent_shows_what_a_shopper_may_see(page: Page, shop: Shop) -> None:
    paid = shop.paid()
    seen = page.evaluate("(secret) => stripe.retrievePaymentIntent(secret)", paid.client_secret)["paymentIntent"]
    assert (seen["status"], "metadata" in seen) == ("succeeded", False)


@pytest.mark.parametrize("width", [320, 800])
def test_the_form_keeps_its_height_while_it_loads(page: Page, width: int) -> None:
    """What is kept free before the form has loaded is what it then takes: nothing jumps."""
    page.set_viewport_size({"width": width, "height": 800})
    free = page.evaluate(
        "() => { seen.length = 0; element.unmount(); element.mount('#card'); return element.frame.node.style.height; }"
    )
    until(page, "seen.length")
    assert page.evaluate("element.frame.node.style.height") == free


def test_the_theme_follows_the_shop(page: Page) -> None:
    page.evaluate("elements.update({ appearance: { theme: 'night' } })")
    page.frame_locator("#card iframe").locator("html[data-theme=dark]").wait_for(state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forms_and_pages_are_accessible(browser: Browser, process: Process, shop: Shop, scheme: Any) -> None:
    shop.paid("twice")
    shop.paid("twice")
    bank = shop.challenged(return_url="https://shop.example/").next_action
    assert bank is not None and bank.redirect_to_url is not None
    page = browser.new_page(color_scheme=scheme)
    for url in (f"{process.url}/elements/card?origin={process.url}", process.url, str(bank.redirect_to_url.url)):
        page.goto(url)
        page.evaluate("() => { document.body.style.background = 'Canvas'; }")  # the form shows the shop's own ground
        found = Axe().run(page, options={"rules": {"page-has-heading-one": {"enabled": "/elements/" not in url}}})
        assert found.violations_count == 0, found.generate_report()
    page.close()
