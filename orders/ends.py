"""How an order ends, or goes on: conditional moves for the caller's transaction, with the order's row locked by it.

Each move happens once however often it is asked for: it is an UPDATE on the status it leaves, and its effects (goods,
cart, mail) are done only by the caller that made it, in the same transaction (FAILURES 28 and 70, RULES R97). What
becomes of the goods does not rest on the status: orders/goods.py moves what the order's lines hold.
"""

import datetime

from django.db import IntegrityError, connection, transaction

from orders import goods
from orders.models import Mail, Order
from shop.cart import take_out
from shop.ids import new_pay_key

FINISH_PAYING_WAIT = datetime.timedelta(minutes=2)

_NO_CLOSING = {"closing_since": None, "closing_by": "", "closing_reason": ""}


def mark_paid(order: Order, now: datetime.datetime) -> bool:
    """pending -> paid: the goods leave the cart that was ordered, the receipt is due. Whether this call did it.

    A wish to close the order is dropped: the money has arrived. Stock is not touched, it was held at placement.
    """
    _require_transaction()
    if not _move(order, Order.Status.PENDING, status=Order.Status.PAID, paid_at=now, **_NO_CLOSING):
        return False
    if order.cart_id is not None:
        take_out(order.cart_id, {line.product_id: line.quantity for line in order.lines.all()})
    owe_mail(order, Mail.Kind.RECEIPT, now)
    return True


def end_unpaid(order: Order, status: Order.Status, now: datetime.datetime) -> bool:
    """pending -> canceled or expired: the goods that it holds go back, once. Whether this call did it.

    Only for an order that can no longer be charged: Stripe has canceled its intent, or never had one (DESIGN section
    5, closing). A canceled order owes a mail.
    """
    _require_transaction()
    if status not in Order.CLOSED:
        raise ValueError(f"Bug! An unpaid order ends canceled or expired, not {status}.")
    if not _move(order, Order.Status.PENDING, status=status, closed_at=now, **_NO_CLOSING):
        return False
    goods.give_back(order)
    if status == Order.Status.CANCELED:
        owe_mail(order, Mail.Kind.CANCELED, now)
    return True


def fulfil(order: Order, now: datetime.datetime) -> bool:
    """paid -> fulfilled: the goods leave the house. Whether this call did it. Whether they may: orders/fulfil.py."""
    _require_transaction()
    if not _move(order, Order.Status.PAID, status=Order.Status.FULFILLED, fulfilled_at=now):
        return False
    goods.send_out(order)
    return True


def refund_whole(order: Order, now: datetime.datetime) -> bool:
    """paid or fulfilled -> refunded: all of the money has gone back. Whether this call did it.

    Goods that the order holds go back on sale, once; what has left the house comes back by other ways.
    """
    _require_transaction()
    if _move(order, Order.Status.FULFILLED, status=Order.Status.REFUNDED, closed_at=now):
        return True
    if not _move(order, Order.Status.PAID, status=Order.Status.REFUNDED, closed_at=now):
        return False
    goods.give_back(order)
    return True


def refund_undone(order: Order) -> bool:
    """refunded -> paid: a refund that had made the sum whole has failed after all. Whether this call did it.

    The money is ours again, so the order says so, whether or not its goods are still there to be taken again: ask
    `goods.are_missing`, and show it to staff. What had left the house stays fulfilled: it is not sent twice.
    """
    _require_transaction()
    if order.fulfilled_at is not None:
        return _move(order, Order.Status.REFUNDED, status=Order.Status.FULFILLED, closed_at=None)
    if not _move(order, Order.Status.REFUNDED, status=Order.Status.PAID, closed_at=None):
        return False
    goods.take(order)
    return True


def revive(order: Order, now: datetime.datetime) -> bool:
    """canceled or expired -> paid: the money came after the order was given up, and the goods are still there.

    False, and nothing changed, if they are not: then the money must go back.
    """
    _require_transaction()
    if not order.is_closed:
        return False
    try:
        with transaction.atomic():
            if not goods.take(order):
                return False
            _move(order, Order.Status(order.status), status=Order.Status.PAID, paid_at=now, closed_at=None)
    except IntegrityError:  # the cart was placed again meanwhile: one_order_per_cart_version
        order.refresh_from_db()
        return False
    if order.cart_id is not None:
        take_out(order.cart_id, {line.product_id: line.quantity for line in order.lines.all()})
    owe_mail(order, Mail.Kind.RECEIPT, now)
    owe_mail(order, Mail.Kind.LATE_MONEY, now)
    return True


def rotate_pay_key(order: Order) -> str:
    """A new key for the next press. Only after a definite decline, release, start-over or cancel (RULES R45)."""
    _require_transaction()
    _move(order, Order.Status.PENDING, pay_key=new_pay_key())
    return order.pay_key


def hold_again(order: Order, now: datetime.datetime) -> None:
    """After a definite decline the goods are held for ORDER_HOLD again, ORDER_HOLD_MOST in all; never shorter."""
    _require_transaction()
    _move(order, Order.Status.PENDING, expires_at=max(order.expires_at, order.hold_until(now)))


def owe_finish_paying(order: Order, now: datetime.datetime) -> None:
    """What the shopper was last told of a press was "we do not know", and now it is known that it charged nothing.

    Due in a while, for whoever is still on the page sees it there, and pays. Not for an order that has ended: its own
    mail says so.
    """
    if order.status == Order.Status.PENDING:
        owe_mail(order, Mail.Kind.FINISH_PAYING, now + FINISH_PAYING_WAIT)


def owe_mail(order: Order, kind: Mail.Kind, now: datetime.datetime, subject: str = "") -> None:
    """Write the mail as due, unless the order has one of its kind, of the same refund if it is about one (`subject`).
    The beat sends it; a nudge makes it sooner."""
    Mail.objects.bulk_create([Mail(order=order, kind=kind, subject=subject, due_at=now)], ignore_conflicts=True)


def _move(order: Order, leaving: Order.Status, **columns: object) -> bool:
    """The conditional UPDATE; on success the object in hand says the same as the row."""
    if not Order.objects.filter(pk=order.pk, status=leaving).update(**columns):
        return False
    for name, worth in columns.items():
        setattr(order, name, worth)
    return True


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("Bug! An order ends inside the transaction that knows why, with its row locked.")
