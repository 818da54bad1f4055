"""The link in a mail, in a browser that has never been here: one press, a clean address, and a token that goes nowhere
else. What `Origin` a browser sends with the form under which Referrer-Policy, only a browser knows."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, Request

from tests.browser.shopper import Shopper
from tests.services import Shop


def link_in_mail_of(shop: Shop, order: str, number: str) -> str:
    """The address in the newest mail about this order; development writes mails as files."""
    folder = Path(shop.env["EMAIL_URL"].partition("://")[2])
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for file in sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True):
            mail = file.read_text()
            if number in mail and (found := re.search(r"https?://\S+/orders/link/[A-Za-z0-9_-]{32}/", mail)):
                return found[0]
        time.sleep(0.2)
    raise AssertionError(f"no mail about {order} in {folder}")


def test_the_receipt_opens_on_another_device_by_one_press(shop: Shop, new_shopper: Callable[..., Shopper]) -> None:
    buyer = new_shopper()
    buyer.place_order()
    number = buyer.api("GET", f"/api/orders/{buyer.order}/")["number"]
    buyer.pay_by_api()
    link = link_in_mail_of(shop, buyer.order, number)
    token = link.split("/")[-2]

    other = new_shopper()
    page, sent = other.page, list[Request]()
    other.context.on("request", lambda request: sent.append(request))
    page.goto(link)
    see_order(page)

    assert page.url == f"{shop.url}/orders/{buyer.order}/"
    other.wait_for_receipt()
    assert page.get_by_role("link", name="Open an account").count() == 0
    assert not [request.url for request in sent if token in request.all_headers().get("referer", "")]
    assert all(request.url.startswith(shop.url) for request in sent)

    page.reload()
    other.wait_for_receipt()
    page.go_back()  # to the button, which does the same again
    see_order(page)
    other.wait_for_receipt()


def test_a_link_that_opens_nothing_says_how_to_get_help(shop: Shop, new_shopper: Callable[..., Shopper]) -> None:
    page = new_shopper().page
    page.goto(f"{shop.url}/orders/link/{'x' * 32}/")
    page.get_by_role("button", name="See the order").click()
    page.get_by_role("heading", name="This link opens no order").wait_for()
    assert page.get_by_role("link", name="hello@payonce.example").count() >= 1


def see_order(page: Page) -> None:
    page.get_by_role("button", name="See the order").click()
    page.wait_for_url(re.compile(r"/orders/[A-Za-z0-9_-]{32}/$"))
