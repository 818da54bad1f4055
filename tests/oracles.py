"""The oracles that a test of money ends with (FAILURES, "Oracles every test ends with"). Stripe's book is the judge."""

from django.db.models import Sum

from orders.models import Mail, Order, OrderLine
from payments.models import Attempt, Break, Payment
from tests.book import Book


def assert_books_agree(book: Book, *orders: Order, stock: int = 10) -> None:
    """O1 one charge at most, O2 paid if and only if charged, O3 money without a paid order is shown to staff, O5 stock
    moved once, O6 one receipt, O8 nothing waits without a next step. `stock` is what each product began with."""
    for order in orders:
        order.refresh_from_db()
        taken = book.succeeded(order.pk)
        assert len(taken) <= 1, f"charged {len(taken)} times"
        if order.is_paid:
            payment = Payment.objects.get(order=order, phase="succeeded")
            assert [(charge["amount"], charge["currency"].upper()) for charge in taken] == [
                (order.total_minor, order.currency)
            ]
            assert (payment.captured_minor, payment.currency) == (order.total_minor, order.currency)
            assert Attempt.objects.filter(order=order, outcome="succeeded").count() == 1
        else:
            assert not taken or Break.objects.filter(order=order, resolved_at=None).exists(), "money nobody sees"
        assert Mail.objects.filter(order=order, kind="receipt").count() == int(order.is_paid)
        _assert_stock_moved_once(order, stock)
        _assert_next_step(order)


def _assert_stock_moved_once(order: Order, stock: int) -> None:
    for line in order.lines.select_related("product"):
        held = OrderLine.objects.filter(product=line.product).exclude(order__status__in=Order.CLOSED)
        assert line.product.stock + (held.aggregate(n=Sum("quantity"))["n"] or 0) == stock


def _assert_next_step(order: Order) -> None:
    for attempt in Attempt.objects.filter(order=order).exclude(phase="finished"):
        assert attempt.next_look_at or attempt.locked_until, "an attempt without a next step"
    left_closing = Payment.objects.filter(order=order, phase="closing")
    if left_closing.exists():
        assert order.is_closing or Attempt.objects.filter(order=order).undecided().exists(), "a closing nobody ends"
