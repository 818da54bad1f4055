"""The refund pages: the form, the preview, and a second person's decision (EXPERIENCE ST6, SECURITY SE49)."""

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from orders.mail import message_of
from orders.models import Mail, Order
from orders.personal import Viewer, email_for, text_for
from payments.backoffice.actions.available import is_own, why_not_decide, why_not_refund
from payments.backoffice.actions.forms import REASONS, DecideForm, RefundForm
from payments.backoffice.actions.page import Acting, Page, Told, payment_page
from payments.models import Dispute, Payment, Refund, RefundProposal
from payments.refund import Ask, left_to_refund, refund_once, withheld_minor
from payments.refund_approvals import propose_refund, refuse_refund, takes_two, waiting_proposal
from payments.snapshot import money_snapshot
from shop.acts import Act
from shop.idempotency import fingerprint
from shop.money import money_text
from shop.nudge import nudge
from shop.second_factor import needs_fresh_second_factor
from shop.staff_pages import act_page, in_frame, staff_page

_OPEN = (Refund.Phase.STARTED, Refund.Phase.CONFIRMING)


@staff_page("payments.refund_payment")
@needs_fresh_second_factor
@act_page
def refund(request: HttpRequest, payment_id: str) -> HttpResponse:
    """Amount, reason and note; then what will come of it; then, once, the refund or its proposal."""
    found = get_object_or_404(Payment.objects.select_related("order"), pk=payment_id)

    def form(*args: Any, **kwargs: Any) -> RefundForm:
        return RefundForm(*args, payment=found, **kwargs)

    def carry_out(filled: RefundForm, act: Act) -> Told:
        amount, reason = filled.cleaned_data["amount"], filled.cleaned_data["reason"]
        if takes_two(found, amount):
            act.name = "propose refund"
            proposal = propose_refund(found, amount, reason, act)
            text = (
                f"{money_text(amount, found.currency)} is proposed. Nothing has gone back yet: a second person decides."
            )
            return Told(f"{text} (proposal {proposal.pk})")
        return _told(refund_once(found, _ask(found, act.form_key, amount, reason, act)))

    def preview(page: Page, filled: RefundForm) -> HttpResponse:
        amount = filled.cleaned_data["amount"]
        shown = _previewed(page, found, amount, two=takes_two(found, amount))
        written = [
            ("Reason, for Stripe", dict(REASONS)[filled.cleaned_data["reason"]]),
            ("Why, for us", filled.note_text()),
        ]
        shown = replace(shown, now=[*shown.now, *written])
        mail = mail_about(found, amount, request.user)
        context = in_frame(request, shown.title, page=shown, form=filled, **mail)
        return render(request, "admin/desk/refund_preview.html", context)

    return Acting(request, lambda: _refund_page(found, request.user), form, carry_out, preview).answer()


def _ask(payment: Payment, key: str, amount_minor: int, reason: str, act: Act, proposal_id: int | None = None) -> Ask:
    digest = fingerprint("refund", payment.pk, body={"amount": amount_minor, "reason": reason})
    return Ask(key, digest, amount_minor, reason, act.who.user.pk, act=act, proposal_id=proposal_id)


def _refund_page(payment: Payment, viewer: Viewer) -> Page:
    payment.refresh_from_db()
    order = Order.objects.get(pk=payment.order_id)
    left = money_text(left_to_refund(payment), payment.currency)
    will = [
        "Money goes back to the card that paid, through Stripe. It cannot be taken back.",
        "Before anything moves you see what is left afterwards, and the mail that the shopper gets.",
    ]
    most = settings.REFUND_NEEDS_SECOND_PERSON_MINOR
    if most is not None:
        text = money_text(most, payment.currency)
        will.append(f"Above {text} of one payment a second person must agree: then this makes a proposal.")
    return Page(
        act="refund",
        title=f"Refund order {order.number}",
        subject=f"payment {payment.n} of order {order.number}",
        back=payment_page(order),
        button="Go on: see what will come of it",
        snapshot=lambda: money_snapshot(order.pk),
        order_id=order.pk,
        currency=payment.currency,
        now=[*money_now(order, payment, viewer), ("Left to refund", left)],
        will=will,
        why_not=why_not_refund(payment),
    )


def money_now(order: Order, payment: Payment, viewer: Viewer) -> list[tuple[str, str]]:
    """What is so of the money, for the pages that move it."""
    currency = payment.currency
    now = [
        ("Order", f"{order.number}, {order.status}"),
        ("Shopper", email_for(viewer, order.email)),
        ("Captured", money_text(payment.captured_minor, currency)),
        ("Gone back", money_text(payment.refunded_minor, currency)),
    ]
    under_way = payment.refunds.filter(charge=payment.charge_id, phase__in=_OPEN).order_by("created_at")
    now += [
        ("On its way back", f"{money_text(row.amount_minor, currency)}, {row.outcome or 'asked for'}")
        for row in under_way
    ]
    if Dispute.objects.filter(payment=payment).withholding().exists():
        now.append(("Held back by disputes", money_text(withheld_minor(payment), currency)))
    waiting = waiting_proposal(payment)
    if waiting is not None:
        now.append(("Proposed, not decided", f"{money_text(waiting.amount_minor, currency)} by {waiting.proposed_by}"))
    return now


def _previewed(page: Page, payment: Payment, amount_minor: int, *, two: bool) -> Page:
    text = money_text(amount_minor, payment.currency)
    left = money_text(left_to_refund(payment) - amount_minor, payment.currency)
    if two:
        will = [
            f"It proposes to give {text} back. Nothing moves yet.",
            "A second person who may give money back approves or refuses it. You can withdraw it.",
            f"Once it is approved, {left} is left to refund.",
        ]
        return replace(page, title=f"Propose to refund {text}?", button=f"Propose to refund {text}", will=will)
    will = [f"It gives {text} back to the card that paid.", f"Afterwards {left} is left to refund."]
    if payment.refunded_minor + amount_minor == payment.captured_minor and page.order_id:
        will.append(
            "All of the payment has gone back then: the order becomes refunded, and goods not sent are on sale."
        )
    return replace(page, title=f"Refund {text}?", button=f"Refund {text}", will=will)


def mail_about(payment: Payment, amount_minor: int, viewer: Viewer) -> dict[str, Any]:
    """The mail that the shopper gets once so much has gone back, by the mail's own templates."""
    order = Order.objects.get(pk=payment.order_id)
    order.name = text_for(viewer, order.name)
    paid = Payment.objects.get(pk=payment.pk)
    paid.refunded_minor += amount_minor
    refund_of_it = Refund(payment=paid, amount_minor=amount_minor, currency=paid.currency)
    refund_of_it.charge_id = paid.charge_id or ""
    mail = Mail(order=order, kind=Mail.Kind.REFUND)
    message = message_of(mail, "(a link that opens the order)", refund=refund_of_it)
    return {"mail": {"to": email_for(viewer, order.email), "subject": message.subject, "text": message.body}}


def _told(made: Refund) -> Told:
    """Unknown is not failed."""
    nudge("orders.send_mails", made.payment.order_id)
    text = money_text(made.amount_minor, made.currency)
    match made.outcome:
        case Refund.Outcome.SUCCEEDED:
            return Told(f"{text} has gone back.")
        case Refund.Outcome.PENDING:
            return Told(f"Stripe has taken the refund of {text}; the bank has not carried it out yet.")
        case Refund.Outcome.FAILED | Refund.Outcome.CANCELED:
            return Told(f"Nothing went back: Stripe says that the refund of {text} is {made.outcome}.", messages.ERROR)
    unknown = f"Stripe has not answered yet, so nobody knows whether {text} went back."
    return Told(f"{unknown} We keep asking: do not refund it again.", messages.WARNING)


# --- A second person decides ----------------------------------------------------------------------------------------


@staff_page("payments.refund_payment")
@needs_fresh_second_factor
@act_page
def decide_refund(request: HttpRequest, pk: int) -> HttpResponse:
    """Approve or refuse what somebody else has proposed, or withdraw what one has proposed oneself."""
    proposal = get_object_or_404(RefundProposal.objects.select_related("payment__order", "proposed_by"), pk=pk)
    payment = proposal.payment
    approves = request.POST.get("decision") == "approve"

    def page() -> Page:
        proposal.refresh_from_db(fields=["decision", "decided_by", "decided_at"])
        payment.refresh_from_db()
        return _decide_page(proposal, payment, request.user, approves=approves)

    def carry_out(filled: DecideForm, act: Act) -> Told:
        if not approves:
            refuse_refund(proposal, act)
            return Told(
                "Withdrawn. Nothing went back." if is_own(proposal, request.user) else "Refused. Nothing went back."
            )
        ask = _ask(payment, proposal.refund_key, proposal.amount_minor, proposal.reason, act, proposal.pk)
        return _told(refund_once(payment, ask))

    return Acting(request, page, DecideForm, carry_out).answer()


def _decide_page(proposal: RefundProposal, payment: Payment, viewer: Any, *, approves: bool) -> Page:
    order = payment.order
    text = money_text(proposal.amount_minor, proposal.currency)
    left = left_to_refund(payment)
    short = (
        ""
        if proposal.decision or proposal.amount_minor <= left
        else "More than is left to refund: all that is left is to say no."
    )
    own = is_own(proposal, viewer)
    act = "approve refund" if approves else "withdraw refund" if own else "refuse refund"
    will = [
        f"Approving gives {text} back to the card that paid, in your name. It cannot be taken back.",
        "Refusing moves nothing.",
        *([short] if short else []),
    ]
    if own:
        will = [
            "You proposed this refund, so a second person must approve it: ask somebody else to open this page.",
            "You can withdraw it. That moves nothing, and another refund may be proposed.",
        ]
    return Page(
        act=act,
        title=f"Withdraw the proposal to refund {text}?" if own else f"Refund {text}, as proposed?",
        subject=f"proposal {proposal.pk}, order {order.number}",
        back=payment_page(order),
        button="Withdraw it" if own else f"Approve: refund {text}",
        snapshot=lambda: money_snapshot(order.pk),
        order_id=order.pk,
        currency=proposal.currency,
        now=[
            ("Proposed", f"{text} by {proposal.proposed_by}, {proposal.proposed_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("Reason", f"{proposal.get_reason_display()}. {proposal.note}"),
            *money_now(order, payment, viewer),
            ("Left to refund", money_text(left, payment.currency)),
        ],
        will=will,
        why_not=why_not_decide(proposal),
        template="admin/desk/decide_refund.html",
        extra={"own": own} if own else mail_about(payment, proposal.amount_minor, viewer),
    )
