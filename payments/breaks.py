"""Breaks: what the sweep found different between Stripe's book and our rows, and when it is gone again.

`settle.raise_break` opens those that settling itself meets. One finding is one open row, however often it is found.
"""

from dataclasses import dataclass, field

from django.utils import timezone

from orders.models import Order
from payments.models import Break, Payment

# Of these kinds, a look at Stripe and at our rows says whether they are gone, whoever opened them.
PLAIN = (
    Break.Kind.MISSING_LOCAL,
    Break.Kind.MISSING_GATEWAY,
    Break.Kind.AMOUNT,
    Break.Kind.DOUBLE_CHARGE,
    Break.Kind.ORPHAN_REFUND,
)
BY_SWEEP = "sweep"


@dataclass(frozen=True)
class Difference:
    """Something of Stripe's book that does not match our rows, not written down yet.

    Attributes:
        subject: the intent, charge or refund that it is about.
        proposal: what staff could do, in words.
    """

    kind: Break.Kind
    subject: str
    order: Order | None
    payment: Payment | None
    amount_minor: int
    currency: str
    proposal: str
    evidence: dict[str, object] = field(default_factory=dict)

    def as_break(self) -> Break:
        return Break(
            kind=self.kind,
            subject=self.subject,
            order=self.order,
            payment=self.payment,
            amount_minor=self.amount_minor,
            currency=self.currency,
            evidence={"found_by": BY_SWEEP, "proposal": self.proposal, **self.evidence},
        )


def open_break(difference: Difference) -> Break:
    """The open break of this finding: a new one, or the one that has been open since an earlier sweep."""
    Break.objects.bulk_create([difference.as_break()], ignore_conflicts=True)
    return Break.objects.filter(kind=difference.kind, subject=difference.subject).latest("found_at")


def resolve_breaks(subjects: list[str], kinds: list[Break.Kind], by: str, note: str = "") -> int:
    """Close the open breaks of these kinds about these intents, charges or refunds: what they say is gone. How many."""
    found = Break.objects.filter(resolved_at=None, subject__in=subjects, kind__in=kinds)
    return found.update(resolved_at=timezone.now(), resolved_by=by, note=note)
