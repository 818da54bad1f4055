"""Duplicates: a second charge of one order. Found by the sweep; refunded once, by staff or by the setting (RULES R89).

No row of ours asked for that charge, so none can be its refund's: the open break is. It carries the exact call, whose
gateway key comes from the charge alone, and names no amount: all that is left of that charge goes back. However often
the sweep and staff run it, together or years apart, Stripe moves the money once and refuses the rest.
"""

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from orders.models import Order
from payments.breaks import Difference, prepared_refund
from payments.errors import Invalid
from payments.gateways.base import Call, SeenCharge, SeenRefund, gateway
from payments.gateways.transport import Deadline
from payments.models import Asker, Break, Payment, PaymentEvent
from payments.row_lock import give_back_connections
from payments.settle import called
from payments.stopped import count_replay
from shop.acts import Act, witnessed
from shop.money import money_text

log = structlog.get_logger(__name__)


def double_charge(charge: SeenCharge, order: Order, good: Payment) -> Difference | None:
    """The difference that a second charge is; None once all of it has gone back, whoever did that."""
    left = charge.captured_minor - charge.refunded_minor
    if left <= 0:
        return None
    if charge.id == good.charge_id:
        raise AssertionError(f"Bug! {charge.id} is the good charge of {good}.")
    text = money_text(left, charge.currency)
    return Difference(
        kind=Break.Kind.DOUBLE_CHARGE,
        subject=charge.id,
        order=order,
        payment=good,
        amount_minor=left,
        currency=charge.currency,
        proposal=f"Give {text} back: the prepared refund is of {charge.id}, never of {good.charge_id}.",
        evidence={
            "intent": charge.intent_id,
            "good_intent": good.intent_id,
            "good_charge": good.charge_id,
            "prepared_refund": prepared_refund(
                "dup", charge.id, order, good, reason="duplicate", metadata={"duplicate_of": good.charge_id or ""}
            ),
        },
    )


def refund_duplicate(
    found: Break, asked_by: Asker = Asker.STAFF, actor: str = "", act: Act | None = None
) -> SeenRefund | None:
    """Carry the prepared refund of a double charge out, or learn that it was; None if there is nothing left to do.

    Raises:
        GatewayError: Stripe has not said yes. Running it again is safe, whatever became of this call.
        DoneAlready, StaleForm: of the act of staff that it is.
    """
    claimed = claim_prepared(found.pk, Break.Kind.DOUBLE_CHARGE, actor or asked_by, act)
    if claimed is None:
        return None
    seen = carry_out_prepared(claimed, asked_by, actor, "duplicate refunded")
    if seen is None or seen.status == "succeeded":
        done = {"resolved_at": timezone.now(), "resolved_by": (actor or asked_by)[:80]}
        Break.objects.filter(pk=found.pk, resolved_at=None).update(note="the duplicate was refunded", **done)
    return seen


def carry_out_prepared(found: Break, asked_by: Asker, actor: str, told: str) -> SeenRefund | None:
    """The prepared call of a break; None if all of that charge has gone back. What came of it is written on the break,
    and the order's story calls it `told`.

    Raises:
        GatewayError: Stripe has not said yes. Running it again is safe, whatever became of this call.
    """
    prepared = found.evidence["prepared_refund"]
    calls: list[Call] = []
    give_back_connections()
    seen: SeenRefund | None = None
    try:
        deadline = Deadline(settings.CONFIRM_TIMEOUT.total_seconds())
        seen = gateway().create_refund(prepared["params"], prepared["key"], deadline, calls)
        count_replay(found.order_id or "", calls)
    except Invalid as error:
        if error.code != "charge_already_refunded":
            raise
    finally:
        _tell(found, seen, calls, asked_by, actor, told)
    _note(found, seen, told)
    return seen


def claim_prepared(break_id: int, kind: Break.Kind, by: str, act: Act | None) -> Break | None:
    """Write down on the break that its refund is asked for, and with it the act; None if it is resolved already.

    Two people who saw the same page: for the second the break is no longer as he saw it. Whoever died here has changed
    nothing: the call can be made again.
    """
    with transaction.atomic(durable=True):
        found = Break.objects.select_for_update(no_key=True, of=("self",)).get(pk=break_id)
        if found.kind != kind or "prepared_refund" not in found.evidence:
            raise ValueError(f"no refund is prepared for {found}")
        with witnessed(act):
            if found.resolved_at is not None:
                return None
            _refuse_good_charge(found.evidence["prepared_refund"]["params"]["charge"])
            found.evidence = {**found.evidence, "refund": {"status": "asked for", "by": by[:80]}}
            found.save(update_fields=["evidence"])
    return found


def _refuse_good_charge(charge_id: str) -> None:
    if Payment.objects.filter(charge_id=charge_id).exists():
        raise AssertionError(f"Bug! {charge_id} is a charge that a payment of ours names: it is no duplicate.")


def _note(found: Break, seen: SeenRefund | None, told: str) -> None:
    outcome = (
        {"id": seen.id, "status": seen.status, "amount": seen.amount_minor} if seen else {"status": "was refunded"}
    )
    found.evidence = {**found.evidence, "refund": outcome}
    Break.objects.filter(pk=found.pk).update(evidence=found.evidence)
    log.warning(told.replace(" ", "_"), subject=found.subject, order=found.order_id, refund=outcome)


def _tell(found: Break, seen: SeenRefund | None, calls: list[Call], asked_by: Asker, actor: str, told: str) -> None:
    """The order's story: every call, whatever came of it."""
    if found.order is None or found.payment is None:
        return
    events = [called(call, found.order, found.payment, None, asked_by, actor) for call in calls]
    if seen is not None:
        events.append(
            PaymentEvent(
                order=found.order,
                payment=found.payment,
                kind=told,
                to_state=seen.status,
                asked_by=asked_by,
                actor=actor,
                note=f"{money_text(seen.amount_minor, seen.currency)} of {found.subject}, {seen.id}"[:200],
            )
        )
    PaymentEvent.objects.bulk_create(events)
