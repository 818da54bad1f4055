"""Two servers whose clocks are hours apart: the database's clock decides whatever moves money or goods."""

import datetime

import pytest
import time_machine
from django.utils import timezone

from orders.models import Order
from payments.cancellation import expire_due
from payments.models import Asker, Attempt
from payments.reconciliation.recovery import complete_attempt
from shop.problems import Problem
from tests.book import CANCEL, CONFIRM, Book
from tests.orders.making import make_guest, make_order, make_product
from tests.payments.paying import client_of, placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)

HALF_AN_HOUR = datetime.timedelta(minutes=30)
OFF = [datetime.timedelta(hours=-3), datetime.timedelta(0), datetime.timedelta(hours=3)]


def close_to(moment: datetime.datetime | None, expected: datetime.datetime) -> bool:
    return moment is not None and abs(moment - expected) < datetime.timedelta(minutes=5)


@pytest.mark.parametrize("off", OFF)
def test_an_order_is_placed_and_held_by_the_database_s_clock(off: datetime.timedelta) -> None:
    real = timezone.now()
    product = make_product()
    with time_machine.travel(real + off):
        make_order((product, 1))
    order = Order.objects.get()
    assert close_to(order.placed_at, real)
    assert close_to(order.expires_at, real + HALF_AN_HOUR)


@pytest.mark.parametrize("off", OFF)
def test_an_order_expires_by_the_database_s_clock(book: Book, off: datetime.timedelta) -> None:
    real = timezone.now()
    fresh, over = placed_order()[0], placed_order()[0]
    Order.objects.filter(pk=over.pk).update(expires_at=real - datetime.timedelta(minutes=1))
    with time_machine.travel(real + off):
        assert expire_due() == 1
    assert {one.pk: one.status for one in Order.objects.all()} == {fresh.pk: "pending", over.pk: "expired"}


@pytest.mark.parametrize("off", OFF)
def test_after_a_decline_the_goods_are_held_by_the_database_s_clock(book: Book, off: datetime.timedelta) -> None:
    real = timezone.now()
    order, client = placed_order()
    Order.objects.filter(pk=order.pk).update(expires_at=real + datetime.timedelta(minutes=1))
    with time_machine.travel(real + off):
        assert press(client, order, token="pm_card_chargeDeclined").status_code == 402
    order.refresh_from_db()
    assert close_to(order.expires_at, real + HALF_AN_HOUR)
    assert close_to(Attempt.objects.get().finished_at, real)


@pytest.mark.parametrize("off", OFF)
def test_the_same_purchase_again_is_asked_about_by_the_database_s_clock(book: Book, off: datetime.timedelta) -> None:
    real = timezone.now()
    shopper, product = make_guest(), make_product(stock=5)
    order = make_order((product, 1), shopper=shopper)
    client = client_of(shopper)
    with time_machine.travel(real - off):
        assert press(client, order).status_code == 201
    with time_machine.travel(real + off), pytest.raises(Problem) as refused:
        make_order((product, 1), shopper=shopper)
    assert refused.value.name == "bought-just-now"


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize(("minutes", "cancels"), [(9, 0), (11, 1)])
def test_an_unknown_press_is_ended_by_the_database_s_clock(
    book: Book, off: datetime.timedelta, minutes: float, cancels: int
) -> None:
    """Too early, and a press that could still be finished is lost; too late, and its shopper waits."""
    real = timezone.now()
    order, client = placed_order()
    book.rule("reset", path=CONFIRM, when="before", times=4)
    assert press(client, order).status_code == 202
    claimed = real - datetime.timedelta(minutes=minutes)
    Attempt.objects.update(claimed_at=claimed, locked_until=None, next_look_at=None)
    with time_machine.travel(real + off):
        complete_attempt(Attempt.objects.get().pk, Asker.COMPLETER)
    assert len(book.calls(order.pk, CANCEL)) == cancels
    assert len(book.succeeded(order.pk)) == 1 - cancels
