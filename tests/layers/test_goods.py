"""What keeps a piece from being sold twice, each layer of it alone (docs/guarantees.md, "Goods").

The last piece is wanted by twenty at once; and twenty give the goods of one order back at once, none of them with the
order's row locked. With every layer off both go wrong: so these storms can show something.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from orders.ends import end_unpaid
from orders.models import Order
from orders.place import place_order
from shop.models import Product, StockMovement
from shop.problems import Problem
from tests.layers import switches
from tests.orders.making import make_cart, make_guest, make_order, make_product, wish_for
from tests.payments.paying import client_of
from tests.races.crowd import CROWD, at_once, press

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wide_pool")]

STOCK = 10


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Switch off by name: `status`, `held`, `trigger`; `conditional`, `check`."""
    with ExitStack() as put_back:

        def switch_off(*layers: str) -> None:
            for layer in layers:
                match layer:
                    case "status":
                        switches.status_move_off(monkeypatch.setattr)
                    case "held":
                        switches.held_fact_off(monkeypatch.setattr)
                    case "trigger":
                        put_back.enter_context(switches.no_goods_triggers())
                    case "conditional":
                        switches.conditional_stock_off(monkeypatch.setattr)
                    case "check":
                        put_back.enter_context(switches.no_stock_check())

        yield switch_off
    monkeypatch.undo()


def outcome(act: Callable[[], Any]) -> str:
    """What it came to: `done`, `nothing`, the problem's name, or the guarantee of the database that refused it."""
    try:
        with transaction.atomic():
            return "done" if act() else "nothing"
    except IntegrityError as error:
        return str(getattr(getattr(error.__cause__, "diag", None), "constraint_name", error))


def stock() -> int:
    return Product.objects.get().stock


# --- twenty give the goods of one order back --------------------------------------------------------------------------


def give_back_at_once(order: Order) -> Counter[str]:
    def act(number: int) -> str:
        return outcome(lambda: end_unpaid(Order.objects.get(pk=order.pk), Order.Status.CANCELED, timezone.now()))

    return Counter(at_once(CROWD, act))


def returned(order: Order) -> int:
    """How many pieces its movements say went back."""
    moves = StockMovement.objects.filter(order_id=order.pk, kind="returned")
    return sum(moves.values_list("stock_difference", flat=True))


def test_twenty_returns_at_once_are_one(off):
    order = make_order((make_product(stock=STOCK), 1))
    assert give_back_at_once(order) == {"done": 1, "nothing": CROWD - 1}
    assert (stock(), returned(order)) == (STOCK, 1)


def test_the_move_of_the_status_alone_lets_the_goods_back_once(off):
    off("held", "trigger")
    order = make_order((make_product(stock=STOCK), 1))
    assert give_back_at_once(order) == {"done": 1, "nothing": CROWD - 1}
    assert (stock(), returned(order)) == (STOCK, 1)


def test_the_held_fact_alone_lets_the_goods_back_once(off):
    """All twenty end the order; one of them finds that its line holds anything."""
    off("status", "trigger")
    order = make_order((make_product(stock=STOCK), 1))
    assert give_back_at_once(order) == {"done": CROWD}
    assert (stock(), returned(order)) == (STOCK, 1)


def test_the_trigger_alone_lets_the_goods_back_once(off):
    """All twenty return them; the database refuses to commit the second, with all that it did."""
    off("status", "held")
    order = make_order((make_product(stock=STOCK), 1))
    assert give_back_at_once(order) == {"done": 1, "goods_move_with_their_movement": CROWD - 1}
    assert (stock(), returned(order)) == (STOCK, 1)


def test_with_every_layer_off_one_piece_becomes_twenty(off):
    """The control."""
    off("status", "held", "trigger")
    order = make_order((make_product(stock=STOCK), 1))
    assert give_back_at_once(order) == {"done": CROWD}
    assert (stock(), returned(order)) == (STOCK - 1 + CROWD, CROWD)


# --- twenty want the last piece ---------------------------------------------------------------------------------------


def place_at_once(wishes: list[Any]) -> Counter[str]:
    def act(number: int) -> str:
        try:
            return place_order(wishes[number]).how.name
        except Problem as problem:
            return problem.name
        except IntegrityError as error:
            return str(error.__cause__.diag.constraint_name)  # type: ignore[union-attr]

    return Counter(at_once(CROWD, act))


def twenty_shoppers() -> list[Any]:
    last = make_product(stock=1)
    return [wish_for(make_cart((last, 1)), make_guest()) for _ in range(CROWD)]


def placed() -> int:
    moves = StockMovement.objects.filter(kind="placed")
    return -sum(moves.values_list("stock_difference", flat=True))


def test_twenty_placements_of_the_last_piece_are_one(off):
    assert place_at_once(twenty_shoppers()) == {"NEW": 1, "out-of-stock": CROWD - 1}
    assert (stock(), placed(), Order.objects.count()) == (0, 1, 1)


def test_one_shopper_who_places_the_last_piece_twenty_times_takes_it_once(off):
    wish = wish_for(make_cart((make_product(stock=1), 1)), make_guest())
    assert place_at_once([wish] * CROWD) == {"NEW": 1, "REPLAY": CROWD - 1}
    assert (stock(), placed(), Order.objects.count()) == (0, 1, 1)


def test_twenty_presses_of_pay_take_no_piece_beside_the_one_that_was_placed(off, book):
    shopper = make_guest()
    order = make_order((make_product(stock=1), 1), shopper=shopper)
    said = at_once(CROWD, lambda number: press(client_of(shopper), order, f"key-{number}").status)
    assert said.count(201) == 1 and len(book.succeeded(order.pk)) == 1
    assert (stock(), placed()) == (0, 1)


def test_the_conditional_update_alone_sells_the_last_piece_once(off):
    off("check", "trigger")
    assert place_at_once(twenty_shoppers()) == {"NEW": 1, "out-of-stock": CROWD - 1}
    assert (stock(), placed(), Order.objects.count()) == (0, 1, 1)


def test_the_check_alone_sells_the_last_piece_once(off):
    off("conditional", "trigger")
    assert place_at_once(twenty_shoppers()) == {"NEW": 1, "stock_is_never_oversold": CROWD - 1}
    assert (stock(), placed(), Order.objects.count()) == (0, 1, 1)


def test_with_neither_the_last_piece_is_sold_twenty_times(off):
    """The control. The trigger stays on, and does not stop it: it binds a line to its movements, not the stock."""
    off("conditional", "check")
    assert place_at_once(twenty_shoppers()) == {"NEW": CROWD}
    assert (stock(), placed(), Order.objects.count()) == (1 - CROWD, CROWD, CROWD)
