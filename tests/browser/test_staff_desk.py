"""Staff and the runbook's seven situations, in a browser: they do what its steps say, and Stripe's book judges."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from shop.env import BASE_DIR
from tests.book import CONFIRM, Book
from tests.browser.test_seed_scenarios import seeded
from tests.services import Shop

PASSWORD = "a long enough password"
MAKE_STAFF = f"""
from django.contrib.auth.models import Group, User
for name in ("clerk", "finance", "on-call"):
    user = User.objects.create_user(name, password="{PASSWORD}", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
"""

Staff = Callable[[str], Page]


@pytest.fixture(scope="module")
def scenes(shop: Shop) -> dict[str, list[dict[str, Any]]]:
    """The situations, by name, and one member of staff for each group."""
    env = dict(os.environ) | shop.env
    command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", MAKE_STAFF]
    done = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made: dict[str, list[dict[str, Any]]] = {}
    for one in seeded(shop):
        made.setdefault(one["name"], []).append(one)
    return made


@pytest.fixture
def staff(browser: Browser, shop: Shop, scenes: dict[str, list[dict[str, Any]]]) -> Iterator[Staff]:
    """`staff("clerk")`: the browser of somebody of that group, logged in."""
    contexts: list[BrowserContext] = []

    def log_in(group: str) -> Page:
        context = browser.new_context(base_url=shop.url, locale="en-GB")
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.goto("/admin/login/?next=/admin/desk/runbook/")
        page.get_by_label("Username").fill(group)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Runbook").first).to_be_visible()
        return page

    yield log_in
    for context in contexts:
        context.close()


def read(page: Page, scene: dict[str, Any]) -> None:
    """The page of the runbook that the situation names."""
    page.goto(f"/admin/desk/runbook/{scene['runbook']}/")
    expect(page.get_by_role("heading", name="What to do")).to_be_visible()


def ask_charged_twice(page: Page, scene: dict[str, Any]) -> None:
    """Was I charged twice?, with the order's number, as the runbook says."""
    page.goto("/admin/desk/charged-twice/")
    page.locator("#content").get_by_label(re.compile("^Find by")).fill(scene["number"])
    page.locator("#content").get_by_role("button", name="Find").click()


def says(page: Page, text: str) -> None:
    expect(page.locator("#content")).to_contain_text(text)


def amount_of(page: Page, name: str) -> str:
    """An amount of the payment's page."""
    row = page.get_by_role("row", name=re.compile(rf"^{name} "))
    return row.get_by_role("cell").first.inner_text()


def test_a_clerk_tells_who_pressed_twice_that_it_was_charged_once(scenes, staff: Staff, book: Book):
    [scene] = scenes["double-press"]
    page = staff("clerk")
    read(page, scene)
    ask_charged_twice(page, scene)
    says(page, "Charged once")
    says(page, "Text to send")
    assert len(book.succeeded(scene["order"])) == 1


def test_a_clerk_explains_a_hold_and_nothing_is_refunded(scenes, staff: Staff, book: Book):
    [scene] = scenes["decline-then-success"]
    page = staff("clerk")
    read(page, scene)
    ask_charged_twice(page, scene)
    says(page, "another line is a hold that goes away")
    assert [charge["status"] for charge in book.charges(scene["order"])].count("succeeded") == 1
    assert book.refunds(scene["order"]) == []


def test_on_call_asks_stripe_and_a_lost_answer_becomes_one_charge(scenes, staff: Staff, book: Book):
    [scene] = scenes["lost-answer"]
    page = staff("on-call")
    read(page, scene)
    page.goto(scene["page"])
    says(page, "Stripe has not said yet whether it charged")
    page.get_by_role("link", name="Ask Stripe now").first.click()
    says(page, "this very press is finished, which may charge, once")
    page.get_by_role("button", name="Ask Stripe now").click()
    expect(page.locator(".messagelist")).to_contain_text("order: pending → paid")
    assert len(book.succeeded(scene["order"])) == 1

    page.go_back()
    page.get_by_role("button", name="Ask Stripe now").click()
    expect(page.locator(".messagelist")).to_be_visible()
    assert len(book.succeeded(scene["order"])) == 1
    assert len({call["key"] for call in book.calls(scene["order"], CONFIRM)}) == 1


def test_late_money_is_seen_to_have_gone_back_or_to_have_paid(scenes, staff: Staff, book: Book):
    gone, revived = scenes["late-payment"]
    page = staff("clerk")
    read(page, gone)
    page.goto(gone["page"])
    assert (amount_of(page, "Captured"), amount_of(page, "Refunded")) == ("£12.50", "£12.50")
    assert [refund["amount"] for refund in book.refunds(gone["order"])] == [1250]
    page.goto(revived["page"])
    assert (amount_of(page, "Captured"), amount_of(page, "Refunded")) == ("£12.50", "£0.00")
    assert book.refunds(revived["order"]) == []
    says(page, "Order canceled by the shopper")
    page.set_viewport_size({"width": 390, "height": 844})  # on a phone no column of the story is out of sight
    story = page.get_by_role("region", name="Table of the story")
    assert story.evaluate("region => region.scrollWidth <= region.clientWidth")


def test_finance_finds_one_refund_of_two_presses_and_refunds_once_more_only_once(scenes, staff: Staff, book: Book):
    [scene] = scenes["refund-pressed-twice"]
    page = staff("finance")
    read(page, scene)
    page.goto(scene["page"])
    assert (amount_of(page, "Refunded"), amount_of(page, "Left to refund")) == ("£5.00", "£7.50")
    other = page.context.new_page()  # a colleague's, opened before the first is sent
    for form in (page, other):
        form.goto(scene["page"])
        form.get_by_role("link", name="Refund", exact=True).first.click()
        form.get_by_label("Amount in GBP").fill("2.00")
        form.get_by_label("Reason, for Stripe").select_option("requested_by_customer")
        form.get_by_label("Why, for us").fill("one of the pens was scratched")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Refund £2.00").dblclick()
    expect(page.locator(".messagelist")).to_be_visible()
    assert sorted(refund["amount"] for refund in book.refunds(scene["order"])) == [200, 500]

    other.get_by_role("button", name="Go on").click()
    says(other, "Nothing was done: this has changed since you opened the page")
    assert sorted(refund["amount"] for refund in book.refunds(scene["order"])) == [200, 500]


def test_on_call_takes_a_charge_with_no_order_on_and_nothing_is_charged_or_refunded(scenes, staff: Staff, book: Book):
    [scene] = scenes["charge-without-order"]
    page = staff("on-call")
    read(page, scene)
    calls = len(book.calls(path=CONFIRM)), len(book.refunds())
    page.goto(scene["charged_twice"])
    says(page, "A charge that belongs to no order of ours")
    page.goto(scene["page"])
    says(page, "Stripe has money that our rows do not explain")
    page.get_by_role("link", name="Take this break on").click()
    page.get_by_role("button", name="Take this break on").click()
    page.goto(scene["page"])
    page.get_by_role("link", name="Resolve this break").click()
    page.get_by_label("Why").fill("refunded in the dashboard of the other system")
    page.get_by_role("button", name="Resolve this break").click()
    page.goto(scene["page"])
    says(page, "refunded in the dashboard of the other system")
    assert (len(book.calls(path=CONFIRM)), len(book.refunds())) == calls


def test_what_is_disputed_cannot_be_refunded(scenes, staff: Staff, book: Book):
    [scene] = scenes["dispute"]
    page = staff("finance")
    read(page, scene)
    page.goto(scene["page"])
    assert (amount_of(page, "Disputed"), amount_of(page, "Left to refund")) == ("£12.50", "£0.00")
    assert page.get_by_role("link", name="Refund", exact=True).count() == 0
    assert book.refunds(scene["order"]) == []
