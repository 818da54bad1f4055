"""The oracles that a test of money ends with (FAILURES, "Oracles every test ends with"). Stripe's book is the judge."""

from django.conf import settings
from django.db.models import Sum

from orders.models import Mail, Order, OrderLine
from payments.models import Attempt, Break, Payment, Refund
from payments.reconciliation.recovery import due_attempts
from tests.book import Book, Json


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
        assert line.held == (0 if order.is_closed else line.quantity), f"{order.status}, and holds {line.held}"
        held = OrderLine.objects.filter(product=line.product).aggregate(n=Sum("held"))["n"] or 0
        assert line.product.stock + held == stock


def _assert_next_step(order: Order) -> None:
    for attempt in Attempt.objects.filter(order=order).exclude(phase="finished"):
        assert attempt.next_look_at or attempt.locked_until, "an attempt without a next step"
    left_closing = Payment.objects.filter(order=order, phase="closing")
    if left_closing.exists():
        assert order.is_closing or Attempt.objects.filter(order=order).undecided().exists(), "a closing nobody ends"


def assert_repaired(book: Book, *orders: Order, stock: int = 10, written_ahead: bool = True) -> None:
    """R101, when repair has run: the oracles, and nothing waits for somebody who is gone. O4 no refund above what was
    taken; every object at Stripe has its row, or can charge nobody; every call that changes something there carries a
    key that leads to a committed row of ours, which was there before the call (RL10; `written_ahead` false: only that
    it is there now, for a database that lost it)."""
    assert_books_agree(book, *orders, stock=stock)
    overdue = set(due_attempts(10_000))
    for order in orders:
        assert not overdue & set(order.attempts.values_list("pk", flat=True)), "an attempt is overdue"
        taken = sum(charge["amount"] for charge in book.succeeded(order.pk))
        assert book.refunded(order.pk) <= taken, "more was given back than taken"
        for intent in book.intents(order.pk):
            _assert_row_of_intent(order, intent)
        for call in book.calls(order.pk):
            if call["method"] == "POST":
                _assert_row_of_key(call, written_ahead)


def _assert_row_of_intent(order: Order, intent: Json) -> None:
    """A row names it; or the one that created it is still opening, and whoever presses next hears of it again."""
    named = Payment.objects.filter(order=order, intent_id=intent["id"])
    opening = Payment.objects.filter(order=order, pk=intent["metadata"]["payment"], phase="opening")
    unconfirmed = intent["status"] == "requires_payment_method" and opening.exists()
    assert named.exists() or unconfirmed or intent["status"] == "canceled", "an object at Stripe without a row of ours"


def _assert_row_of_key(call: Json, written_ahead: bool) -> None:
    env, operation, named = call["key"].split(":", 2)
    assert env == settings.PAYMENT_ENV
    match operation:
        case "create":
            began = Payment.objects.get(idempotency_key=call["key"]).created_at
        case "confirm":
            # A key may be claimed again after a release: then the first claim is in the story.
            attempt = Attempt.objects.get(pk=named)
            claims = attempt.events.filter(kind="claimed").order_by("at")
            began = claims[0].at if claims else attempt.claimed_at
        case "cancel":
            began = Payment.objects.get(pk=named.rsplit(":", 1)[0]).created_at
        case "refund":
            began = Refund.objects.get(pk=named).created_at
        case _:
            raise AssertionError(f"a key that leads to no row of ours: {call['key']}")
    assert not written_ahead or began.timestamp() <= call["started"], f"called before it was written: {call['key']}"
