"""Breaks: what the sweep found different between Stripe's book and our rows, and when it is gone again.

`settle.raise_break` opens those that settling itself meets. One finding is one open row, however often it is found.
"""

from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from orders.goods import BREAK_OF_GOODS
from orders.models import Order
from payments.charges import charge_as_seen
from payments.gateways.base import SeenCharge
from payments.models import (
    Break,
    Charge,
    Payment,
    Refund,
)
from shop.acts import Act, Snapshot, witnessed
from shop.money import money_text

# Of these kinds, a look at Stripe and at our rows says whether they are gone, whoever opened them.
PLAIN = (
    Break.Kind.MISSING_LOCAL,
    Break.Kind.MISSING_GATEWAY,
    Break.Kind.AMOUNT,
    Break.Kind.DOUBLE_CHARGE,
    Break.Kind.ORPHAN_REFUND,
)
# Who found a break (`evidence["found_by"]`), where a rule of ours says when it is gone.
BY_SWEEP = "sweep"
BY_BOOKS = "books"  # our own rows contradict each other; the break's subject is the order, or the product's sku
BY_CREATE = "create"  # pay: Stripe knows a create key that our rows do not, and nobody finds its intent
LATE_MONEY = "late money"  # settle: it came after the order was given up, and goes back by itself
REFUND_FAILED = "refund"  # refund: it failed, perhaps after it had succeeded
GOODS = BREAK_OF_GOODS  # refund: the order is paid again, and its goods were sold meanwhile


@dataclass(frozen=True)
class Difference:
    """Something of Stripe's book that does not match our rows, not written down yet.

    Attributes:
        subject: the intent, charge or refund that it is about.
        amount_minor, currency: None and "" where it is not about money.
        proposal: what staff could do, in words.
        charge: the money to give back, as Stripe shows it, if that is what it is about.
        says: what of the evidence must be the same too for the finding to be the one that a person has accepted.
    """

    kind: Break.Kind
    subject: str
    order: Order | None
    payment: Payment | None
    amount_minor: int | None
    currency: str
    proposal: str
    evidence: dict[str, object] = field(default_factory=dict)
    charge: SeenCharge | None = None
    says: dict[str, object] = field(default_factory=dict)

    def as_break(self) -> Break:
        return Break(
            kind=self.kind,
            subject=self.subject,
            order=self.order,
            payment=self.payment,
            amount_minor=self.amount_minor,
            currency=self.currency,
            evidence={"found_by": BY_SWEEP, "proposal": self.proposal, **self.evidence, **self.says},
        )


def missing_at_gateway(payment: Payment) -> Difference:
    """A payment of ours, paid or still open, of an intent that Stripe does not know."""
    assert payment.intent_id is not None
    paid = payment.phase == Payment.Phase.SUCCEEDED
    proposal = (
        "Stripe does not have this intent: is it another account's, or did the row come from elsewhere?"
        if paid
        else "Stripe does not know this open payment: was the key or the account changed? Put the right key back. If"
        " there is none, look for the money in the old account, and end the payment here."
    )
    return Difference(
        kind=Break.Kind.MISSING_GATEWAY,
        subject=payment.intent_id,
        order=payment.order,
        payment=payment,
        amount_minor=payment.captured_minor if paid else payment.amount_minor,
        currency=payment.currency,
        proposal=proposal,
        evidence={"intent": payment.intent_id, "charge": payment.charge_id or ""},
    )


def open_break(difference: Difference) -> Break:
    """The break of this finding: a new one, the one that has been open since an earlier sweep, or the one that a person
    has resolved as it is: while it says the same, it stays resolved."""
    accepted = Break.objects.filter(
        kind=difference.kind,
        subject=difference.subject,
        amount_minor=difference.amount_minor,
        accepted=True,
        evidence__contains=difference.says,
    ).first()
    if accepted is not None:
        return accepted
    row = difference.as_break()
    if difference.order is not None and difference.charge is not None:
        row.charge = charge_as_seen(difference.order, difference.charge)
    Break.objects.bulk_create([row], ignore_conflicts=True)
    return Break.objects.filter(kind=difference.kind, subject=difference.subject).latest("found_at")


def resolve_break(break_id: int, note: str, act: Act) -> bool:
    """A person has looked into it, and says in the note what became of it. Whether it was still open.

    Raises:
        DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        found = Break.objects.select_for_update(no_key=True, of=("self",)).get(pk=break_id)
        with witnessed(act):
            if found.resolved_at is not None:
                return False
            found.resolved_at, found.resolved_by, found.note = timezone.now(), act.who.name, note[:400]
            found.accepted = True
            found.save(update_fields=["resolved_at", "resolved_by", "note", "accepted"])
    return True


def take_on_break(break_id: int, act: Act) -> None:
    """Whoever asks looks into it from now on."""
    with transaction.atomic(durable=True):
        Break.objects.select_for_update(no_key=True, of=("self",)).get(pk=break_id)
        with witnessed(act):
            Break.objects.filter(pk=break_id).update(owner_id=act.who.user.pk)


def break_snapshot(break_id: int) -> Snapshot:
    """What an act on a break is about, for its audit row and its form's version."""
    found = Break.objects.select_related("owner").get(pk=break_id)
    return {
        "open": found.resolved_at is None,
        "resolved_by": found.resolved_by,
        "note": found.note,
        "owner": str(found.owner or ""),
        "refunds": {
            row.pk: [row.outcome or row.phase, row.amount_minor]
            for row in Refund.objects.filter(charge=found.charge_id).order_by("created_at")
        },
    }


def money_elsewhere(order: Order) -> QuerySet[Break]:
    """Open breaks that say: Stripe took money for this order, and not by a payment of ours that counts. While there is
    one, no new payment of the order is opened; it would be a second charge."""
    kinds = (Break.Kind.MISSING_LOCAL, Break.Kind.STATUS, Break.Kind.AMOUNT)
    return Break.objects.filter(order=order, kind__in=kinds, resolved_at=None)


def resolve_breaks(subjects: list[str], kinds: list[Break.Kind], by: str, note: str = "") -> int:
    """Close the open breaks of these kinds about these intents, charges or refunds: what they say is gone. How many."""
    found = Break.objects.filter(resolved_at=None, subject__in=subjects, kind__in=kinds)
    return found.update(resolved_at=timezone.now(), resolved_by=by, note=note)


def raise_to_give_back(order: Order, payment: Payment, charge: Charge) -> None:
    """A charge that does not pay the order stands: staff give it back, and so it must be on their list.

    A second charge where the order is paid by another one; else another amount than the order's, whose break is about
    its intent, for that is what the press waits for.
    """
    good = Payment.objects.filter(order=order, phase=Payment.Phase.SUCCEEDED).first()
    text = money_text(charge.left_minor, charge.currency)
    evidence: dict[str, object] = {"intent": charge.intent_id, "charge": charge.pk, "last4": charge.card_last4}
    if good is not None:
        kind, subject, owner = Break.Kind.DOUBLE_CHARGE, charge.pk, good
        evidence |= {"good_intent": good.intent_id, "good_charge": good.charge_id}
        proposal = f"Give {text} back: the charge to refund is {charge.pk}, never {good.charge_id}."
    else:
        kind, subject, owner = Break.Kind.AMOUNT, charge.intent_id or charge.pk, payment
        evidence |= {"received": charge.captured_minor, "currency": charge.currency}
        proposal = f"Give {text} back: Stripe took that, and not {order.total_text}."
    found_by = {"found_by": BY_SWEEP} if good is not None else {}
    Break.objects.bulk_create(
        [
            Break(
                kind=kind,
                subject=subject,
                order=order,
                payment=owner,
                charge=charge,
                amount_minor=charge.left_minor,
                currency=charge.currency,
                evidence={**found_by, "proposal": proposal, **evidence},
            )
        ],
        ignore_conflicts=True,
    )


def resolve_given_back(charge: Charge) -> None:
    """All of a charge that pays no order has gone back. In the transaction that knows it."""
    about = Break.objects.filter(
        charge=charge, kind__in=[Break.Kind.DOUBLE_CHARGE, Break.Kind.AMOUNT], resolved_at=None
    )
    about.update(resolved_at=timezone.now(), resolved_by="refund", note="all of it has gone back")


def resolve_given_up(payment: Payment, by: str, reason: str) -> None:
    """Staff have ended a payment that Stripe does not know. In the transaction that ends it."""
    found = Break.objects.filter(payment=payment, resolved_at=None).filter(
        Q(kind=Break.Kind.MISSING_GATEWAY) | Q(kind=Break.Kind.MISSING_LOCAL, evidence__found_by=BY_CREATE)
    )
    found.update(resolved_at=timezone.now(), resolved_by=by, note=reason[:400], accepted=True)


def resolve_repaid(payment: Payment) -> None:
    """All of a payment's money has gone back: late money is where it belongs, a refund that failed was made good, and
    its order needs no goods.

    In the transaction that knows it. A refund that fails afterwards opens a break of its own.
    """
    repaid = Break.objects.filter(payment=payment, kind=Break.Kind.STATUS, resolved_at=None)
    repaid.filter(evidence__found_by__in=[LATE_MONEY, REFUND_FAILED, GOODS]).update(
        resolved_at=timezone.now(), resolved_by="refund", note="all of the money has gone back"
    )


def raise_break(
    kind: Break.Kind,
    subject: str,
    order: Order | None,
    payment: Payment | None,
    amount_minor: int | None,
    evidence: dict[str, object],
) -> None:
    """Open a break for staff, unless the same one is open."""
    Break.objects.bulk_create(
        [
            Break(
                kind=kind,
                subject=subject,
                order=order,
                payment=payment,
                amount_minor=amount_minor,
                currency=payment.currency if payment else "",
                evidence=evidence,
            )
        ],
        ignore_conflicts=True,
    )
