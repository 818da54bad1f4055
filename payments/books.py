"""Books: is every paid order paid, by our own rows? Settling asserts it; this finds what was written past settling.

`paid` means: its payment succeeded, with the order's total captured, in the order's currency (DESIGN section 4). Asked
of the database alone, once a day, so it also works while Stripe does not answer; the sweep asks Stripe's book.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from orders.models import Order
from payments.breaks import BY_BOOKS, Difference, open_break
from payments.models import Break, Payment
from shop.money import money_text

log = structlog.get_logger(__name__)

_FOUND_AT_MOST = 1000  # in one round; more than this is one finding, and no list is needed to see it


@dataclass
class Checked:
    """What a round found, and how many breaks it opened or resolved."""

    found: list[Difference] = field(default_factory=list)
    changed: int = 0


def check_books(*, dry_run: bool = False) -> Checked:
    """Open a break for each paid order that is not, and resolve those of an earlier round that are gone."""
    checked = Checked(found=list(_differences()))
    if dry_run:
        return checked
    was_open = {(found.kind, found.subject) for found in _open_breaks()}
    for difference in checked.found:
        found = open_break(difference)
        if found.resolved_at is None and (found.kind, found.subject) not in was_open:
            checked.changed += 1
            log.error("books_differ", order=difference.subject, proposal=difference.proposal)
    if len(checked.found) < _FOUND_AT_MOST:  # else there are more, and absence proves nothing
        checked.changed += _resolve_gone({(one.kind.value, one.subject) for one in checked.found})
    return checked


def _open_breaks() -> QuerySet[Break]:
    return Break.objects.filter(resolved_at=None, evidence__found_by=BY_BOOKS)


def _resolve_gone(still: set[tuple[str, str]]) -> int:
    """How many."""
    gone = [found.pk for found in _open_breaks() if (found.kind, found.subject) not in still]
    return Break.objects.filter(pk__in=gone, resolved_at=None).update(
        resolved_at=timezone.now(), resolved_by=BY_BOOKS, note="a later round found it gone"
    )


def _not_really_paid() -> QuerySet[Order]:
    good = Payment.objects.filter(
        order=OuterRef("pk"),
        phase=Payment.Phase.SUCCEEDED,
        captured_minor=OuterRef("total_minor"),
        currency=OuterRef("currency"),
    )
    return Order.objects.filter(status__in=Order.PAID).exclude(Exists(good))


def _differences() -> Iterator[Difference]:
    for order in _not_really_paid().order_by("-placed_at")[:_FOUND_AT_MOST]:
        taken = order.payments.filter(phase=Payment.Phase.SUCCEEDED).first()
        yield _amount(order, taken) if taken else _status(order)


def _amount(order: Order, taken: Payment) -> Difference:
    captured = money_text(taken.captured_minor, taken.currency)
    proposal = (
        f"The order is {order.status}, and costs {order.total_text}; its payment took {captured}: find out who wrote"
        " these rows before the goods go out."
    )
    return _difference(Break.Kind.AMOUNT, order, taken, (taken.captured_minor, taken.currency), proposal)


def _status(order: Order) -> Difference:
    newest = order.payments.order_by("-n").first()
    phase = newest.phase if newest else "not there"
    proposal = f"The order is {order.status}, and its payment is {phase}: ask Stripe before the goods go out."
    return _difference(Break.Kind.STATUS, order, newest, (order.total_minor, order.currency), proposal)


def _difference(
    kind: Break.Kind, order: Order, payment: Payment | None, amount: tuple[int, str], proposal: str
) -> Difference:
    """Its subject is the order: the sweep, which knows intents and charges, leaves it alone."""
    amount_minor, currency = amount
    evidence: dict[str, object] = {"found_by": BY_BOOKS, "intent": (payment.intent_id or "") if payment else ""}
    return Difference(
        kind=kind,
        subject=order.pk,
        order=order,
        payment=payment,
        amount_minor=amount_minor,
        currency=currency,
        proposal=proposal,
        evidence=evidence,
    )
