"""The pages of the other acts: cancel, end at Stripe, breaks, webhooks, mails. Refunds are in refunds.py."""

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from orders.mail import message_of
from orders.mail_again import is_open, leave_as_sent, mail_snapshot, make_due_again
from orders.mail_truth import Say, what_to_say
from orders.models import MAIL_DOUBT_LASTS, Mail, Order
from orders.personal import email_for, text_for
from payments.backoffice.actions.available import (
    why_not_cancel,
    why_not_end,
    why_not_end_missing,
    why_not_leave,
    why_not_refund_of,
    why_not_resolve,
    why_not_send,
)
from payments.backoffice.actions.forms import ActForm, WithReason
from payments.backoffice.actions.page import Acting, Page, Told, payment_page
from payments.breaks import break_snapshot, resolve_break, take_on_break
from payments.cancellation import Wish, close_order
from payments.models import Asker, Attempt, Break, Outcome, Payment, Refund, WebhookEvent
from payments.reconciliation.double_charges import give_back
from payments.reconciliation.inbox import event_snapshot
from payments.reconciliation.inbox import replay_event as replay_event_once
from payments.reconciliation.missing import Ended, end_missing
from payments.reconciliation.recovery import cancel_at_stripe
from payments.snapshot import money_snapshot
from shop.acts import Act, DoneAlready
from shop.models import StaffAct
from shop.money import money_text
from shop.nudge import nudge
from shop.second_factor import needs_fresh_second_factor
from shop.staff_pages import act_page, staff_page


def order_page(order: Order, **parts: Any) -> Page:
    """An act's page about one order."""
    return Page(
        subject=f"order {order.number}",
        back=payment_page(order),
        snapshot=lambda: money_snapshot(order.pk),
        order_id=order.pk,
        currency=order.currency,
        **parts,
    )


def order_now(order: Order) -> list[tuple[str, str]]:
    """What is so of an order that is not decided yet."""
    now = [("Order", f"{order.number}, {order.status}"), ("Total", order.total_text)]
    if order.is_closing:
        now.append(("Being given up", f"{order.closing_reason}, wished by {order.closing_by}"))
    payment = order.payments.order_by("-n").first()
    if payment is not None:
        now.append(("Payment", f"{payment.phase}, {payment.intent_id or 'no intent heard of yet'}"))
    attempt = Attempt.objects.filter(order=order).order_by("-number").first()
    if attempt is not None:
        now.append(("Newest press", f"{attempt.payment_status}, at {attempt.pressed_at:%Y-%m-%d %H:%M:%S} UTC"))
    return now


# --- An order that is not paid --------------------------------------------------------------------------------------


@staff_page("orders.cancel_order")
@act_page
def cancel_order(request: HttpRequest, order_id: str) -> HttpResponse:
    """Give the order up: Stripe first, and only then the slot and the stock."""
    order = get_object_or_404(Order, pk=order_id)

    def page() -> Page:
        order.refresh_from_db()
        return order_page(
            order,
            act="cancel",
            title=f"Cancel order {order.number}",
            button="Cancel the order",
            now=order_now(order),
            will=[
                "From now on nobody can pay the order.",
                "Its intent is canceled at Stripe. If the money was faster, the order is paid, and can be refunded.",
                "Its goods go back on sale, and the shopper gets a mail.",
            ],
            why_not=why_not_cancel(order),
        )

    def carry_out(form: WithReason, act: Act) -> Told:
        closed = close_order(order.pk, Wish.CANCEL, by=act.who.name, asked_by=Asker.STAFF, act=act)
        if closed.is_paid:
            return Told("The money was faster: the order is paid. It can be refunded.", messages.WARNING)
        if not closed.is_closed:
            text = "Stripe has not answered yet. Nobody can pay the order any more, and we keep asking."
            return Told(text, messages.WARNING)
        nudge("orders.send_mails", order.pk)
        return Told("The order is canceled.")

    return Acting(request, page, WithReason, carry_out).answer()


@staff_page("payments.reconcile_payment")
@act_page
def cancel_at_stripe_page(request: HttpRequest, order_id: str) -> HttpResponse:
    """End what stays unknown: cancel the intent, and take whatever Stripe says."""
    order = get_object_or_404(Order, pk=order_id)

    def page() -> Page:
        order.refresh_from_db()
        return order_page(
            order,
            act="cancel at Stripe",
            title=f"Cancel at Stripe: order {order.number}",
            button="Cancel at Stripe, and take its answer",
            now=order_now(order),
            will=[
                "It cancels the intent at Stripe. Then no charge can follow from it any more.",
                "If it was charged already, Stripe says so, and the order is paid. It is never both.",
                "Unless it was paid, the order stays open for its next payment.",
            ],
            why_not=why_not_end(order),
        )

    def carry_out(form: WithReason, act: Act) -> Told:
        attempt = cancel_at_stripe(order.pk, Asker.STAFF, act.who.name, act)
        nudge("orders.send_mails", order.pk)
        if attempt is None:
            if act.is_done():  # a double click: the other one is at it
                raise DoneAlready(act.form_key)
            text = "Somebody else has taken it over, or there was nothing left to end. See what is so now."
            return Told(text, messages.WARNING)
        if attempt.outcome == Outcome.SUCCEEDED:
            return Told("Stripe had charged it already: the order is paid.")
        if attempt.is_live:
            return Told("Stripe has not answered yet, so it is still not known. We keep asking.", messages.WARNING)
        return Told(f"It is ended: {attempt.outcome}. No charge can follow from it.")

    return Acting(request, page, WithReason, carry_out).answer()


# --- Breaks ---------------------------------------------------------------------------------------------------------


def break_page(found: Break, **parts: Any) -> Page:
    """An act's page about one break."""
    back = reverse("admin:payments_break_change", args=[found.pk])
    return Page(
        subject=f"break {found.pk}",
        back=payment_page(found.order) if found.order is not None else back,
        snapshot=lambda: break_snapshot(found.pk),
        order_id=found.order_id or "",
        currency=found.currency,
        now=break_now(found),
        **parts,
    )


def break_now(found: Break) -> list[tuple[str, str]]:
    now = [("Kind", found.get_kind_display()), ("About", found.subject)]
    if found.order is not None:
        now.append(("Order", f"{found.order.number}, {found.order.status}"))
    if found.amount_text:
        now.append(("Amount", found.amount_text))
    now.append(("Found", f"{found.found_at:%Y-%m-%d %H:%M:%S} UTC"))
    if found.owner is not None:
        now.append(("Looked into by", looked_into(found)))
    if found.proposal:
        now.append(("What could be done", found.proposal))
    return now


def _break(pk: int) -> Break:
    return get_object_or_404(Break.objects.select_related("order", "owner", "charge"), pk=pk)


@staff_page("payments.resolve_break")
@act_page
def resolve_break_page(request: HttpRequest, pk: int) -> HttpResponse:
    """A person says what became of it."""

    def page() -> Page:
        found = _break(pk)
        return break_page(
            found,
            act="resolve break",
            title="Resolve this break",
            button="Resolve this break",
            will=[
                "It closes the break with your name and note. No money moves, and no order changes.",
                "While the difference stays as it is, it is not opened again.",
            ],
            why_not=why_not_resolve(found),
        )

    def carry_out(form: WithReason, act: Act) -> Told:
        resolved = resolve_break(pk, form.note_text(), act)
        return Told("The break is resolved.") if resolved else Told("It was resolved already.", messages.INFO)

    return Acting(request, page, WithReason, carry_out).answer()


@staff_page("payments.resolve_break")
@act_page
def take_break(request: HttpRequest, pk: int) -> HttpResponse:
    """Whoever asks looks into it."""

    def page() -> Page:
        found = _break(pk)
        return break_page(
            found,
            act="take on break",
            title="Take this break on",
            button=f"Take it from {found.owner}" if found.owner is not None else "Take this break on",
            will=[_takes_from(found), "Others see that you look into it. Nothing else changes."],
            why_not=why_not_resolve(found) or ("You look into it" if found.owner_id == request.user.pk else ""),
        )

    def carry_out(form: ActForm, act: Act) -> Told:
        take_on_break(pk, act)
        return Told("You look into it now.")

    return Acting(request, page, ActForm, carry_out).answer()


def _takes_from(found: Break) -> str:
    if found.owner is None:
        return "Nobody looks into it yet."
    return f"It takes it from {looked_into(found)}: ask first."


def looked_into(found: Break) -> str:
    """By whom, and since when if the desk's own act has said so."""
    taken = StaffAct.objects.filter(subject=f"break {found.pk}", act="take on break", actor=found.owner)
    at = taken.order_by("-id").values_list("at", flat=True).first()
    return f"{found.owner}, since {at:%Y-%m-%d %H:%M:%S} UTC" if at else str(found.owner)


@staff_page("payments.refund_payment")
@needs_fresh_second_factor
@act_page
def refund_duplicate(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a second charge back; the good one is never touched."""

    def page() -> Page:
        found = _break(pk)
        good = str(found.evidence.get("good_charge") or "-")
        shown = _give_back_page(found, Break.Kind.DOUBLE_CHARGE, "refund duplicate", "Give a second charge back")
        now = [*shown.now, ("Is never touched", good)]
        return replace(shown, now=now, will=[*shown.will, f"The good charge, {good}, and the order stay as they are."])

    def carry_out(form: WithReason, act: Act) -> Told:
        return _given_back(give_back(_break(pk), Asker.STAFF, act.who.name, act), "of the second charge")

    return Acting(request, page, WithReason, carry_out).answer()


@staff_page("payments.refund_payment")
@needs_fresh_second_factor
@act_page
def refund_mismatch(request: HttpRequest, pk: int) -> HttpResponse:
    """Give all of another amount back; then the press that took it has ended."""

    def page() -> Page:
        found = _break(pk)
        took = money_text(found.charge.captured_minor, found.charge.currency) if found.charge else "-"
        shown = _give_back_page(found, Break.Kind.AMOUNT, "refund mismatch", "Give another amount back")
        total = found.order.total_text if found.order is not None else "-"
        now = [*shown.now, ("Stripe took", took), ("The order's total", total)]
        will = [*shown.will, "When all of it has gone back, the press has ended, and the order may be paid again."]
        return replace(shown, now=now, will=will)

    def carry_out(form: WithReason, act: Act) -> Told:
        return _given_back(give_back(_break(pk), Asker.STAFF, act.who.name, act), "of the other amount")

    return Acting(request, page, WithReason, carry_out).answer()


def _give_back_page(found: Break, kind: Break.Kind, act: str, title: str) -> Page:
    charge = found.charge
    amount = money_text(charge.left_minor, charge.currency) if charge is not None else found.amount_text
    named = charge.pk if charge is not None else "-"
    why_not = why_not_refund_of(found) if found.kind == kind else "It is about no money to give back"
    shown = break_page(found, act=act, title=title, button=f"Give {amount} back", why_not=why_not)
    will = [
        f"It gives all that is left of the charge {named} back to the card that paid it.",
        "However often this is run, the money moves once.",
    ]
    return replace(shown, now=[*shown.now, ("Goes back", f"{named}: all that is left of it, {amount}")], will=will)


@staff_page("payments.reconcile_payment")
@act_page
def end_missing_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Give up a payment that Stripe does not know; only a person can say that nothing was taken."""

    def page() -> Page:
        found = _break(pk)
        shown = break_page(
            found,
            act="end missing",
            title="End the payment that Stripe does not know",
            button="End this payment",
            will=[
                "It asks Stripe once more: if Stripe knows the payment now, nothing is ended.",
                "Else the payment is given up. A press that is in doubt ends, and the shopper is told: not charged.",
                "So look first into the account that was used before: there must be no charge of this order.",
                "The order is canceled or expires, if that was wished; else it can be paid anew.",
                "The break is resolved with your name and reason.",
            ],
            why_not=why_not_end_missing(found),
        )
        if found.order is None:
            return shown
        order_id = found.order.pk
        now = [*shown.now, *order_now(found.order)]
        return replace(shown, now=now, snapshot=lambda: money_snapshot(order_id))

    def carry_out(form: WithReason, act: Act) -> Told:
        found = _break(pk)
        ended = end_missing(found, form.note_text(), act.who.name, act)
        nudge("orders.send_mails", found.order_id)
        if ended is Ended.BUSY and act.is_done():  # a double click: the other one is at it
            raise DoneAlready(act.form_key)
        return _ENDED[ended]

    return Acting(request, page, WithReason, carry_out).answer()


_ENDED = {
    Ended.ENDED: Told("The payment is ended."),
    Ended.KNOWN: Told("Stripe knows it now, so nothing was ended. See what is so now.", messages.WARNING),
    Ended.SILENT: Told("Stripe has not answered, so nothing was ended. Try it again.", messages.WARNING),
    Ended.BUSY: Told("Somebody is at work on it, so nothing was ended. See what is so now.", messages.WARNING),
}


def _given_back(made: Refund | None, which: str) -> Told:
    if made is None:
        return Told("Nothing was left of it: it has gone back before.", messages.INFO)
    text = made.amount_text
    match made.outcome:
        case Refund.Outcome.SUCCEEDED:
            return Told(f"{text} {which} has gone back.")
        case Refund.Outcome.FAILED | Refund.Outcome.CANCELED:
            return Told(f"Nothing went back: Stripe says that the refund of {text} is {made.outcome}.", messages.ERROR)
        case Refund.Outcome.PENDING:
            return Told(f"Stripe has taken it, {text}: pending. The break stays open until it has gone back.")
    unknown = f"Stripe has not answered yet, so nobody knows whether {text} went back."
    return Told(f"{unknown} We keep asking. The break stays open until it has gone back.", messages.WARNING)


# --- Webhooks -------------------------------------------------------------------------------------------------------


@staff_page("payments.replay_webhookevent")
@act_page
def replay_event(request: HttpRequest, event_id: str) -> HttpResponse:
    """Work on a stored event again."""
    event = get_object_or_404(WebhookEvent, gateway="stripe", event_id=event_id)
    payment = (
        Payment.objects.select_related("order").filter(intent_id=event.intent_id).first() if event.intent_id else None
    )
    order = payment.order if payment is not None else None

    def page() -> Page:
        event.refresh_from_db()
        inbox = reverse("admin:payments_webhookevent_change", args=[quote(event.pk)])
        return Page(
            act="replay webhook",
            title=f"Replay the webhook {event.type}",
            subject=f"event {event.event_id}",
            back=payment_page(order) if order is not None else inbox,
            button="Work on it again",
            snapshot=lambda: event_snapshot(event.event_id),
            order_id=order.pk if order is not None else "",
            any_version=True,  # a worker may try it at any moment, and that takes nothing from this act
            now=[
                ("Event", event.event_id),
                ("State", f"{event.state}, tried {event.tries} times"),
                ("Last said", event.note or "-"),
                ("Intent", event.intent_id or "-"),
                ("Order", order.number if order is not None else "none of ours"),
            ],
            will=[
                "An event is only a hint: we look at Stripe again, and settle what is so there.",
                "It can be done as often as you like. No charge can come of it.",
            ],
        )

    def carry_out(form: ActForm, act: Act) -> Told:
        row = replay_event_once(event.event_id, act)
        nudge("orders.send_mails")
        if row.state == WebhookEvent.State.STORED:
            return Told(f"It waits to be tried again: {row.note or 'somebody is at it'}.", messages.WARNING)
        return Told(f"It is {row.state}" + (f": {row.note}." if row.note else "."))

    return Acting(request, page, ActForm, carry_out).answer()


# --- Mails ----------------------------------------------------------------------------------------------------------

_SAYS = {
    Say.NOW: "It is so.",
    Say.LATER: "It is not known yet whether it is so.",
    Say.NEVER: "It is no longer so.",
}
_WILL_SEND = {
    Say.NOW: "It sends the mail once more, with a new link.",
    Say.LATER: "The mail waits until it is known whether what it says is so. Then it goes out, or is dropped.",
    Say.NEVER: "It sends nothing: the mail is dropped, and nobody has to decide any more.",
}
_SENDS = {
    Say.NOW: "The mail goes out within a minute.",
    Say.LATER: "The mail waits until it is known whether what it says is so. Then it goes out, or is dropped.",
    Say.NEVER: "What the mail says is no longer so: it is dropped, not sent.",
}


@staff_page("orders.send_mail_again")
@act_page
def send_mail_again(request: HttpRequest, pk: int) -> HttpResponse:
    """A mail of an order is due again; whether what it says is so is asked when it goes. One that is in doubt or stuck
    may be left instead: a person says that it went out."""
    mail = get_object_or_404(Mail.objects.select_related("order"), pk=pk)
    leaves = request.POST.get("decision") == "leave"

    def page() -> Page:
        mail.refresh_from_db()
        mail.order = Order.objects.get(pk=mail.order_id)
        return _mail_page(mail, request, leaves=leaves)

    def carry_out(form: WithReason, act: Act) -> Told:
        return _leave(mail, act) if leaves else _send_again(mail, act)

    return Acting(request, page, WithReason, carry_out).answer()


def _mail_page(mail: Mail, request: HttpRequest, *, leaves: bool) -> Page:
    order, kind, say, may_leave = mail.order, mail.get_kind_display(), what_to_say(mail), is_open(mail)
    will = [_WILL_SEND[say], "No money moves."]
    if mail.sent_at is not None:
        will.insert(1, f"{_went_out(mail)}: the shopper then has it twice.")
    if may_leave:
        will.append("Leaving it instead: it counts as sent because you say so, and nobody sends it again by itself.")
    again = f"Send the mail {kind} of order {order.number} again"
    page = order_page(
        order,
        act="leave mail as sent" if leaves else "send mail again",
        title=f"{again}, or leave it" if may_leave else again,
        button="Send it again",
        now=_mail_now(mail, say),
        will=will,
        why_not=why_not_leave(mail) if leaves else why_not_send(mail),
        template="admin/desk/send_mail.html",
        extra={"mail": None if say is Say.NEVER else _preview(mail, request), "may_leave": may_leave},
    )
    return replace(page, snapshot=lambda: mail_snapshot(mail.pk), subject=f"mail {kind} of order {order.number}")


def _mail_now(mail: Mail, say: Say) -> list[tuple[str, str]]:
    now = [("Mail", mail.get_kind_display()), ("State", mail.state), ("What it says", _SAYS[say])]
    if mail.sent_at is not None:
        now.append(("Sent", f"{mail.sent_at:%Y-%m-%d %H:%M:%S} UTC"))
    if mail.refusals:
        now.append(("Did not go out", f"{mail.refusals} times, last: {mail.last_refusal}"))
    if mail.doubts or mail.state == Mail.State.SENDING:
        now.append(("In doubt", "It may have reached the shopper: look into the mail server's log."))
    if mail.state == Mail.State.SENDING:
        minutes = MAIL_DOUBT_LASTS.total_seconds() / 60
        now.append(("By itself", f"It is sent once more {minutes:.0f} minutes after its sending began."))
    if mail.state == Mail.State.STUCK:
        now.append(("By itself", "Nothing: it was tried often enough."))
    return now


def _preview(mail: Mail, request: HttpRequest) -> dict[str, str]:
    """What the shopper will get, as this member of staff may see it: nothing of it is saved."""
    mail.order.name = text_for(request.user, mail.order.name)
    message = message_of(mail, "(a link that opens the order)")
    return {"to": email_for(request.user, mail.order.email), "subject": str(message.subject), "text": str(message.body)}


def _send_again(mail: Mail, act: Act) -> Told:
    if not make_due_again(mail.pk, act):
        return Told("It is on its way already.", messages.INFO)
    nudge("orders.send_mails", mail.order_id)
    say = what_to_say(mail)
    earlier = f" {_went_out(mail)}." if mail.sent_at is not None else ""
    return Told(f"{_SENDS[say]}{earlier}", messages.SUCCESS if say is Say.NOW else messages.WARNING)


def _leave(mail: Mail, act: Act) -> Told:
    if not leave_as_sent(mail.pk, act):
        return Told("It was decided meanwhile.", messages.INFO)
    return Told("The mail counts as sent, because you say so. Nobody sends it again by itself.")


def _went_out(mail: Mail) -> str:
    return f"It went out before, at {mail.sent_at:%Y-%m-%d %H:%M:%S} UTC"
