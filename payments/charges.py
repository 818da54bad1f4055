"""Charges: what Stripe took, one row each; which one pays the order; and the rows of refunds that give it back.

A charge gets its row from whoever meets the money first: settling, a list of refunds, or the sweep.
"""

from typing import Any

from django.db.models import QuerySet

from orders.models import Order
from payments.gateways.base import Intent, SeenCharge
from payments.models import Charge, Payment, Refund, refund_id, refund_key


def note_charge(order: Order, intent: Intent) -> None:
    """Write down the money that this intent took, once, if Stripe has named its charge. One INSERT."""
    if not intent.charge_id:
        return
    card = intent.charge
    _note(
        intent.charge_id,
        order,
        intent_id=intent.id,
        captured_minor=intent.received_minor,
        currency=intent.currency,
        card_brand=card.brand if card else "",
        card_last4=card.last4 if card else "",
    )


def charge_of_intent(order: Order, intent: Intent) -> Charge | None:
    """The row of the money that this intent took; None if Stripe did not name its charge."""
    note_charge(order, intent)
    return Charge.objects.filter(pk=intent.charge_id).first()


def charge_as_seen(order: Order, seen: SeenCharge) -> Charge:
    """The row of a charge that a list or a look has shown."""
    _note(
        seen.id,
        order,
        intent_id=seen.intent_id,
        captured_minor=seen.captured_minor,
        currency=seen.currency,
        card_brand=seen.brand,
        card_last4=seen.last4,
    )
    return Charge.objects.get(pk=seen.id)


def credited_charge(payment: Payment) -> Charge | None:
    """The charge that pays the order; None while nothing does."""
    if not payment.charge_id or not payment.captured_minor:
        return None
    if (found := Charge.objects.filter(pk=payment.charge_id).first()) is not None:
        return found
    _note(
        payment.charge_id,
        payment.order,
        intent_id=payment.intent_id or "",
        captured_minor=payment.captured_minor,
        currency=payment.currency,
        card_brand=payment.card_brand,
        card_last4=payment.card_last4,
    )
    return Charge.objects.get(pk=payment.charge_id)


def other_charges(payment: Payment) -> QuerySet[Charge]:
    """Charges of the payment's order that are not credited to it."""
    return Charge.objects.filter(order=payment.order_id).exclude(pk=payment.charge_id or "")


def payments_of_charges(charge_ids: list[str]) -> dict[str, Payment]:
    """By charge, the payment of its order that was paid: under its lock the refunds of a second charge are written."""
    charges = Charge.objects.filter(pk__in=[one for one in charge_ids if one])
    orders = dict(charges.values_list("pk", "order_id"))
    paid = Payment.objects.filter(order_id__in=orders.values(), phase=Payment.Phase.SUCCEEDED).select_related("order")
    by_order = {payment.order_id: payment for payment in paid}
    return {charge: by_order[order] for charge, order in orders.items() if order in by_order}


def standing_charge(order: Order, payment: Payment) -> Charge | None:
    """Another charge of the order that could pay it: of its very total, and nothing of it gone back or on its way."""
    equal = other_charges(payment).filter(captured_minor=order.total_minor, currency=order.currency)
    return next((one for one in equal if one.left_minor == one.captured_minor), None)


def new_refund(payment: Payment, charge: Charge, key: str, amount_minor: int, reason: str, **columns: object) -> Refund:
    """The row, with the exact call that it will make. In the transaction that holds order and payment.

    The database refuses what would give back more than the charge took (refunds_stay_within_their_charge).
    """
    pk = refund_id(payment.pk, key)
    return Refund.objects.create(
        id=pk,
        payment=payment,
        charge=charge,
        idempotency_key=key,
        amount_minor=amount_minor,
        currency=charge.currency,
        reason=reason,
        phase=Refund.Phase.CONFIRMING,
        gateway_key=refund_key(payment.env, pk, 0),
        params={
            "charge": charge.pk,
            "amount": amount_minor,
            "reason": reason,
            "metadata": {"order": payment.order_id, "payment": payment.pk, "refund": pk, "env": payment.env},
        },
        **{"fingerprint": "", **columns},
    )


def _note(charge_id: str, order: Order, **columns: Any) -> None:
    Charge.objects.bulk_create([Charge(pk=charge_id, order_id=order.pk, **columns)], ignore_conflicts=True)
