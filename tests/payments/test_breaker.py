"""RULES R65: while Stripe does not answer, a new press hears it at once; nothing else is held up."""

from typing import Any

import pytest

from payments.gateways.circuit_breaker import close_breaker
from payments.models import Asker, Attempt
from payments.reconciliation.recovery import ask_stripe
from tests.book import CONFIRM, Book
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def two_failures_open_it(settings: Any) -> None:
    settings.BREAKER_FAILURES = 2


def _break(book: Book) -> None:
    book.rule("429", path=CONFIRM, when="before", times=None)
    for _ in range(2):
        order, client = placed_order()
        assert press(client, order).status_code == 503


def test_after_failures_in_a_row_a_new_press_is_refused_before_it_claims(book: Book) -> None:
    _break(book)
    before = len(book.calls())
    order, client = placed_order()
    answer = press(client, order)
    assert (answer.status_code, answer.json()["type"], answer.json()["retry"]) == (
        503,
        "/problems/unavailable",
        "same-key",
    )
    assert int(answer.headers["Retry-After"]) >= 1
    assert Attempt.objects.filter(order=order).count() == 0
    assert len(book.calls()) == before


def test_an_answer_in_between_starts_the_count_again(book: Book) -> None:
    book.rule("429", path=CONFIRM, when="before", times=4)  # one press: a call and its three repetitions
    order, client = placed_order()
    assert press(client, order).status_code == 503
    other, other_client = placed_order()
    assert press(other_client, other).status_code == 201
    book.rule("429", path=CONFIRM, when="before", times=4)
    third, third_client = placed_order()
    assert press(third_client, third).status_code == 503
    assert press(third_client, third).status_code == 201


def test_after_the_pause_one_press_tries_it_for_all_and_closes_it(
    book: Book, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break(book)
    order, client = placed_order()
    assert press(client, order).status_code == 503
    book.clear_rules()
    monkeypatch.setattr("payments.gateways.circuit_breaker._try_again_at", 0.001)  # long ago on the monotonic clock
    assert press(client, order).status_code == 201
    assert len(book.succeeded(order.pk)) == 1


def test_replays_and_looks_are_never_refused(book: Book) -> None:
    paid, paid_client = placed_order()
    key = paid.pay_key
    first = press(paid_client, paid, key)
    unknown, unknown_client = placed_order()
    book.rule("reset", path=CONFIRM, when="after", times=4)
    assert press(unknown_client, unknown, unknown.pay_key).status_code == 202
    _break(book)
    assert press(paid_client, paid, key).content == first.content
    assert ask_stripe(unknown, Asker.SHOPPER)[0]
    unknown.refresh_from_db()
    assert unknown.status == "paid"


def test_it_never_says_not_charged_of_an_order_with_a_press_under_way(book: Book) -> None:
    unknown, client = placed_order()
    key = unknown.pay_key
    book.rule("reset", path=CONFIRM, when="after", times=4)
    assert press(client, unknown, key).status_code == 202
    _break(book)
    assert press(client, unknown, key).status_code in (201, 202)
    assert press(client, unknown, "another-key").status_code == 409
    close_breaker()
