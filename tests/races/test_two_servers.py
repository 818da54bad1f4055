"""Real app servers on their own ports, sharing PostgreSQL, Redis and Stripe; one of them is frozen past its lease."""

from collections import Counter

import pytest
from django.db import connection

from orders.models import Order
from payments.models import Attempt
from payments.reconciliation.recovery import complete_due
from tests.book import CONFIRM, CREATE
from tests.layers.pressing import new_keys, opened_order
from tests.payments.paying import placed_order
from tests.races.crowd import CROWD, at_once, meanwhile
from tests.races.over_http import press_everywhere, press_over
from tests.races.truth import assert_one_truth, end_leases

pytestmark = pytest.mark.django_db(transaction=True)


def test_twenty_presses_over_two_servers_charge_once(book, stack):
    """With one key, and with twenty; the payment opened ahead, and not."""
    urls = stack(servers=2, threads=16).urls
    for opened_ahead in (True, False):
        order, client = opened_order() if opened_ahead else placed_order()
        key = order.pay_key

        answers = press_everywhere(urls, client, order, [key] * CROWD)

        assert assert_one_truth(book, order) == "paid"
        assert Attempt.objects.filter(order=order).count() == 1
        paid = {answer.content for answer in answers if answer.status == 201}
        assert len(paid) == 1 and {answer.status for answer in answers} <= {201, 409}
        asked_again = press_everywhere(urls, client, order, [key] * CROWD)
        assert {(answer.status, answer.content) for answer in asked_again} == {(201, paid.pop())}
        assert all(answer.replayed for answer in asked_again)

    for opened_ahead in (True, False):
        order, client = opened_order() if opened_ahead else placed_order()

        answers = press_everywhere(urls, client, order, new_keys())

        assert assert_one_truth(book, order) == "paid"
        assert Attempt.objects.filter(order=order).count() == 1
        assert Counter(answer.status for answer in answers) == {201: 1, 409: CROWD - 1}


def test_a_server_frozen_in_its_confirm_changes_nothing_when_it_thaws(book, stack):
    """SIGSTOP after the confirm was sent. The completer finds the charge; the frozen one comes back to a paid order."""
    frozen, other = stack(servers=2, threads=8).servers
    order, client = opened_order()
    key = order.pay_key
    book.rule("hold", CONFIRM, hold="bank")

    with meanwhile(lambda: press_over(frozen.url, client, order, key)) as first:
        book.wait_until_held("bank")
        frozen.pause()
        end_leases(order)
        meets_the_key = complete_due()  # the first confirm is still inside Stripe under this very key
        assert meets_the_key == (1, 1)
        assert Attempt.objects.get(order=order).outcome == "unknown"
        book.release("bank")
        end_leases(order)
        asked_again = press_over(other.url, client, order, key)
        assert asked_again.status == 201
        settled = Attempt.objects.filter(order=order).values().get()
        frozen.resume()

    assert first.result().status == 201
    assert first.result().content == asked_again.content
    assert Attempt.objects.filter(order=order).values().get() == settled
    assert len(book.intents(order.pk)) == 1
    assert assert_one_truth(book, order) == "paid"


def test_a_server_frozen_in_its_create_sends_no_confirm_when_it_thaws(book, stack):
    """SIGSTOP before anything could charge. Another server replays the create under its key and pays (R50, R52)."""
    frozen, other = stack(servers=2, threads=8).servers
    order, client = placed_order()
    key = order.pay_key
    book.rule("hold", CREATE, hold="creating")

    with meanwhile(lambda: press_over(frozen.url, client, order, key)) as first:
        book.wait_until_held("creating")
        frozen.pause()
        end_leases(order)
        assert complete_due() == (1, 1)  # released: nothing was sent under it
        book.release("creating")
        next_key = Order.objects.get(pk=order.pk).pay_key
        assert next_key != key
        assert press_over(other.url, client, order, next_key).status == 201
        frozen.resume()

    assert (first.result().status, first.result().body["retry"]) == (503, "same-key")
    outcomes = list(Attempt.objects.filter(order=order).order_by("number").values_list("outcome", flat=True))
    assert outcomes == ["released", "succeeded"]
    assert len(book.intents(order.pk)) == 1
    assert len(book.calls(order.pk, CONFIRM)) == 1
    assert assert_one_truth(book, order) == "paid"


def test_thirty_shoppers_wait_at_stripe_at_once_on_two_connections(book, stack):
    """A shopper who waits for the bank holds no connection: with a pool of two, all thirty are there together."""
    url = stack(threads=40, env={"DATABASE_POOL": "2", "PGAPPNAME": "thirty"}).urls[0]
    ready = [opened_order() for _ in range(30)]
    book.rule("hold", CONFIRM, times=None, hold="bank")

    def press_number(number):
        order, client = ready[number]
        return press_over(url, client, order, order.pay_key)

    with meanwhile(lambda: at_once(30, press_number, connected=False)) as presses:
        book.wait_until_held("bank", 30, seconds=30)
        connections = _connections_of("thirty")
        book.release("bank")

    assert [answer.status for answer in presses.result()] == [201] * 30
    assert 1 <= connections <= 2
    for order, _ in ready:
        assert assert_one_truth(book, order) == "paid"


def _connections_of(peer: str) -> int:
    """How many connections to this test's database have this application name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s", [peer]
        )
        found: int = cursor.fetchone()[0]
    return found
