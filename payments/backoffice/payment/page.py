"""What the page of one payment shows: its state in words, its amounts, what is open, and the whole story (ST1, ST2)."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from orders.models import Order
from orders.personal import email_for, text_for
from payments.backoffice.actions.available import offers
from payments.backoffice.inquiry.statement import next_look_text, what_comes_next
from payments.backoffice.payment.past import Past, past_in_words, past_of
from payments.backoffice.payment.timeline import moment_of, story_of
from payments.models import Attempt, Break, Dispute, Outcome, Payment, Refund
from payments.monitoring.alarms import age_text, break_page
from payments.refund import left_to_refund, withheld_minor
from shop.money import money_text

NOT_DECIDED = ("", Refund.Outcome.UNKNOWN, Refund.Outcome.PENDING)


def payment_page(request: HttpRequest, payment: Payment) -> dict[str, Any]:
    """The context of templates/admin/payments/payment/change_form.html."""
    order = payment.order
    payments = list(order.payments.order_by("n"))
    attempts = list(Attempt.objects.filter(order=order).order_by("-number")[:100])
    money_only = request.GET.get("show") == "money"
    story = story_of(
        order,
        payments,
        moment_of(request.GET.get("until", "")),
        money_only=money_only,
        addresses=request.user.has_perm("shop.view_staffact"),
    )
    past = past_of([order.pk])[order.pk]
    return {
        "title": f"Payment of order {order.number}",
        "subtitle": None,
        "payment": payment,
        "order": order,
        "state": state_in_words(order, payment, attempts, past),
        "email": email_for(request.user, order.email),
        "shopper_name": text_for(request.user, order.name),
        "card": f"{payment.card_brand} ending in {payment.card_last4}" if payment.card_last4 else "",
        "amounts": amounts(payment, attempts),
        "refunds": [(one, refund_state(one)) for one in _refunds(payment)],
        "at_stripe": [(name, one, stripe_page(one)) for name, one in _gateway_ids(payment)],
        "other_payments": [one for one in payments if one.pk != payment.pk],
        "offers": sorted(offers(order, request.user), key=lambda offer: offer.why_not != ""),
        "disputes": list(Dispute.objects.filter(payment__in=payments).undecided().select_related("payment")),
        "breaks": [_shown(found) for found in _open_breaks(order)],
        "story": story,
        "money_only": money_only,
        "whole_link": _link(),
        "money_link": _link(show="money"),
        "older_link": story.older and _link(show="money" if money_only else "", until=story.older.isoformat()),
        "newest_link": _link(show="money" if money_only else "") if "until" in request.GET else "",
    }


def _link(**query: str) -> str:
    return f"?{urlencode({name: value for name, value in query.items() if value})}"


def _gateway_ids(payment: Payment) -> list[tuple[str, str]]:
    return [(name, one) for name, one in (("Intent", payment.intent_id), ("Charge", payment.charge_id)) if one]


def stripe_page(gateway_id: str) -> str:
    """Where Stripe shows it to staff."""
    return settings.STRIPE_PAYMENT_PAGE.format(id=gateway_id)


def at_stripe(found: Break) -> str:
    """Where Stripe shows the payment that a break is about; empty where none is named."""
    named = [found.evidence.get("intent"), found.subject, found.evidence.get("charge")]
    ids = [str(one) for one in named if str(one).startswith(("pi_", "ch_", "py_"))]
    return stripe_page(ids[0]) if ids else ""


def state_in_words(order: Order, payment: Payment, attempts: list[Attempt], past: Past) -> str:
    """What is so of the order's money. An outcome that is not known is said to be so."""
    if payment.is_over and not order.is_closed:
        return f"This payment is {payment.phase}: it can never charge. The order's state is told by its newest payment."
    if order.is_closing:
        return f"Being given up ({order.closing_reason}, wished by {order.closing_by}). Stripe has the last word."
    if order.is_paid:
        back = f", and {money_text(payment.refunded_minor, payment.currency)} has gone back"
        paid = f"{order.get_status_display()}{back if payment.refunded_minor else ''}."
        paid = "Paid, and all of it has gone back." if order.status == Order.Status.REFUNDED else paid
        return f"{paid} {past_in_words(past)}".strip()
    if payment.captured_minor and payment.refunded_minor == payment.captured_minor:
        return f"The order is {order.status}. Money came all the same, and all of it has gone back."
    if payment.captured_minor:
        return f"The order is {order.status}, and Stripe has this money all the same."
    if order.is_closed:
        return f"{order.get_status_display()}. Stripe took no money for it, as far as its book has been read."
    return _open_in_words(attempts)


def _open_in_words(attempts: list[Attempt]) -> str:
    live = next((attempt for attempt in attempts if attempt.is_live), None)
    if live is None:
        if not attempts:
            return "Waits to be paid: nobody has pressed Pay yet."
        return f"Waits to be paid: the last press came to {attempts[0].outcome}."
    words = {
        Outcome.UNKNOWN: "Stripe has not said yet whether it charged. We go on asking until it says.",
        Outcome.PROCESSING: "the bank is working on it.",
        Outcome.REQUIRES_ACTION: "the bank waits for the shopper (3-D Secure).",
    }
    if live.outcome in words:
        after = next_look_text(live) if live.outcome == Outcome.PROCESSING else what_comes_next(live)
        return (
            f"Not decided: press {live.number}: {words[Outcome(live.outcome)]} {after}".strip().removesuffix(".") + "."
        )
    return f"Press {live.number} is being worked on right now."


def amounts(payment: Payment, attempts: list[Attempt]) -> list[tuple[str, str, str]]:
    """Name, amount, and a word about it. Capture is automatic, so what was authorised was captured with it."""
    captured, currency = payment.captured_minor, payment.currency
    undecided = any(
        one.payment_id == payment.pk and one.is_live and one.outcome != Outcome.SUCCEEDED for one in attempts
    )
    going_back = payment.refunds.filter(charge=payment.charge_id, outcome__in=NOT_DECIDED).total_minor()
    rows = [
        ("Asked for", payment.amount_minor, "the order's total"),
        ("Authorised", captured, "captured in the same step"),
        ("Captured", captured, ""),
        ("Not decided", payment.amount_minor if undecided else 0, "a press that may still charge" if undecided else ""),
        ("Refunded", payment.refunded_minor, ""),
        ("Refunds not decided", going_back, "pending or unknown" if going_back else ""),
        ("Disputed", withheld_minor(payment), "held or taken back by the shopper's bank"),
        ("Left to refund", left_to_refund(payment), ""),
    ]
    return [
        (name, money_text(amount_minor, currency), word if amount_minor else "") for name, amount_minor, word in rows
    ]


def _refunds(payment: Payment) -> list[Refund]:
    return list(payment.refunds.select_related("actor", "payment").order_by("created_at")[:50])


def refund_state(refund: Refund) -> str:
    words = {
        Refund.Outcome.SUCCEEDED: "gone back",
        Refund.Outcome.PENDING: "on its way",
        Refund.Outcome.UNKNOWN: "not known yet",
        Refund.Outcome.FAILED: "did not arrive",
        Refund.Outcome.CANCELED: "canceled, nothing goes back",
    }
    said = words[Refund.Outcome(refund.outcome)] if refund.outcome else "being asked for"
    return said if refund.is_of_credited_charge else f"{said}; of {refund.charge_id}, which does not pay the order"


def _open_breaks(order: Order) -> list[Break]:
    return list(order.breaks.filter(resolved_at=None).select_related("owner").order_by("found_at")[:50])


def _shown(found: Break) -> dict[str, Any]:
    return {
        "name": found.get_kind_display(),
        "subject": found.subject,
        "amount": found.amount_text,
        "age": age_text(timezone.now() - found.found_at),
        "proposal": found.proposal,
        "owner": str(found.owner or ""),
        "link": reverse("admin:payments_break_change", args=[found.pk]),
        "runbook": _runbook(found),
    }


def _runbook(found: Break) -> str:
    return reverse("desk:runbook-page", args=[break_page(found.kind, found.found_by)])
