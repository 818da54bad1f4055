"""Ask Stripe now: one order, some orders, or all that is open of a day (EXPERIENCE ST5). Harmless, so repeatable."""

import datetime
import time
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from orders.models import Order
from payments.desk.acts import order_now, order_page
from payments.desk.changes import Change, changes
from payments.desk.forms import ActForm
from payments.desk.offers import why_not_ask
from payments.desk.once import Acting, Page, Told, payment_page
from payments.models import Asker
from payments.reconcile import Chosen, Reconciled, open_orders, reconcile_order
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
                "It starts no payment: at most a press that got lost is finished, once. It may be repeated.",
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
        return Told(f"Stripe was asked. What changed: {text}." if text else "Stripe was asked. Nothing has changed.")

    return Acting(request, page, ActForm, carry_out).answer()


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
