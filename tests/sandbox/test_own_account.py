"""GET /v1/account says whose key it is; a reset keeps the account, or changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import stripe

from tests.book import Book, BookRefused
from tests.sandbox.conftest import PUBLISHABLE_KEY, Process, Shop, client_for, error_of


def test_the_account_of_the_key_has_the_shape_of_stripes(shop: Shop) -> None:
    account = shop.client.v1.accounts.retrieve_current()
    assert account.id.startswith("acct_1") and account.object == "account"
    assert account.charges_enabled is True and account.type == "standard"
    assert set(account.to_dict()) - set(stripe.Account.__annotations__) == set()
    assert "livemode" not in account.to_dict()  # the mode is the key's
    assert shop.client.v1.accounts.retrieve_current().id == account.id


def test_only_the_secret_key_is_told(shop: Shop, process: Process) -> None:
    browser = client_for(process.url, PUBLISHABLE_KEY)
    error = error_of(lambda: browser.v1.accounts.retrieve_current())
    assert error.http_status == 401


def test_a_restricted_key_may_not_ask(shop: Shop, book: Book) -> None:
    book.rule("403", "/v1/account", method="GET")
    error = error_of(lambda: shop.client.v1.accounts.retrieve_current())
    assert isinstance(error, stripe.PermissionError) and error.http_status == 403
    assert shop.client.v1.accounts.retrieve_current().id


def test_a_parameter_that_it_does_not_take_is_refused(shop: Shop) -> None:
    error = error_of(lambda: shop.client.v1.accounts.retrieve_current({"expand": ["settings"]}))
    assert error.http_status == 400


def test_a_reset_keeps_the_account_unless_it_is_told_to_change_it(shop: Shop, book: Book) -> None:
    first = shop.client.v1.accounts.retrieve_current().id
    assert book.reset() == first
    other = book.reset(another_account=True)
    assert other != first and other.startswith("acct_1")
    assert shop.client.v1.accounts.retrieve_current().id == other
    with pytest.raises(BookRefused, match="account must be one of keep, change"):
        book._ask("POST", "reset", {"account": "lose"})


def test_a_restart_finds_the_account_that_it_was(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    before = Process(path)
    account = before.book.reset(another_account=True)
    before.book.reset()
    before.kill()
    after = Process(path)
    assert after.client.v1.accounts.retrieve_current().id == account
    after.kill()
