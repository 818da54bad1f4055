"""Offers: what staff can do about an order now, and of everything else why not, in plain words.

A page of an act asks the same question again under its own rows' state, and the core once more under the lock: an offer
that was shown is never a promise.
"""

from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from django.urls import reverse

from orders.mail_again import is_about_to_be_sent, is_being_sent, is_open, went_out_just_now
from orders.mail_truth import Say, what_to_say, why_never
from orders.models import Mail, Order
from payments.cancellation import Wish
from payments.models import Asker, Attempt, AttemptQuerySet, Break, Payment, RefundProposal, WebhookEvent
from payments.reconciliation.double_charges import why_not_give_back
from payments.reconciliation.missing import ends_here
from payments.refund import left_in_words, left_to_refund
from payments.refund_approvals import waiting_proposal
from shop.money import money_text
from shop.staff_pages import who_does_this

Viewer = User | AnonymousUser

_MOST_EVENTS = 5

# What each act needs; its page asks for the same (`staff_page`).
NEEDS = {
    "ask Stripe": "payments.reconcile_payment",
    "cancel at Stripe": "payments.reconcile_payment",
    "refund": "payments.refund_payment",
    "approve refund": "payments.refund_payment",
    "withdraw refund": "payments.refund_payment",
    "refund duplicate": "payments.refund_payment",
    "refund mismatch": "payments.refund_payment",
    "end missing": "payments.reconcile_payment",
    "cancel": "orders.cancel_order",
    "resolve break": "payments.resolve_break",
    "take on break": "payments.resolve_break",
    "replay webhook": "payments.replay_webhookevent",
    "send mail again": "orders.send_mail_again",
}


@dataclass(frozen=True)
class Offer:
    """One act. `why_not` is empty when it can be done now."""

    name: str
    label: str
    url: str
    why_not: str = ""


def offers(order: Order, viewer: Viewer) -> list[Offer]:
    """Every act about this order, the usual ones first."""
    newest = order.payments.select_related("order").order_by("-n").first()
    paid = order.payments.select_related("order").filter(captured_minor__gt=0).order_by("-n").first() or newest
    end = "Cancel at Stripe and take its answer"
    return [
        _offer(viewer, "ask Stripe", "Ask Stripe now", "ask-order", order.pk, why_not_ask(newest)),
        _offer(viewer, "cancel at Stripe", end, "cancel-at-stripe", order.pk, why_not_end(order)),
        *_refund_offers(paid, viewer),
        _offer(viewer, "cancel", "Cancel the order", "cancel-order", order.pk, why_not_cancel(order)),
        *_break_offers(order, viewer),
        *_event_offers(order, viewer),
        *_mail_offers(order, viewer),
    ]


def _offer(viewer: Viewer, name: str, label: str, page: str, subject: object, why_not: str) -> Offer:
    permission = NEEDS[name]
    if not viewer.has_perm(permission):
        why_not = who_does_this(permission)
    return Offer(name, label, reverse(f"desk:{page}", args=[subject]), why_not)


def _refund_offers(payment: Payment | None, viewer: Viewer) -> list[Offer]:
    if payment is None:
        return []
    made = [_offer(viewer, "refund", "Refund", "refund", payment.pk, why_not_refund(payment))]
    waiting = waiting_proposal(payment)
    if waiting is not None:
        text = money_text(waiting.amount_minor, waiting.currency)
        name, does = (
            ("withdraw refund", "Withdraw") if is_own(waiting, viewer) else ("approve refund", "Approve or refuse")
        )
        label = f"{does} the proposed refund of {text}"
        made.append(_offer(viewer, name, label, "decide-refund", waiting.pk, why_not_decide(waiting)))
    return made


def _break_offers(order: Order, viewer: Viewer) -> list[Offer]:
    made = []
    for found in order.breaks.filter(resolved_at=None).order_by("pk"):
        what = f"{found.get_kind_display()}, {found.subject}"
        if found.kind == Break.Kind.DOUBLE_CHARGE:
            label = f"Give the second charge back: {found.subject}"
            why_not = why_not_refund_of(found)
            made.append(_offer(viewer, "refund duplicate", label, "refund-duplicate", found.pk, why_not))
        if found.kind == Break.Kind.AMOUNT and found.charge_id is not None:
            label = f"Give the other amount back: {found.subject}"
            why_not = why_not_refund_of(found)
            made.append(_offer(viewer, "refund mismatch", label, "refund-mismatch", found.pk, why_not))
        if ends_here(found):
            label = f"End the payment that Stripe does not know: {found.subject}"
            made.append(_offer(viewer, "end missing", label, "end-missing", found.pk, why_not_end_missing(found)))
        made.append(_offer(viewer, "take on break", f"Take this break on: {what}", "take-break", found.pk, ""))
        made.append(_offer(viewer, "resolve break", f"Resolve this break: {what}", "resolve-break", found.pk, ""))
    return made


def _event_offers(order: Order, viewer: Viewer) -> list[Offer]:
    """Of events only those that were tried in vain: the inbox has the others."""
    intents = [one for one in order.payments.values_list("intent_id", flat=True) if one]
    parked = WebhookEvent.objects.filter(intent_id__in=intents, state=WebhookEvent.State.STORED, tries__gt=0)
    return [
        _offer(viewer, "replay webhook", f"Replay the webhook: {event.type}", "replay-event", event.event_id, "")
        for event in parked.order_by("received_at")[:_MOST_EVENTS]
    ]


def _mail_offers(order: Order, viewer: Viewer) -> list[Offer]:
    name = "send mail again"
    return [
        _offer(
            viewer,
            name,
            f"Send again: the mail {mail.get_kind_display()}{', or leave it' if is_open(mail) else ''}",
            name.replace(" ", "-"),
            mail.pk,
            why_not_send(mail),
        )
        for mail in order.mails.order_by("pk")
    ]


# --- Why not --------------------------------------------------------------------------------------------------------


def why_not_ask(payment: Payment | None) -> str:
    return "" if payment is not None else "No payment was ever opened: Stripe knows nothing of this order"


def why_not_refund(payment: Payment) -> str:
    if payment.captured_minor == 0:
        return "Not paid: nothing to refund"
    if left_to_refund(payment) > 0:
        return ""
    if payment.refunded_minor == payment.captured_minor:
        return "All of it has gone back already"
    return left_in_words(payment)


def why_not_decide(proposal: RefundProposal) -> str:
    return f"It was {proposal.decision_text} already" if proposal.decision else ""


def is_own(proposal: RefundProposal, viewer: Viewer) -> bool:
    """Who proposed it may withdraw it, and never approves it."""
    return proposal.proposed_by_id == viewer.pk


def why_not_cancel(order: Order) -> str:
    if order.is_paid:
        return "Paid: it cannot be canceled, but refunded"
    if order.is_closed:
        return f"It is {order.status} already"
    if order.is_closing and not Wish.CANCEL.outranks(order.closing_reason):
        return "It is being canceled already, and Stripe has not answered yet: ask Stripe now"
    return _press_runs(Attempt.objects.filter(order=order))


def why_not_end(order: Order) -> str:
    if not Attempt.objects.filter(order=order).undecided().exists():
        return "Nothing of this order is unknown: nothing to end"
    # Staff hold the attempt as well, perhaps by this very form, pressed twice: the core says what came of it.
    return _press_runs(Attempt.objects.filter(order=order).exclude(held_by=Asker.STAFF))


def _press_runs(attempts: AttemptQuerySet) -> str:
    live = attempts.undecided().with_lease_state().first()
    return "A press is being made right now: wait a minute" if live is not None and live.lease_runs else ""


def why_not_resolve(found: Break) -> str:
    if found.resolved_at is None:
        return ""
    return f"It was resolved already, at {found.resolved_at:%Y-%m-%d %H:%M:%S} UTC by {found.resolved_by}"


def why_not_refund_of(found: Break) -> str:
    """Of a second charge (double_charge), or of another amount than the order's (amount)."""
    return why_not_give_back(found) or why_not_resolve(found)


def why_not_end_missing(found: Break) -> str:
    """Of a payment that Stripe does not know."""
    if not ends_here(found) or found.payment is None:
        return "No payment that Stripe does not know is named by it"
    if (why_not := why_not_resolve(found)) != "":
        return why_not
    payment = Payment.objects.get(pk=found.payment_id)
    if payment.is_over or payment.phase == Payment.Phase.SUCCEEDED:
        return f"Its payment is {payment.phase}: there is nothing to end"
    return _press_runs(Attempt.objects.filter(payment=payment).exclude(held_by=Asker.STAFF))


def why_not_send(mail: Mail) -> str:
    """`mail.order` must have just been read."""
    if is_about_to_be_sent(mail):
        return "It is about to be sent already"
    if is_being_sent(mail):
        return "It is being sent right now: wait two minutes"
    if not is_open(mail) and what_to_say(mail) is Say.NEVER:  # of one that is stuck, dropping it is an end
        return f"{why_never(mail)}: it would be dropped, not sent"
    if went_out_just_now(mail):
        return f"This mail went out at {mail.sent_at:%H:%M:%S} UTC: wait two minutes if you want it once more"
    return ""


def why_not_leave(mail: Mail) -> str:
    if is_being_sent(mail):
        return "It is being sent right now: wait two minutes"
    return "" if is_open(mail) else f"It is {mail.state}: whether it went out is no question"
