"""A shopper in a browser: what one does on the pages, and what left the browser meanwhile."""

import json
import re
import uuid
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, FrameLocator, Locator, Page, Request, Route

from tests.book import Book, Json

VISA = "4242424242424242"
MASTERCARD = "5555555555554444"
DECLINED = "4000000000000002"
NO_MONEY = "4000000000009995"
ASKS_BANK = "4000000000003220"

ADDRESS = {"line1": "12 Garden Row", "city": "London", "postal_code": "SE1 6HA", "country": "GB"}
CONTACT = {"email": "ada@example.com", "name": "Ada Lovelace", "address": ADDRESS}


class Shopper:
    """One browser profile with one page to begin with; `open_tab` gives more."""

    def __init__(self, context: BrowserContext, book: Book) -> None:
        self.context = context
        self.book = book
        self.presses: list[Request] = []  # every POST to .../payments/ that left the browser
        self.complaints: list[str] = []
        self.order = ""
        context.on("request", self._count)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page = context.new_page()

    def open_tab(self) -> Page:
        return self.context.new_page()

    # --- by API: the quick way to a page -------------------------------------------------------------------------

    def api(self, method: str, path: str, body: Json | None = None, key: str = "", *, status: int = 0) -> Any:
        csrf = next((c["value"] for c in self.context.cookies() if c["name"] == "csrftoken"), "")
        headers = {"X-CSRFToken": csrf} | ({"Idempotency-Key": key} if key else {})
        answer = self.context.request.fetch(path, method=method, data=body, headers=headers)
        assert answer.status == status if status else answer.ok, f"{method} {path}: {answer.status} {answer.text()}"
        return answer.json()

    def place_order(self, sku: str = "NB-A5-DOT", quantity: int = 1) -> str:
        """An order that waits for payment: its id."""
        self.api("GET", "/api/cart/")
        cart = self.api("PUT", f"/api/cart/items/{sku}/", {"quantity": quantity})
        order = self.api("POST", "/api/orders/", CONTACT | {"cart_version": cart["version"]}, uuid.uuid4().hex)
        self.order = order["id"]
        return self.order

    def pay_by_api(self, token: str = "pm_card_visa", status: int = 201) -> Json:
        """The same shopper, but not this page: another tab, another device."""
        order = self.api("GET", f"/api/orders/{self.order}/")
        body = {"payment_token": token, "amount": order["total"], "currency": order["currency"]}
        answer: Json = self.api("POST", f"/api/orders/{self.order}/payments/", body, order["pay_key"], status=status)
        return answer

    def payment_status(self) -> Json:
        state: Json = self.api("GET", f"/api/orders/{self.order}/payment-status/")
        return state

    # --- on the pages ------------------------------------------------------------------------------------------------

    def go_to_payment(self, page: Page | None = None, card: str = VISA) -> Page:
        """The pay page of a new order, or of the one there is, with the card typed in."""
        page = page or self.page
        page.goto(f"/orders/{self.order or self.place_order()}/pay/")
        type_card(page, card)
        return page

    @property
    def pay_button(self) -> Locator:
        return pay_button(self.page)

    @property
    def status(self) -> Locator:
        return self.page.locator("[data-pay-status]")

    @property
    def bank(self) -> FrameLocator:
        """The bank's question, over the shop's page."""
        return self.page.frame_locator("iframe[title='Verification by your bank']")

    def wait_for_receipt(self, page: Page | None = None) -> None:
        (page or self.page).get_by_role("heading", name="Thank you, your order is paid").wait_for()

    def wait_for_problem(self, text: str) -> None:
        """The page says what is wrong, and the button is there for another press."""
        self.page.locator("[data-pay-status][data-kind=problem]", has_text=text).wait_for()
        assert self.pay_button.is_enabled()

    def press_with(self, token: str) -> None:
        """Press Pay with another kind of payment than the card form makes."""

        def swap(route: Route) -> None:
            route.continue_(post_data=json.dumps((route.request.post_data_json or {}) | {"payment_token": token}))

        self.page.route("**/payments/", swap, times=1)
        self.pay_button.click()

    # --- what the browser did -------------------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        """The idempotency key of each press that left."""
        return [press.headers["idempotency-key"] for press in self.presses]

    def charged(self) -> int:
        """How often this order took money, by Stripe's book. Another order's would be another shopper's."""
        return len(self.book.succeeded(self.order))

    def _count(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/payments/"):
            self.presses.append(request)

    def _hear(self, message: ConsoleMessage) -> None:
        # The browser notes every refused or lost request; whether one was due is for the test to say.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


def pay_button(page: Page) -> Locator:
    return page.get_by_role("button", name=re.compile("^Pay "))


def card_form(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[title='Secure payment input frame']")


def type_card(page: Page, number: str) -> None:
    form = card_form(page)
    form.get_by_label("Card number").fill(number)
    form.get_by_label("Expiration date").fill("12 / 34")
    form.get_by_label("Security code").fill("123")
