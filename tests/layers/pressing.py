"""An order that is ready for the press: its payment opened ahead, as the worker does after placement."""

from django.test import Client

from orders.models import Order
from payments import pay
from shop.ids import new_id
from tests.payments.paying import placed_order
from tests.races.crowd import CROWD


def opened_order(**fields: int) -> tuple[Order, Client]:
    order, client = placed_order(**fields)
    pay.open_ahead(order.pk)
    return order, client


def new_keys(count: int = CROWD) -> list[str]:
    return [new_id() for _ in range(count)]
