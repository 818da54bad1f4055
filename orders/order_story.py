"""An order's story for staff: what moved and when, of the order, its money, its mails and what staff did to it."""

import datetime
from dataclasses import dataclass

from orders.models import Order
from shop.models import StaffAct

_MOST = 300


@dataclass(frozen=True)
class Moment:
    at: datetime.datetime
    what: str
    who: str = ""
    note: str = ""


def story_of(order: Order, acts: list[StaffAct]) -> list[Moment]:
    """Oldest first, with these acts of staff. Calls to Stripe are on the payment's own page."""
    moments = [*_of_the_order(order), *_of_its_money(order), *_of_its_mails(order), *map(_of_staff, acts)]
    return sorted(moments, key=lambda moment: moment.at)


def staff_acts_of(order: Order) -> list[StaffAct]:
    return list(StaffAct.objects.filter(order_id=order.pk).order_by("at", "id")[:_MOST])


def _of_the_order(order: Order) -> list[Moment]:
    marks = [
        (order.placed_at, "placed", ""),
        (order.closing_since, f"being given up: {order.closing_reason}", order.closing_by),
        (order.paid_at, "paid", ""),
        (order.fulfilled_at, "fulfilled", ""),
        (order.closed_at, f"ended: {order.status}", ""),
    ]
    return [Moment(at, f"Order {what}", who) for at, what, who in marks if at is not None]


def _of_its_money(order: Order) -> list[Moment]:
    return [
        Moment(one.at, _moved(one.kind, one.from_state, one.to_state), one.actor or one.asked_by, one.note)
        for one in order.payment_events.exclude(kind__startswith="call").order_by("id")[:_MOST]
    ]


def _moved(kind: str, from_state: str, to_state: str) -> str:
    words = f"Payment {kind}"
    if to_state:
        words += f": {from_state or 'nothing'} → {to_state}"
    return words


def _of_its_mails(order: Order) -> list[Moment]:
    return [Moment(mail.sent_at, f"Mail sent: {mail.kind}") for mail in order.mails.all() if mail.sent_at is not None]


def _of_staff(act: StaffAct) -> Moment:
    return Moment(act.at, f"Staff: {act.act}, {act.subject}", act.actor_name, act.note)
