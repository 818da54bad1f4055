"""`seed_scenarios`: seven situations in a running shop, as the runbook tells of them, as often as it is run."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from shop.env import BASE_DIR
from tests.book import CONFIRM, CREATE, Book
from tests.services import Shop

NAMES = [
    "double-press",
    "lost-answer",
    "decline-then-success",
    "late-payment",
    "refund-pressed-twice",
    "charge-without-order",
    "dispute",
]


def seed(shop: Shop, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, as a person beside `make run` would type it."""
    command = [sys.executable, "manage.py", "seed_scenarios", *words]
    whole = dict(os.environ) | shop.env | {"BASE_URL": shop.url, "PYTHONWARNINGS": "error"} | env
    return subprocess.run(command, cwd=BASE_DIR, env=whole, capture_output=True, text=True, check=False, timeout=300)


def seeded(shop: Shop, *names: str) -> list[dict[str, Any]]:
    done = seed(shop, "--json", *(word for name in names for word in ("--only", name)))
    assert done.returncode == 0, done.stderr
    made: list[dict[str, Any]] = json.loads(done.stdout)
    return made


def test_the_seven_situations_are_made_twice_and_stripes_book_agrees_with_each(shop: Shop, book: Book):
    lost: list[str] = []
    for _ in range(2):
        made = seeded(shop)
        assert [one["name"] for one in made if one["happened"]] == [*NAMES[:4], *NAMES[3:]]
        by_name = {one["name"]: one for one in made}
        charged = {name: len(book.succeeded(one["order"])) for name, one in by_name.items() if one["order"]}
        assert charged == {
            "double-press": 1,
            "lost-answer": 0,
            "decline-then-success": 1,
            "late-payment": 1,
            "refund-pressed-twice": 1,
            "dispute": 1,
        }
        gone = next(one for one in made if one["name"] == "late-payment")
        assert [refund["amount"] for refund in book.refunds(gone["order"])] == [1250]
        assert book.refunds(by_name["late-payment"]["order"]) == []  # the second of them was revived
        assert [refund["amount"] for refund in book.refunds(by_name["refund-pressed-twice"]["order"])] == [500]
        assert len(book.disputes(by_name["dispute"]["order"])) == 1
        assert "opened a break" in by_name["charge-without-order"]["happened"]
        lost.append(by_name["lost-answer"]["order"])
    # It stays unknown until somebody asks: nobody has sent it again, not even the sweep of the second run.
    assert [len(book.calls(order, CONFIRM)) for order in lost] == [4, 4]


def test_one_situation_is_told_in_words(shop: Shop, book: Book):
    done = seed(shop, "--only", "decline-then-success")
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert "the first card was declined, the second paid" in told
    assert f"{shop.url}/admin/payments/payment/" in told and f"{shop.url}/admin/desk/charged-twice/?q=" in told
    assert "runbook  decline-then-success" in told


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DEBUG": "0", "SECRET_KEY": "x" * 60, "ALLOWED_HOSTS": "127.0.0.1"}, "is for development"),
        ({"STRIPE_API_BASE": "http://127.0.0.1:9"}, "needs the Stripe sandbox"),
        ({"STRIPE_API_BASE": "https://api.stripe.com"}, "needs the Stripe sandbox"),
    ],
)
def test_it_refuses_everywhere_else_and_makes_nothing(shop: Shop, book: Book, env: dict[str, str], said: str):
    before = len(book.calls(path=CREATE))
    done = seed(shop, "--only", "double-press", **env)
    assert done.returncode == 1 and said in done.stderr
    assert len(book.calls(path=CREATE)) == before
