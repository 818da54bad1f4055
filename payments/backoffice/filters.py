"""Filters of the payment list: what staff look for at night (EXPERIENCE ST8). Each starts from the few rows it wants.

Stripe's money that no payment of ours stands for is a break without a payment: the list of breaks has those as well.
"""

import datetime
from collections.abc import Callable

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from orders.models import Order
from payments.models import NOT_GIVEN, Attempt, Break, Dispute, Outcome, Payment, Refund

STUCK_AFTER = datetime.timedelta(minutes=10)


class StateFilter(admin.SimpleListFilter):
    title = "what is wrong"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Payment]) -> list[tuple[str, str]]:
        return [
            ("unknown", "not known"),
            ("stuck", "undecided for 10 minutes"),
            ("paid-but-pending", "paid, and the order is pending"),
            ("charged-without-order", "charged with no order"),
            ("two-charges", "two charges"),
            ("amount-differs", "amount differs"),
            ("refund-pending", "refund pending"),
            ("refund-failed", "refund that did not arrive"),
            ("disputed", "disputed"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Payment]) -> QuerySet[Payment]:
        wanted = _WANTED.get(self.value() or "")
        return queryset.filter(wanted()) if wanted else queryset


def _of_attempts(**columns: object) -> Q:
    open_ones = Attempt.objects.exclude(phase=Attempt.Phase.FINISHED).filter(**columns)
    return Q(pk__in=open_ones.values("payment"))


def _of_breaks(*kinds: Break.Kind) -> Q:
    open_ones = Break.objects.filter(resolved_at=None, kind__in=kinds)
    return Q(pk__in=open_ones.values("payment")) | Q(order__in=open_ones.values("order"))


def _of_refunds(refunds: QuerySet[Refund]) -> Q:
    return Q(pk__in=refunds.values("payment"))


def _paid_but_pending() -> Q:
    money_is_here = Q(phase=Payment.Phase.SUCCEEDED) | _of_breaks(Break.Kind.STATUS, Break.Kind.AMOUNT)
    return Q(order__status=Order.Status.PENDING) & money_is_here


_WANTED: dict[str, Callable[[], Q]] = {
    "unknown": lambda: _of_attempts(outcome=Outcome.UNKNOWN),
    "stuck": lambda: _of_attempts(claimed_at__lt=timezone.now() - STUCK_AFTER),
    "paid-but-pending": _paid_but_pending,
    "charged-without-order": lambda: _of_breaks(Break.Kind.MISSING_LOCAL),
    "two-charges": lambda: _of_breaks(Break.Kind.DOUBLE_CHARGE),
    "amount-differs": lambda: _of_breaks(Break.Kind.AMOUNT),
    "refund-pending": lambda: _of_refunds(Refund.objects.exclude(phase=Refund.Phase.FINISHED)),
    "refund-failed": lambda: _of_refunds(Refund.objects.filter(outcome__in=NOT_GIVEN)),
    "disputed": lambda: Q(pk__in=Dispute.objects.withholding().values("payment")),
}
