"""The admin in a browser: its pages work under the shop's content policy, without any exception for it (SECURITY SE48),
and the second factor can be set up and used."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django_otp.oath import totp
from playwright.sync_api import Browser, Page

from shop.stack.ports import free_port
from tests.browser.shopper import Shopper
from tests.services import AppServer, Shop

PAGES = [
    "",
    "auth/user/",
    "auth/user/add/",
    "auth/group/add/",
    "desk/",
    "desk/charged-twice/",
    "orders/order/",
    "orders/mail/",
    "payments/payment/",
    "payments/attempt/",
    "payments/break/",
    "payments/webhookevent/",
    "shop/product/",
    "shop/product/add/",
    "shop/staffact/",
    "password_change/",
]
CHANGE_PAGES = ["auth/user/", "auth/group/", "orders/order/", "payments/payment/", "shop/product/"]


@pytest.fixture
def staff(shop: Shop, browser: Browser) -> Iterator[Page]:
    """A browser whose complaints fail the test: violations of the policy, and errors of scripts."""
    yield from _with_ears(browser, shop.url)


@pytest.fixture
def guarded(shop: Shop, browser: Browser, tmp_path: Any) -> Iterator[Page]:
    """The same shop by a server that asks staff for a second factor."""
    server = AppServer("guarded", tmp_path, shop.env | {"STAFF_SECOND_FACTOR": "1"}, port=free_port(), threads=8)
    try:
        server.wait()
        yield from _with_ears(browser, server.url)
    finally:
        server.kill()


def _with_ears(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context(base_url=url)
    context.set_default_timeout(30_000)
    complaints: list[str] = []
    expected = ("status of 422", "status of 429")  # what Chromium says of a form that came back
    context.on(
        "console",
        lambda said: (
            complaints.append(f"{said.page.url if said.page else ''}: {said.text}")
            if said.type in ("error", "warning") and not any(text in said.text for text in expected)
            else None
        ),
    )
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert complaints == []


def log_in(page: Page, shop: Shop) -> None:
    username, password = shop.staff
    page.goto("/admin/login/")
    page.fill("#id_username", username)
    page.fill("#id_password", password)
    click_through(page, "input[type=submit]")


def click_through(page: Page, button: str) -> None:
    """Until the page that it leads to is there: the old one still answers for a moment."""
    with page.expect_navigation():
        page.click(button)


def test_the_admin_works_under_the_policy_of_the_shop(shop: Shop, staff: Page, shopper: Shopper) -> None:
    shopper.place_order()
    shopper.pay_by_api()
    log_in(staff, shop)
    for path in PAGES:
        answer = staff.goto(f"/admin/{path}")
        assert answer and answer.status == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, path
    for path in CHANGE_PAGES:
        staff.goto(f"/admin/{path}")
        click_through(staff, "#result_list tbody tr:first-child th a")
        assert "/change/" in staff.url, path
    staff.goto("/admin/shop/product/add/")
    staff.locator("#id_name").press_sequentially("A thing of the test")
    assert staff.input_value("#id_slug") == "a-thing-of-the-test"  # the admin's own scripts run


def test_a_phone_is_set_up_and_a_recovery_code_lets_in(shop: Shop, guarded: Page) -> None:
    log_in(guarded, shop)
    assert guarded.url.partition("?")[0].endswith("/admin/second-factor/phone/")
    look(guarded)
    secret = guarded.locator(".second-factor-secret").inner_text().replace(" ", "")
    guarded.fill("#code", "not it")
    click_through(guarded, "text=Confirm")
    look(guarded)
    shown = guarded.locator(".second-factor-codes code")
    for _ in range(100):  # after a wrong code the next one has to wait a second
        guarded.fill("#code", f"{totp(base64.b32decode(secret)):06}")
        click_through(guarded, "text=Confirm")
        if shown.count():
            break
    codes = shown.all_inner_texts()
    assert len(codes) == 10
    look(guarded)
    click_through(guarded, "text=I have kept them")
    assert guarded.url.endswith("/admin/")
    click_through(guarded, "#logout-form button")
    log_in(guarded, shop)
    assert "/admin/second-factor/?" in guarded.url
    look(guarded)
    guarded.fill("#code", codes[0])
    click_through(guarded, "text=Go on")
    assert guarded.url.endswith("/admin/")
    click_through(guarded, "text=Second factor")
    assert "You have 9 recovery codes left" in guarded.content()
    look(guarded)


def look(page: Page) -> None:
    found = Axe().run(page, options={"iframes": False})
    assert found.violations_count == 0, found.generate_report()
