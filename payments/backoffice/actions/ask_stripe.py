"""Ask Stripe now: one order, some orders, or all that is open of a day (EXPERIENCE ST5). Harmless, so repeatable."""

import datetime
import time
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from orders.attempts import OTHER_AMOUNT
from orders.models import Order
from payments.backoffice.actions.available import why_not_ask
from payments.backoffice.actions.changes import Change, changes
from payments.backoffice.actions.forms import ActForm
from payments.backoffice.actions.orders_and_breaks import order_now, order_page
from payments.backoffice.actions.page import Acting, Page, Told, payment_page
from payments.models import DEAD, Asker, Attempt, Outcome, Payment
from payments.pay import ends_if_not_charged
from payments.reconciliation.on_demand import Chosen, Reconciled, open_orders, reconcile_order
from payments.snapshot import money_snapshot
from shop.acts import Act, who_asks
from shop.ids import new_id
from shop.nudge import nudge
from shop.pages import SeeOther
from shop.staff_pages import act_page, in_frame, staff_page

AT_ONCE = 8  # orders of one request: each is a few calls to Stripe
LONGEST_SECONDS = 15  # then no other order is begun: a Stripe that hangs must not hold the page for minutes
MOST_CHOSEN = 100


@staff_page("payments.reconcile_payment")
@act_page
def ask_order(request: HttpRequest, order_id: str) -> HttpResponse:
    """One order."""
    order = get_object_or_404(Order, pk=order_id)

    def page() -> Page:
        order.refresh_from_db()
        return order_page(
            order,
            act="ask Stripe",
            title=f"Ask Stripe about order {order.number}",
            button="Ask Stripe now",
            now=order_now(order),
            will=[
                "We look at everything of this order at Stripe, and settle what is so there.",
                f"It starts no new payment. {what_it_may_do(order)} It may be repeated.",
            ],
            why_not=why_not_ask(order.payments.first()),
            repeatable=True,
        )

    def carry_out(form: ActForm, act: Act) -> Told:
        told = reconcile_order(order.pk, Asker.STAFF, act.who.name, act)
        nudge("orders.send_mails", order.pk)
        changed = changes(told.before, told.after, order.currency)
        text = "; ".join(f"{one.what}: {one.before} → {one.after}" for one in changed)
        if not told.answered:
            text = f"Not all of it was answered: Stripe is silent, or somebody is at work on the order. {text}"
            return Told(text.strip(), messages.WARNING)
        if not text:
            return Told("Stripe was asked. Nothing has changed.")
        return Told(f"{what_came_of_it(order.pk, told)} What changed: {text}.")

    return Acting(request, page, ActForm, carry_out).answer()


def what_it_may_do(order: Order) -> str:
    """What asking may move of this order as it is now, in one sentence."""
    undecided = Attempt.objects.filter(order=order).undecided().with_age()
    attempt = undecided.select_related("payment", "order").first()
    if order.is_closing:
        return "The order is being given up: if Stripe has not charged, its payment is canceled there."
    if attempt is None:
        return "No press of it is undecided."
    press = f"Press {attempt.number}"
    if attempt.phase == Attempt.Phase.STARTED:
        return f"{press} has sent nothing yet: if nobody works on it any more, it is released."
    if ends_if_not_charged(attempt):
        again = "and the shopper may pay again" if attempt.payment.phase == Payment.Phase.OPEN else "as was wished"
        return f"{press} is past its time: if Stripe has not charged, its payment is canceled there, {again}."
    if attempt.was_pending:
        return f"{press} waits for the bank or the shopper: we only look."
    minutes = int(settings.CONFIRM_AGAIN.total_seconds() // 60)
    return (
        f"{press} is younger than {minutes} minutes: if Stripe has not heard of it, this very press is finished, which"
        " may charge, once."
    )


def what_came_of_it(order_id: str, told: Reconciled) -> str:
    """The plain sentence before all that changed."""
    order = Order.objects.get(pk=order_id)
    attempt = Attempt.objects.filter(order=order).order_by("-number").first()
    if order.is_paid and told.before["order"] != told.after["order"] == Order.Status.PAID:
        return "It was charged, once: the order is paid."
    if attempt is None or told.before["attempts"] == told.after["attempts"]:
        return "Stripe was asked."
    charged = order.is_paid or order.payments.filter(captured_minor__gt=0).exists()
    if attempt.outcome in DEAD and attempt.reason != OTHER_AMOUNT and not charged:
        if order.status == Order.Status.PENDING and not order.is_closing:
            return "Nothing was charged. The shopper can pay again."
        return f"Nothing was charged. The order is {order.status}."
    if attempt.is_live and attempt.outcome != Outcome.SUCCEEDED:
        return "It is not decided yet."
    return "Stripe was asked."


# --- Several --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One order's line in the table of what came of it."""

    order: Order
    page: str
    changed: list[Change]
    answered: bool


def ask_about(request: HttpRequest, order_ids: list[str]) -> HttpResponse:
    """For an admin action: lead to the page that asks Stripe about these orders."""
    query = QueryDict(mutable=True)
    query.setlist("order", list(dict.fromkeys(order_ids))[:MOST_CHOSEN])
    if len(order_ids) > MOST_CHOSEN:
        messages.warning(request, f"Only the first {MOST_CHOSEN} are asked about: choose fewer at a time.")
    return redirect(f"{reverse('desk:ask-selection')}?{query.urlencode()}")


@staff_page("payments.reconcile_payment")
@act_page
def ask_selection(request: HttpRequest) -> HttpResponse:
    """The orders that were chosen in a list."""
    chosen = [one for one in request.GET.getlist("order") if _is_id(one)][:MOST_CHOSEN]
    ids = sorted(Order.objects.filter(pk__in=chosen).values_list("pk", flat=True))
    return _ask_them(request, "Ask Stripe about the chosen orders", ids)


class DayForm(forms.Form):
    day = forms.DateField(
        label="Day (UTC)",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": "Write the day as 2026-11-24", "required": "Choose a day"},
    )

    use_required_attribute = False

    def clean_day(self) -> datetime.date:
        day: datetime.date = self.cleaned_data["day"]
        if day > timezone.now().date():
            raise forms.ValidationError("This day is still to come")
        return day


@staff_page("payments.reconcile_payment")
@act_page
def ask_day(request: HttpRequest) -> HttpResponse:
    """Everything that is open of one day: presses, wishes to close and refunds that began on it."""
    form = DayForm(request.GET if "day" in request.GET else None, initial={"day": timezone.now().date()})
    title = "Ask Stripe about a day"
    if not form.is_bound or not form.is_valid():
        context = in_frame(request, title, form=form)
        return render(request, "admin/desk/ask_day.html", context, status=422 if form.is_bound else 200)
    day = form.cleaned_data["day"]
    try:
        since = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
        until = since + datetime.timedelta(days=1)
    except OverflowError:
        since = until = datetime.datetime.now(datetime.UTC)
    ids = sorted(open_orders(Chosen(since=since, until=until)))
    return _ask_them(request, f"{title}: {day}", ids, day_form=form)


def _ask_them(request: HttpRequest, title: str, ids: list[str], **more: Any) -> HttpResponse:
    """GET: how many. POST: the next few after `after`, and a button to go on."""
    after = request.POST.get("after", "")
    left = [one for one in ids if one > after]
    context = in_frame(request, title, count=len(left), **more)
    if request.method != "POST":
        return render(request, "admin/desk/ask_many.html", context | {"form_key": new_id(), "after": ""})
    form_key = request.POST.get("form_key", "")
    if not _is_id(form_key):
        return SeeOther(request.get_full_path())
    until = time.monotonic() + LONGEST_SECONDS
    asked: list[Asked] = []
    while len(asked) < min(AT_ONCE, len(left)) and time.monotonic() < until:
        asked.append(_ask_one(request, left[len(asked)], form_key))
    nudge("orders.send_mails")
    context |= {
        "asked": asked,
        "count": len(left) - len(asked),
        "form_key": form_key,
        "after": asked[-1].order.pk if asked else after,
    }
    return render(request, "admin/desk/ask_many.html", context)


def _ask_one(request: HttpRequest, order_id: str, form_key: str) -> Asked:
    order = Order.objects.get(pk=order_id)
    who = who_asks(request)
    act = Act(
        name="ask Stripe",
        who=who,
        subject=f"order {order.number}",
        snapshot=lambda: money_snapshot(order_id),
        order_id=order_id,
        form_key=f"{form_key}:{order_id}",
        repeatable=True,
    )
    told: Reconciled = reconcile_order(order_id, Asker.STAFF, who.name, act)
    order.refresh_from_db()
    return Asked(order, payment_page(order), changes(told.before, told.after, order.currency), told.answered)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= 40 and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
