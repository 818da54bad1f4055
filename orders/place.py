"""Place an order: one short transaction, once per key, once per cart version.

`place_order` may run at the same moment in two tabs, in two servers, with one key or with two. The cart's row lock
makes them queue; the unique constraints are the judge where the lock is not enough. The loser of a constraint starts
again from nothing and finds the winner (FAILURES 20). Stock is held last, product by product in id order (RULES R37).
"""

import datetime
import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import NoReturn, TypeVar

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import FilteredRelation, Q

from orders import goods
from orders.attempts import NOT_LIVE, live_attempt
from orders.links import order_links
from orders.models import Order, OrderLine
from orders.ownership import Shopper
from shop.cart import currency_of, locked_cart, total_minor
from shop.counters import count_duplicate
from shop.idempotency import fingerprint, refuse_other_body
from shop.models import Cart, CartItem, Product, cart_version
from shop.money import CURRENCIES, LARGEST_MINOR, money_text
from shop.problems import Problem

T = TypeVar("T")

TRIES = 3
# Two wishes met at one of these; whoever comes second looks again and finds the first.
RACED = {"one_order_per_key", "one_order_per_cart_version", "orders_order_number_key"}


@dataclass(frozen=True)
class Contact:
    """Who gets the goods and the mails; validated. Field names are those of the Order row."""

    email: str
    name: str
    line1: str
    city: str
    postal_code: str
    country: str
    line2: str = ""
    region: str = ""

    @classmethod
    def of(cls, order: Order) -> "Contact":
        return cls(**{name: getattr(order, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Wish:
    """One request to place an order: whose cart, under which key, and what the shopper saw when sending it."""

    cart: Cart | None
    key: str
    shopper: Shopper
    contact: Contact
    cart_version: str
    again: bool = False

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            "place-order", body=asdict(self.contact) | {"cart_version": self.cart_version, "again": self.again}
        )


class How(Enum):
    NEW = auto()  # this request placed it
    REPLAY = auto()  # an earlier request with this key did
    SAME_CART = auto()  # another key, often another tab, placed this cart version, and it waits to be paid


@dataclass(frozen=True)
class Placed:
    order: Order
    how: How


def place_order(wish: Wish) -> Placed:
    """The order of this wish: placed now, or found.

    The same key finds its order, whatever has become of it. Another key with the same cart version finds the order of
    that version while it is open to be paid and goes to the same person and address, so that two tabs get one order.

    Raises:
        Problem: idempotency-key-reused, cart-empty, cart-changed (`total`, `currency`, `version`), order-open,
            payment-in-progress, order-already-paid, bought-just-now (each `order`, `links`), amount-too-small,
            out-of-stock (`lines`), validation-failed (more than a card can be charged), request-in-progress (the cart
            is locked by another request), unavailable. Nothing is held or written then.
    """
    placed = _order_of_key(wish) or _retried(lambda: _place(wish))
    if placed.how is not How.NEW:
        count_duplicate(2 if placed.how is How.REPLAY else 3, placed.order.pk, wish.key)
    return placed


def _retried(work: Callable[[], T]) -> T:
    """Run the whole transaction, again after a lost race or a deadlock, at most TRIES times (RULES R38)."""
    for _ in range(TRIES):
        try:
            with transaction.atomic(durable=True):
                return work()
        except IntegrityError as error:
            if _constraint(error) not in RACED:
                raise
        except OperationalError as error:
            _raise_unless_deadlocked(error)
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - jitter, not a secret
    raise Problem("unavailable", "Many people are ordering this right now. Please try again in a moment.")


def _place(wish: Wish) -> Placed:
    if wish.cart is None:
        raise Problem("cart-empty", "Your cart is empty.")
    cart = locked_cart(wish.cart.pk)
    if found := _order_of_key(wish):  # it was placed while this request waited for the cart
        return found
    if found := _order_of_version(wish, cart):
        return found
    lines = cart.lines()
    _refuse_changed_cart(wish, cart, lines)
    _refuse_second_open_order(cart)
    if not wish.again:
        _refuse_bought_just_now(wish.shopper, lines, cart.read_at)
    _refuse_unpayable_total(lines)
    order, order_lines = _insert(wish, cart, lines)
    _hold(order_lines)
    return Placed(order, How.NEW)


def _order_of_key(wish: Wish) -> Placed | None:
    """What this key placed before, for this shopper as a guest or as a user: logging in changes nothing (RULES R5)."""
    order = Order.objects.filter(principal__in=wish.shopper.principals, idempotency_key=wish.key).first()
    if order is None:
        return None
    refuse_other_body(order, wish.fingerprint)
    return Placed(order, How.REPLAY)


def _order_of_version(wish: Wish, cart: Cart) -> Placed | None:
    """The order that exactly this cart was placed as, by another key, if it is still open to be paid."""
    order = Order.objects.filter(cart=cart, cart_version=wish.cart_version).exclude(status__in=Order.CLOSED).first()
    if order is None:
        return None
    if order.is_paid:
        raise _about(order, "order-already-paid", f"You have already paid for this cart: order {order.number}.")
    if order.is_closing or live_attempt(order) or Contact.of(order) != wish.contact:
        _refuse_open(order)
    return Placed(order, How.SAME_CART)


def _refuse_changed_cart(wish: Wish, cart: Cart, lines: list[CartItem]) -> None:
    if not lines:
        raise Problem("cart-empty", "Your cart is empty.")
    version, currency = cart_version(cart, lines), currency_of(lines)
    if len({line.product.currency for line in lines}) > 1:
        raise Problem("cart-changed", "Your cart has prices in different currencies. Take some goods out of it.")
    if version != wish.cart_version:
        total = total_minor(lines)
        raise Problem(
            "cart-changed",
            f"Your cart or a price has changed: the total is {money_text(total, currency)} now.",
            extra={"total": total, "currency": currency, "version": version},
        )


def _refuse_second_open_order(cart: Cart) -> None:
    """One purchase, one order: another version of this cart that waits for payment is canceled first (DESIGN 5)."""
    carts = Cart.objects.filter(Q(pk=cart.pk) | Q(merged_into=cart))  # a log-in may have joined two
    if order := Order.objects.filter(cart__in=carts, status=Order.Status.PENDING).first():
        _refuse_open(order)


def _refuse_open(order: Order) -> NoReturn:
    press = live_attempt(order)
    if press or order.is_closing:
        raise _about(
            order,
            "payment-in-progress",
            f"Your order {order.number} is being paid or canceled right now. You will not be charged twice.",
            payment_status=press.payment_status if press else None,
        )
    raise _about(
        order, "order-open", f"Your order {order.number} waits for payment. Pay it, or cancel it and place this one."
    )


def _refuse_bought_just_now(shopper: Shopper, lines: list[CartItem], now: datetime.datetime) -> None:
    """The same goods, paid by this shopper within BUY_AGAIN or perhaps paid: ask before selling them twice.

    FAILURES 10. Judged by user or session, never by e-mail. A press whose outcome is open counts however old it is.
    """
    paid = Q(status__in=(Order.Status.PAID, Order.Status.FULFILLED), paid_at__gte=now - settings.BUY_AGAIN)
    under_way = Q(status=Order.Status.PENDING, live__isnull=False)
    live = FilteredRelation("attempts", condition=~Q(attempts__outcome__in=NOT_LIVE))
    same = Order.objects.annotate(live=live).filter(shopper.owns, paid | under_way, lines_digest=_lines_digest(lines))
    if (order := same.first()) is None:
        return
    if order.is_paid:
        detail = f"You paid for exactly these goods {_ago(order, now)}: order {order.number}."
        raise _about(order, "bought-just-now", detail)
    detail = f"Your order {order.number} of exactly these goods is with your bank right now."
    press = live_attempt(order)
    raise _about(order, "bought-just-now", detail, payment_status=press.payment_status if press else None)


def _refuse_unpayable_total(lines: list[CartItem]) -> None:
    total, currency = total_minor(lines), CURRENCIES[currency_of(lines)]
    if total < currency.smallest_minor:
        least = money_text(currency.smallest_minor, currency.code)
        raise Problem("amount-too-small", f"The smallest order is {least}.", extra={"total": total})
    if total > LARGEST_MINOR:
        most = f"The largest order is {money_text(LARGEST_MINOR, currency.code)}. Please order less at once."
        raise Problem("validation-failed", most, extra={"errors": {"cart": [most]}})


def _insert(wish: Wish, cart: Cart, lines: list[CartItem]) -> tuple[Order, list[OrderLine]]:
    """The order and its lines, frozen as the database has them now (RULES R44, SECURITY SE13).

    The lines are those of a placed order, which holds its goods: `_hold` makes that true, or all of it is undone."""
    order = Order.objects.create(
        user_id=wish.shopper.user_id,
        guest_id="" if wish.shopper.user_id else wish.shopper.guest_id,
        principal=wish.shopper.principal,
        idempotency_key=wish.key,
        fingerprint=wish.fingerprint,
        cart=cart,
        cart_version=wish.cart_version,
        total_minor=total_minor(lines),
        currency=currency_of(lines),
        lines_digest=_lines_digest(lines),
        placed_at=cart.read_at,
        expires_at=cart.read_at + settings.ORDER_HOLD,
        **asdict(wish.contact),
    )
    order_lines = OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            product=line.product,
            sku=line.product.sku,
            name=line.product.name,
            quantity=line.quantity,
            price_minor=line.product.price_minor,
            total_minor=line.total_minor,
            held=line.quantity,
        )
        for line in lines
    )
    return order, order_lines


def _hold(lines: list[OrderLine]) -> None:
    """Take the goods off the stock, last in the transaction and in product-id order; all of them or none.

    The answer names every short line; the transaction that this ends puts the rest back.
    """
    short = goods.hold_placed(lines)
    if not short:
        return
    stock = dict(
        Product.objects.filter(pk__in=[line.product_id for line in short], on_sale=True).values_list("pk", "stock")
    )
    missing = [
        {
            "sku": line.sku,
            "name": line.name,
            "requested": line.quantity,
            "available": min(stock.get(line.product_id, 0), line.quantity - 1),
        }
        for line in short
    ]
    says = "; ".join(
        f"{line['name']}: {line['available'] or 'none'} left, you asked for {line['requested']}" for line in missing
    )
    raise Problem("out-of-stock", f"{says}. Nothing was ordered.", extra={"lines": missing})


def _about(order: Order, name: str, detail: str, *, payment_status: str | None = None) -> Problem:
    extra = {"order": order.pk, "number": order.number, "links": order_links(order)}
    return Problem(name, detail, extra=extra | {"payment_status": payment_status})


def _lines_digest(lines: list[CartItem]) -> str:
    """Goods and quantities, not prices: the same goods at another price are the same purchase again."""
    goods = sorted(f"{line.product.sku}:{line.quantity}" for line in lines)
    return hashlib.sha256("\n".join(goods).encode()).hexdigest()


def _ago(order: Order, now: datetime.datetime) -> str:
    since = now - (order.paid_at or order.placed_at)
    minutes = max(since, datetime.timedelta(0)) // datetime.timedelta(minutes=1)
    return "a moment ago" if minutes < 1 else f"{minutes} minute{'s' if minutes > 1 else ''} ago"


def _constraint(error: IntegrityError) -> str | None:
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)


def _raise_unless_deadlocked(error: OperationalError) -> None:
    match getattr(error.__cause__, "sqlstate", None):
        case "40P01" | "40001":
            return
        case "55P03":
            raise Problem("request-in-progress", "Another request is changing this cart. Please try again.") from error
        case _:
            raise error
