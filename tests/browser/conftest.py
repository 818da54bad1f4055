"""A headless Chromium and a running shop for it: its own database, seeded, with Celery and webhooks.

These tests speak HTTP only (pages, API, and the sandbox's book), so the shop here has nothing to do with the test
database, which other tests flush. One shop serves all of them: each test makes its own orders.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from shop.stack import Refusal, chromium
from tests.book import Book
from tests.browser.shopper import Shopper
from tests.services import Shop, services, start_shop

if os.environ.get("BROWSER") == "0":
    collect_ignore_glob = ["test_*.py"]

ARGUMENTS = [
    "--no-sandbox",  # root in a container has no other way
    "--disable-gpu",
    # It is to talk to nobody but the shop.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_finish(session: pytest.Session) -> None:
    """No browser is a failure of the whole run, before any test has run, and in one line."""
    if session.config.option.collectonly or not any(_is_ours(item) for item in session.items):
        return
    try:
        session.config.stash[PROGRAM] = chromium.find()
    except Refusal as refusal:
        pytest.exit(str(refusal), returncode=pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(scope="package")
def shop() -> Iterator[Shop]:
    """A whole running shop: `.url`, `.book`, `.servers`, `.celery`, `.staff`."""
    running = start_shop(services().folder / "browser")
    yield running
    running.kill()


@pytest.fixture
def book(shop: Shop) -> Iterator[Book]:
    """The book of this shop's sandbox, with webhooks as Stripe sends them and no faults."""
    book = Book(shop.sandbox.url)
    book.clear_rules()
    book.webhooks("normal")
    yield book
    book.clear_rules()
    book.webhooks("normal")


# For the package, not the session: Playwright's loop would make Django refuse its ORM in the tests that follow.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright, request: pytest.FixtureRequest) -> Iterator[Browser]:
    program: Path = request.config.stash[PROGRAM]
    running = playwright.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
    yield running
    running.close()


@pytest.fixture(scope="package")
def bfcache_browser(playwright: Playwright, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium as people have it: Back revives the page as it was. Go back by `history.back()`."""
    program: Path = request.config.stash[PROGRAM]
    running = playwright.chromium.launch(
        executable_path=program,
        headless=True,
        args=ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    yield running
    running.close()


@pytest.fixture
def context(browser: Browser, shop: Shop) -> Iterator[BrowserContext]:
    """A shopper's browser: no cookies yet; paths are relative to the shop."""
    context = browser.new_context(base_url=shop.url)
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def bfcache_page(bfcache_browser: Browser, shop: Shop) -> Iterator[Page]:
    context = bfcache_browser.new_context(base_url=shop.url)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def new_shopper(request: pytest.FixtureRequest, shop: Shop, book: Book) -> Iterator[Callable[..., Shopper]]:
    """Shoppers with a browser profile each: `new_shopper("bfcache_browser", color_scheme="dark")`.

    What their pages complained of fails the test: console errors, exceptions, violations of the content policy.
    """
    shoppers: list[Shopper] = []

    def new(browser: str = "browser", **options: Any) -> Shopper:
        chromium: Browser = request.getfixturevalue(browser)
        context = chromium.new_context(base_url=shop.url, locale="en-GB", **options)
        context.set_default_timeout(30_000)
        shoppers.append(Shopper(context, book))
        return shoppers[-1]

    yield new
    book.clear_rules()  # lets go of what a test has left held
    for shopper in shoppers:
        shopper.context.close()
    assert [complaint for shopper in shoppers for complaint in shopper.complaints] == []


@pytest.fixture
def shopper(new_shopper: Callable[..., Shopper]) -> Shopper:
    return new_shopper()


@pytest.fixture
def nobody_else_asks(shop: Shop, book: Book) -> Iterator[None]:
    """Neither Celery nor a webhook: what a page shows then, it has found out by itself."""
    assert shop.repair
    for child in shop.repair:
        child.pause()
    book.webhooks("never")
    yield
    for child in shop.repair:
        child.resume()


def _is_ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


PROGRAM = pytest.StashKey[Path]()
