"""History: the append-only record of an order's money. What moved is written in the transaction that moves it."""

from orders.models import Order
from payments.gateways.base import Call
from payments.models import (
    Asker,
    Attempt,
    Payment,
    PaymentEvent,
)


def tell_calls(payment: Payment, calls: list[Call], asked_by: Asker, actor: str = "") -> None:
    """Calls that settle nothing by themselves: an opening ahead of the click, a look at what goes back. Not the
    sweep's: of a difference that stays it looks every ten minutes, and says so once, in the break."""
    if asked_by != Asker.SWEEP:
        events = [called(call, payment.order, payment, None, asked_by, actor) for call in calls]
        PaymentEvent.objects.bulk_create(events)


def called(
    call: Call, order: Order, payment: Payment, attempt: Attempt | None, asked_by: Asker, actor: str
) -> PaymentEvent:
    """One exchange with the gateway, as an event of the order's story; not saved yet."""
    return PaymentEvent(
        order=order,
        payment=payment,
        attempt=attempt,
        kind=f"call:{call.operation}",
        asked_by=asked_by,
        actor=actor,
        gateway_key=call.gateway_key,
        request_id=call.request_id,
        http_status=call.http_status,
        milliseconds=call.milliseconds,
        note=call.note,
    )
