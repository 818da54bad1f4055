"""Presses against presses: one key or many, with Redis and without (RULES R26, R30, R32, R42)."""

from collections import Counter

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payments.models import Attempt
from payments.pay import Press, claim
from payments.row_lock import locked_order
from shop.problems import Problem
from tests.book import CONFIRM
from tests.layers.pressing import new_keys, opened_order
from tests.payments.paying import placed_order
from tests.races.crowd import CROWD, at_once, meanwhile, press, press_at_once, same_browser
from tests.races.truth import assert_one_truth

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool", "redis_or_not")]


@pytest.mark.parametrize("opened_ahead", [True, False], ids=["opened ahead", "not opened"])
def test_twenty_presses_with_one_key_are_one_attempt_and_one_answer(book, opened_ahead):
    order, client = opened_order() if opened_ahead else placed_order()
    key = order.pay_key

    answers = press_at_once(client, order, [key] * CROWD)

    assert assert_one_truth(book, order) == "paid"
    assert Attempt.objects.filter(order=order).count() == 1
    assert len(book.calls(order.pk, CONFIRM)) == 1
    final = {answer.content for answer in answers if answer.status == 201}
    assert len(final) == 1
    for answer in answers:
        assert answer.status in (201, 409)
        if answer.status == 409:
            assert (answer.problem, answer.body["retry"]) == ("request-in-progress", "same-key")
    again = press(client, order, key)
    assert (again.status, {again.content}, again.replayed) == (201, final, True)
    assert len(book.calls(order.pk, CONFIRM)) == 1


def test_while_the_first_is_at_stripe_nineteen_with_its_key_are_told_to_ask_again(book):
    order, client = opened_order()
    key = order.pay_key
    book.rule("hold", CONFIRM, hold="bank")

    with meanwhile(lambda: press(client, order, key)) as first:
        book.wait_until_held("bank")
        others = press_at_once(client, order, [key] * (CROWD - 1))
        book.release("bank")

    assert {(answer.status, answer.problem) for answer in others} == {(409, "request-in-progress")}
    assert first.result().status == 201
    replays = press_at_once(client, order, [key] * (CROWD - 1))
    assert {(answer.status, answer.content) for answer in replays} == {(201, first.result().content)}
    assert all(answer.replayed for answer in replays)
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("opened_ahead", [True, False], ids=["opened ahead", "not opened"])
def test_twenty_presses_with_twenty_keys_are_one_attempt(book, opened_ahead):
    order, client = opened_order() if opened_ahead else placed_order()

    answers = press_at_once(client, order, new_keys())

    assert assert_one_truth(book, order) == "paid"
    assert Attempt.objects.filter(order=order).count() == 1
    told = Counter(answer.problem for answer in answers)
    assert told[""] == 1
    assert set(told) <= {"", "payment-in-progress", "request-in-progress", "order-already-paid"}
    assert Counter(answer.status for answer in answers) == {201: 1, 409: CROWD - 1}


def test_a_press_after_the_race_with_another_key_is_shown_the_receipt(book):
    order, client = opened_order()
    press_at_once(client, order, new_keys(3))

    late = press(client, order, "another-key")

    assert (late.status, late.problem) == (409, "order-already-paid")
    assert late.body["receipt_url"] == f"/orders/{order.pk}/"
    assert assert_one_truth(book, order) == "paid"


def test_twenty_presses_of_a_declined_card_are_one_decline_and_the_next_key_pays(book):
    order, client = opened_order()
    key, twins = order.pay_key, same_browser(client)

    answers = at_once(CROWD, lambda n: press(twins[n], order, key, token="pm_card_chargeDeclined"))

    assert {answer.status for answer in answers} <= {402, 409}
    assert len({answer.content for answer in answers if answer.status == 402}) == 1
    assert len(book.charges(order.pk)) == 1 and book.succeeded(order.pk) == []
    order.refresh_from_db()
    assert order.pay_key != key
    assert press(client, order).status == 201
    assert assert_one_truth(book, order) == "paid"


def test_of_fifty_claims_with_one_key_one_may_go_on(book):
    order, _ = opened_order()
    wanted = Press("one-key", "digest", "pm_card_visa", order.total_minor, order.currency)

    def try_to_claim(_: int) -> str:
        try:
            with locked_order(order.pk) as locked:
                claim(locked, wanted)
        except Problem as problem:
            return problem.name
        return "claimed"

    assert Counter(at_once(50, try_to_claim)) == {"claimed": 1, "request-in-progress": 49}
    assert Attempt.objects.filter(order=order).count() == 1
    assert book.calls(order.pk, CONFIRM) == []


@pytest.mark.parametrize("opened_ahead", [True, False], ids=["opened ahead", "not opened"])
def test_a_press_locks_the_orders_row_once_before_it_writes(book, opened_ahead):
    order, client = opened_order() if opened_ahead else placed_order()

    with CaptureQueriesContext(connection) as asked:
        assert press(client, order).status == 201

    statements = [query["sql"] for query in asked]
    first_write = next(n for n, sql in enumerate(statements) if sql.startswith(("INSERT", "UPDATE", "DELETE")))
    locks = [sql for sql in statements[:first_write] if "FOR NO KEY UPDATE" in sql or "FOR UPDATE" in sql]
    assert len(locks) == 1
    assert 'FROM "orders_order"' in locks[0] and 'FOR NO KEY UPDATE OF "orders_order"' in locks[0]
