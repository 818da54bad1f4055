"""Whatever happens to orders, in whatever order: no piece is made, lost, or sold twice."""

import contextlib
import random
from collections.abc import Callable

import pytest
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from orders import ends
from orders.fulfil import CannotFulfil, fulfil_order
from orders.models import Order, OrderLine
from payments.reconciliation.invariants import check_books
from shop.acts import Act
from shop.ids import new_id
from shop.models import Product, StockMovement
from shop.problems import Problem
from shop.stock import BelowZero, correct_stock, last_correction_id, stock_snapshot, subject_of
from tests.orders.making import make_guest, make_order, make_product
from tests.orders.test_fulfil import act_on, clerk

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = 60


class House:
    """Orders at random, and beside them a shelf of our own: what is really there, whatever the rows say."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.shelf = {make_product(stock=stock).pk: stock for stock in (1, 2, 5)}
        self.orders: list[str] = []

    def step(self) -> None:
        act: Callable[[], object] = self.dice.choice([self.place, self.place, self.move, self.move, self.fulfil])
        (self.correct if self.dice.random() < 0.1 else act)()

    def place(self) -> None:
        products = Product.objects.filter(pk__in=self.dice.sample(sorted(self.shelf), self.dice.randint(1, 3)))
        wanted = [(product, self.dice.randint(1, 2)) for product in products]
        with contextlib.suppress(Problem):  # out of stock
            self.orders.append(make_order(*wanted, shopper=make_guest()).pk)

    def move(self) -> None:
        """Any move of any order, also where it is not valid: then it does nothing."""
        now = timezone.now()
        with transaction.atomic():
            order = self.any_order()
            if order is None:
                return
            moves: list[Callable[[], bool]] = [
                lambda: ends.mark_paid(order, now),
                lambda: ends.mark_paid(order, now),
                lambda: ends.end_unpaid(order, Order.Status.CANCELED, now),
                lambda: ends.end_unpaid(order, Order.Status.EXPIRED, now),
                lambda: ends.refund_whole(order, now),
                lambda: ends.refund_undone(order),
                lambda: ends.revive(order, now),
            ]
            self.dice.choice(moves)()

    def fulfil(self) -> None:
        """By way of the act of staff, which takes what the order does not hold."""
        order = self.any_order(locked=False)
        if order is None:
            return
        try:
            fulfil_order(order.pk, act_on(order))
        except CannotFulfil:
            return
        for line in order.lines.all():
            self.shelf[line.product_id] -= line.quantity

    def correct(self) -> None:
        product = Product.objects.get(pk=self.dice.choice(sorted(self.shelf)))
        difference = self.dice.choice([-2, -1, 1, 2])
        act = Act("correct stock", clerk(), subject_of(product), lambda: stock_snapshot(product.pk), form_key=new_id())
        try:
            correct_stock(product.pk, difference, act, last_correction_id(product))
        except BelowZero:
            return
        self.shelf[product.pk] += difference

    def any_order(self, *, locked: bool = True) -> Order | None:
        if not self.orders:
            return None
        orders = Order.objects.select_for_update(no_key=True) if locked else Order.objects.all()
        return orders.get(pk=self.dice.choice(self.orders))

    def assert_it_adds_up(self) -> None:
        for product in Product.objects.all():
            held = OrderLine.objects.filter(product=product).aggregate(n=Sum("held"))["n"] or 0
            moves = StockMovement.objects.filter(product=product)
            gone = -(moves.filter(kind="sent").aggregate(n=Sum("held_difference"))["n"] or 0)
            came = moves.filter(kind__in=["opening", "corrected"]).aggregate(n=Sum("stock_difference"))["n"]
            assert product.stock >= 0
            assert product.stock + held + gone == came
            assert product.stock + held == self.shelf[product.pk]


@pytest.mark.parametrize("seed", range(15))
def test_no_sequence_of_moves_makes_or_loses_a_piece(seed: int) -> None:
    house = House(seed)
    for _ in range(STEPS):
        house.step()
        house.assert_it_adds_up()
    assert [found for found in check_books().found if found.kind == "stock"] == []


def test_the_sequences_meet_every_kind_of_movement_and_every_status() -> None:
    """Else they would show nothing."""
    for seed in range(4):
        house = House(seed)
        for _ in range(STEPS):
            house.step()
    assert set(StockMovement.objects.values_list("kind", flat=True)) == set(StockMovement.Kind.values)
    assert set(Order.objects.values_list("status", flat=True)) == set(Order.Status.values)
