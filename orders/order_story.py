"""An order's story for staff: what moved and when, of the order, its money, its mails and what staff did to it."""

import datetime
from dataclasses import dataclass
from typing import NamedTuple

from orders.models import Mail, Order
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
    moments = [*_of_the_order(order), *_of_its_money(order), *_of_its_mails(order, acts), *map(_of_staff, acts)]
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
    """`order ended` and `late money` are about the order itself (payments/outcome.py)."""
    states = f"{from_state or 'nothing'} → {to_state}"
    if kind == "order ended":
        return f"Order {states}"
    if kind == "late money":
        return (
            f"Late money: order {states}" if from_state != to_state else f"Late money: it goes back, order {to_state}"
        )
    return f"Payment {kind}: {states}" if to_state else f"Payment {kind}"


def _of_its_mails(order: Order, acts: list[StaffAct]) -> list[Moment]:
    sent = {(mail.sent_at, mail.kind) for mail in order.mails.all() if mail.sent_at is not None}
    sent |= {(sending.at, sending.kind) for sending in earlier_sendings(acts)}
    labels = dict(Mail.Kind.choices)
    return [Moment(at, f"Mail sent: {labels.get(kind, kind)}") for at, kind in sorted(sent)]


class Sending(NamedTuple):
    at: datetime.datetime
    kind: str


def earlier_sendings(acts: list[StaffAct]) -> list[Sending]:
    """When a mail had gone out before somebody of staff sent it again: its row has forgotten it, the act has not."""
    again = [act for act in acts if "mail" in act.before and act.before != act.after]  # not those that were refused
    mails = [act.before for act in again if act.before.get("sent_at")]
    found = {Sending(datetime.datetime.fromisoformat(one["sent_at"]), one["mail"]) for one in mails}
    return sorted(found)


def _of_staff(act: StaffAct) -> Moment:
    return Moment(act.at, f"Staff: {act.act}, {act.subject}", act.actor_name, act.note)
