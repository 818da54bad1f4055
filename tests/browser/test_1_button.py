"""Layer 1 alone: the real page in a real browser, before a shop that charges for every POST it gets.

Its server keeps no key, no constraint, no lock and no gateway key: tests/layers/settings_off.py.
"""

from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, Route

from tests.book import Book
from tests.browser.shopper import Shopper, card_form, pay_button
from tests.layers.switches import drop_constraints
from tests.services import Shop, services, start_shop

TWO_CLICKS = "button => { button.click(); button.click(); }"


@pytest.fixture(scope="module")
def bare_shop() -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DJANGO_SETTINGS_MODULE", "tests.layers.settings_off")
        shop = start_shop(services().folder / "bare")
    with psycopg.connect(shop.env["DATABASE_URL"], autocommit=True) as connection:
        drop_constraints(connection.cursor())
    yield shop
    shop.kill()


@pytest.fixture
def shopper(browser: Browser, bare_shop: Shop) -> Iterator[Shopper]:
    book = Book(bare_shop.sandbox.url)
    book.webhooks("never")
    context = browser.new_context(base_url=bare_shop.url)
    context.set_default_timeout(15_000)
    shopper = Shopper(context, book)
    yield shopper
    book.clear_rules()
    context.close()
    assert shopper.complaints == []


def hold_the_bank(shopper: Shopper) -> None:
    shopper.book.rule("hold", times=None, hold=f"bank-{shopper.order}", metadata_order=shopper.order)


def release_the_bank(shopper: Shopper, waiting: int) -> None:
    """Once so many presses wait for the bank."""
    shopper.book.wait_until_held(f"bank-{shopper.order}", waiting)
    shopper.book.release(f"bank-{shopper.order}")


def without_guard(route: Route) -> None:
    """The page's own script, but for the two lines that are layer 1."""
    script = route.fetch().text()
    bare = script.replace('if (state === "idle") ', "").replace("button.disabled = true;", "")
    assert len(bare) < len(script) - 40
    route.fulfill(body=bare, content_type="text/javascript")


def test_a_double_click_is_one_post_and_one_charge(shopper: Shopper):
    shopper.go_to_payment()
    hold_the_bank(shopper)

    shopper.pay_button.dblclick()
    release_the_bank(shopper, 1)

    shopper.wait_for_receipt()
    assert len(shopper.presses) == 1
    assert shopper.charged() == 1


def test_two_clicks_in_one_instant_are_one_post_and_one_charge(shopper: Shopper):
    shopper.go_to_payment()
    hold_the_bank(shopper)

    shopper.pay_button.evaluate(TWO_CLICKS)
    release_the_bank(shopper, 1)

    shopper.wait_for_receipt()
    assert len(shopper.presses) == 1
    assert shopper.charged() == 1


def test_enter_held_down_is_one_post_and_one_charge(shopper: Shopper):
    page = shopper.go_to_payment()
    hold_the_bank(shopper)

    shopper.pay_button.focus()
    for _ in range(20):
        page.keyboard.down("Enter")  # not let go
    card_form(page).get_by_label("Security code").press("Enter")
    page.keyboard.up("Enter")
    release_the_bank(shopper, 1)

    shopper.wait_for_receipt()
    assert len(shopper.presses) == 1
    assert shopper.charged() == 1


def test_without_it_the_same_two_clicks_are_two_posts_and_two_charges(shopper: Shopper):
    """The control: the guard's two lines taken out of the script, and nothing else."""
    shopper.page.route("**/pay_button*.js", without_guard)
    shopper.go_to_payment()
    hold_the_bank(shopper)

    shopper.pay_button.evaluate(TWO_CLICKS)
    release_the_bank(shopper, 2)

    shopper.wait_for_receipt()
    assert len(shopper.presses) == 2
    assert shopper.charged() == 2


def test_it_does_not_stop_a_second_tab(shopper: Shopper):
    first = shopper.go_to_payment()
    second = shopper.go_to_payment(shopper.open_tab())
    hold_the_bank(shopper)

    pay_button(first).click()
    pay_button(second).click()
    release_the_bank(shopper, 2)

    shopper.wait_for_receipt(first)
    shopper.wait_for_receipt(second)
    assert len(shopper.presses) == 2
    assert len(set(shopper.keys)) == 1  # one key in every tab: layer 2 would have known it
    assert shopper.charged() == 2


def test_it_does_not_stop_a_script(shopper: Shopper):
    shopper.go_to_payment()

    assert [shopper.pay_by_api()["status"] for _ in range(2)] == ["succeeded", "succeeded"]

    assert shopper.charged() == 2
