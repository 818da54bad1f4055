"""Seven situations that staff meet, made in the running shop: to learn the runbook on, and to test it with.

Presses go over HTTP as a shopper's would; what Stripe and the bank do is switched in the sandbox. Each run has shoppers
and a product of its own, so running it again adds to what is there and spoils nothing of it.
"""

import datetime
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.admin.utils import quote
from django.db import connections
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from orders.models import Order
from payments.cancellation import Wish
from payments.disputes import follow_disputes
from payments.management.outside import Answer, Bank, Browser, Shopper, Unexpected
from payments.models import Asker, Attempt, Break, Payment, WebhookEvent
from payments.outcome import carry_out_closing
from payments.reconciliation.recovery import ask_stripe, complete_due
from payments.reconciliation.run import sweep
from payments.row_lock import locked_order
from shop.env import env
from shop.ids import new_id, new_reference
from shop.models import Product

_TRIES = 4  # of one call within a press: each of them must lose its answer
_PUT_OFF = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Seeded:
    """One situation as it is now, and where staff find it."""

    name: str
    happened: str
    order: str
    number: str
    page: str
    charged_twice: str
    runbook: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    def as_lines(self) -> list[str]:
        return [
            f"{self.name}: {self.happened}",
            f"  order    {self.number or 'none'}",
            f"  page     {self.page}",
            f"  question {self.charged_twice}",
            f"  runbook  {self.runbook}",
        ]


class Scene:
    """What one run plays on: the bank, and a product that nobody else buys."""

    def __init__(self) -> None:
        self.bank = Bank()
        self.run = new_reference()
        self._products: list[int] = []
        self._shoppers = 0

    def product(self, stock: int = 5) -> str:
        """Its sku. Nobody else is meant to buy it, so it is on sale only while the scenario runs."""
        name = f"Rehearsal notebook {self.run}-{len(self._products) + 1}"
        sku = f"REH-{self.run}-{len(self._products) + 1}"
        made = Product.objects.create(
            sku=sku, name=name, slug=sku.lower(), price_minor=1250, currency="GBP", stock=stock, position=9999
        )
        self._products.append(made.pk)
        return sku

    def shopper(self, scenario: str) -> Shopper:
        """Somebody new each time: two orders of one address would be a question of their own."""
        self._shoppers += 1
        return Shopper(f"{scenario}.{self.run.lower()}.{self._shoppers}@example.com")

    def end(self) -> None:
        Product.objects.filter(pk__in=self._products).update(on_sale=False)


def double_press(scene: Scene) -> list[Seeded]:
    """Two presses of one button at one moment, while the bank thinks."""
    shopper = scene.shopper("double-press")
    order_id = shopper.place(scene.product())
    scene.bank.rule("delay", order_id, seconds=1)
    told = _at_once(shopper.press, shopper.press)
    if 201 not in [answer.status for answer in told]:
        raise Unexpected("pressing Pay twice", told[0])
    statuses = " and ".join(str(answer.status) for answer in told)
    return [_of_order("double-press", order_id, f"Pay was pressed twice at once, and answered {statuses}")]


def lost_answer(scene: Scene) -> list[Seeded]:
    """The press is sent, and the connection breaks each time: nobody knows whether it arrived.

    The completer would look after ten seconds, and soon know. Here its next look is put off by a day, so that the
    situation lasts until a person asks; asked within ten minutes the same press is sent again and paid, later its
    intent is canceled. Nothing else finds it: Stripe has nothing to tell of it, once the opening's event is done with.
    """
    shopper = scene.shopper("lost-answer")
    order_id = shopper.place(scene.product())
    _wait_for_the_opening(order_id)
    scene.bank.rule("reset", order_id, when="before", times=_TRIES)
    _expect(202, shopper.press(), "a press whose answer is lost")
    Attempt.objects.filter(order=order_id).update(next_look_at=timezone.now() + _PUT_OFF)
    happened = "the answer was lost: unknown until somebody asks, or an event of Stripe's brings the next look forward"
    return [_of_order("lost-answer", order_id, happened)]


def _wait_for_the_opening(order_id: str) -> None:
    """Until the shop has worked on the event of the payment's opening, or no webhook seems to come."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        intents = Payment.objects.filter(order=order_id, intent_id__isnull=False).values("intent_id")
        if WebhookEvent.objects.filter(intent_id__in=intents, state=WebhookEvent.State.DONE).exists():
            return
        time.sleep(0.1)


def decline_then_success(scene: Scene) -> list[Seeded]:
    shopper = scene.shopper("decline-then-success")
    order_id = shopper.place(scene.product())
    _expect(402, shopper.press("pm_card_chargeDeclined"), "a card that is declined")
    _expect(201, shopper.press(), "another card")
    return [_of_order("decline-then-success", order_id, "the first card was declined, the second paid")]


def late_payment(scene: Scene) -> list[Seeded]:
    """Money that comes after its order was canceled: once the goods are gone, once they are still there.

    Closing asks Stripe first, so this needs a loss: the order's end is written as a database would have it that came
    back without the news of the press.
    """
    gone_id, sku = _charged_and_canceled(scene, stock=1)
    other = scene.shopper("somebody-else")
    other.place(sku)
    _expect(201, other.press(), "the last piece, bought by somebody else")
    there_id, _ = _charged_and_canceled(scene, stock=2)
    for order_id in (gone_id, there_id):
        ask_stripe(Order.objects.get(pk=order_id), Asker.COMPLETER)
    complete_due(Asker.COMPLETER)
    return [
        _of_order("late-payment", gone_id, "the money came after the end, the goods were gone: it goes back by itself"),
        _of_order("late-payment", there_id, "the money came after the end, the goods were there: revived, and paid"),
    ]


def _charged_and_canceled(scene: Scene, stock: int) -> tuple[str, str]:
    """The order's id, and the sku. Whoever reads Stripe's events in these two seconds finds the money too soon: then
    once more."""
    for _ in range(3):
        shopper, sku = scene.shopper("late-payment"), scene.product(stock)
        order_id = shopper.place(sku)
        scene.bank.rule("reset", order_id, when="after", times=_TRIES)
        with scene.bank.webhooks_held_back():
            told = shopper.press()
            with locked_order(order_id) as order:
                if told.status == 202 and order.status == Order.Status.PENDING:
                    order.closing_by, order.closing_reason = "shopper", Wish.CANCEL.value
                    carry_out_closing(order)
                    return order_id, sku
    raise Unexpected("canceling before the money is found", told)


def refund_pressed_twice(scene: Scene) -> list[Seeded]:
    shopper = scene.shopper("refund-pressed-twice")
    order_id = shopper.place(scene.product())
    _expect(201, shopper.press(), "a press")
    payment = Payment.objects.get(order=order_id)
    staff, key = Browser(), new_id()
    name, password = env.str("STAFF_USERNAME", "staff"), env.str("STAFF_PASSWORD", "")
    if not staff.log_in_to_admin(name, password):
        raise Unexpected(f"logging in as {name}: is STAFF_PASSWORD the one that make run printed?", Answer(0, ""))

    def refund() -> Answer:
        wish = {"amount": 500, "reason": "requested_by_customer"}
        return staff.send("POST", f"/api/payments/{payment.pk}/refunds/", wish, key)

    told = _at_once(refund, refund)
    if 201 not in [answer.status for answer in told]:
        raise Unexpected("refunding a part", told[0])
    statuses = " and ".join(str(answer.status) for answer in told)
    return [_of_order("refund-pressed-twice", order_id, f"£5.00 was given back by two presses, answered {statuses}")]


def charge_without_order(scene: Scene) -> list[Seeded]:
    """Stripe has a charge of this shop's that names an order which is not here, as after a restored backup. Old enough
    for the sweep, which leaves what is minutes old to those who are at work on it."""
    created = timezone.now() - datetime.timedelta(minutes=15)
    lost = {"order": new_id(), "payment": new_id(), "env": settings.PAYMENT_ENV}
    intent = scene.bank.past_payment(1990, "GBP", created, lost)
    sweep(created - datetime.timedelta(minutes=1))
    found = Break.objects.filter(subject=intent, resolved_at=None).first()
    if found is None:
        raise Unexpected("sweeping", Answer(0, f"no break of {intent}"))
    happened = "Stripe took £19.90 for an order that is not here; the sweep opened a break"
    page = _address("admin:payments_break_change", found.pk)
    return [Seeded("charge-without-order", happened, "", "", page, _question(intent), "charge-without-order")]


def dispute(scene: Scene) -> list[Seeded]:
    shopper = scene.shopper("dispute")
    order_id = shopper.place(scene.product())
    _expect(201, shopper.press(), "a press")
    payment = Payment.objects.get(order=order_id)
    _expect(200, scene.bank.ask("POST", f"charges/{payment.charge_id}/dispute", {}), "a dispute")
    follow_disputes(payment, Asker.COMPLETER)
    return [_of_order("dispute", order_id, "the shopper's bank has taken the money back until it decides")]


SCENARIOS: dict[str, Callable[[Scene], list[Seeded]]] = {
    "double-press": double_press,
    "lost-answer": lost_answer,
    "decline-then-success": decline_then_success,
    "late-payment": late_payment,
    "refund-pressed-twice": refund_pressed_twice,
    "charge-without-order": charge_without_order,
    "dispute": dispute,
}


def _expect(status: int, answer: Answer, what: str) -> None:
    if answer.status != status:
        raise Unexpected(what, answer)


def _at_once(*acts: Callable[[], Answer]) -> list[Answer]:
    def alone(act: Callable[[], Answer]) -> Answer:
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(alone, acts))


def _of_order(name: str, order_id: str, happened: str) -> Seeded:
    order = Order.objects.get(pk=order_id)
    payment = order.payments.order_by("n").last()
    page = _address("admin:payments_payment_change", quote(payment.pk)) if payment else ""
    return Seeded(name, happened, order_id, order.number, page, _question(order.number), name)


def _question(sought: str) -> str:
    return f"{_address('desk:charged-twice')}?{urlencode({'q': sought})}"


def _address(name: str, *args: Any) -> str:
    try:
        return f"{settings.BASE_URL}{reverse(name, args=args)}"
    except NoReverseMatch:
        return f"{settings.BASE_URL}/admin/"
