"""Place, and pay in the same millisecond: the press meets the worker that opens the payment ahead of it (FAILURES 49).

The press always pays. It never hears 409 or 503 because a process of ours is creating the intent at that very moment.
"""

import pytest

from orders.models import Order
from payments import pay
from payments.models import Attempt, Payment
from shop.ids import new_id
from tests.book import CREATE
from tests.orders.making import BODY, guest_client, make_cart, make_product, version_of
from tests.payments.paying import placed_order
from tests.races.crowd import at_once, meanwhile, press, run_after, run_before
from tests.races.over_http import Sender
from tests.races.truth import assert_one_truth

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool")]

TIMES, TABS = 50, 5


def test_fifty_orders_are_paid_in_the_millisecond_they_are_placed(book, stack):
    """A real worker opens each payment while the press is already on its way."""
    url = stack(threads=16, celery=True).urls[0]
    product = make_product(stock=TIMES)
    carts = [make_cart((product, 1)) for _ in range(TIMES)]
    ready = [(guest_client(cart), version_of(cart)) for cart in carts]

    def place_and_pay(tab):
        statuses = []
        for client, version in ready[tab::TABS]:
            sender = Sender(url, client)
            placed = sender.post("/api/orders/", new_id(), BODY | {"cart_version": version})
            order = placed.body
            paid = sender.press(order["id"], order["pay_key"], order["total"], order["currency"])
            sender.close()
            statuses.append((placed.status, paid.status, paid.problem))
        return statuses

    answers = [answer for tab in at_once(TABS, place_and_pay, connected=False) for answer in tab]

    assert answers == [(201, 201, "")] * TIMES
    for order in Order.objects.all():
        assert len(book.succeeded(order.pk)) == 1
        assert len(book.intents(order.pk)) == 1
        created = [call for call in book.calls(order.pk, CREATE) if call["status"] == 200 and not call["replayed"]]
        assert len(created) == 1
    assert Attempt.objects.filter(outcome="succeeded").count() == TIMES


def test_a_press_waits_for_the_worker_that_is_creating_the_intent(book, monkeypatch):
    order, client = placed_order()
    book.rule("hold", CREATE, hold="worker")

    with meanwhile(lambda: pay.open_ahead(order.pk)):
        book.wait_until_held("worker")
        looked = run_after(monkeypatch, pay, "take_lease", lambda: book.release("worker"))
        answer = press(client, order)

    assert len(looked) == 1
    assert answer.status == 201
    assert len(book.calls(order.pk, CREATE)) == 1
    assert assert_one_truth(book, order) == "paid"


def test_a_worker_that_comes_while_the_press_is_creating_the_intent_leaves_it_to_the_press(book, monkeypatch):
    order, client = placed_order()
    book.rule("hold", CREATE, hold="press")

    with meanwhile(lambda: press(client, order)) as pressed:
        book.wait_until_held("press")
        run_after(monkeypatch, pay, "take_lease", lambda: book.release("press"))
        pay.open_ahead(order.pk)

    assert pressed.result().status == 201
    assert len(book.calls(order.pk, CREATE)) == 1
    assert assert_one_truth(book, order) == "paid"


@pytest.mark.parametrize("point", ["open_payment", "take_lease"])
def test_a_press_overtakes_a_worker_that_has_sent_nothing(book, monkeypatch, point):
    """The worker has committed the payment's row and is slow to go on: the press opens it, and it is made once."""
    order, client = placed_order()
    overtaken = run_before(monkeypatch, pay, point, lambda: press(client, order))

    pay.open_ahead(order.pk)

    assert [answer.status for answer in overtaken] == [201]
    assert len(book.intents(order.pk)) == 1
    assert Payment.objects.get(order=order).n == 1
    assert assert_one_truth(book, order) == "paid"


def test_a_create_key_in_use_is_ourselves_and_is_asked_again_within_the_press(book):
    """Stripe's 409 on create never becomes ours."""
    order, client = placed_order()
    book.rule("409_in_use", CREATE, times=2)

    assert press(client, order).status == 201

    assert [call["status"] for call in book.calls(order.pk, CREATE)] == [409, 409, 200]
    assert assert_one_truth(book, order) == "paid"
