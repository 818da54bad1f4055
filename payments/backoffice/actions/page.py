"""One act, one page: what is so, what will change, and a form that is carried out once (RULES R96, EXPERIENCE ST5-6).

GET shows; POST carries out through the core and leads to the payment, with a message of what came of it. Double click,
reload and Back meet the form's one-time key; two people meet the version of what they saw. Whoever is refused has his
entries kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from orders.models import Order
from payments.backoffice.actions.changes import Change, changes
from payments.backoffice.actions.forms import ActForm, marks_of, seen_in, typed_in
from payments.errors import GatewayError, RowBusy
from shop.acts import Act, DoneAlready, Snapshot, StaleForm, version_of, who_asks
from shop.models import StaffAct
from shop.pages import SeeOther
from shop.problems import Problem
from shop.second_factor import entries_kept
from shop.staff_pages import in_frame

log = structlog.get_logger(__name__)

F = TypeVar("F", bound=ActForm)

BUSY = "Somebody else is working on this order at this very moment. Look at it before you do anything else."
KEPT = "Your code is right. Here is what you wrote: please check it and send it. It is carried out once."
# Which field a problem of the core's is about.
_FIELD_OF = {"refund-too-large": "amount"}


@dataclass(frozen=True)
class Page:
    """What an act's page shows. Made anew from the rows whenever it is shown.

    Attributes:
        act: its name in StaffAct.
        back: address of the payment, or of whatever the act is about: where one is led afterwards.
        now: what is so, name and worth.
        will: what carrying it out does, a sentence each.
        why_not: why it cannot be done now; empty if it can.
        repeatable: harmless to do again, such as a question to Stripe.
        any_version: acts on whatever is there; what changed meanwhile takes nothing from it.
    """

    act: str
    title: str
    subject: str
    back: str
    button: str
    snapshot: Callable[[], Snapshot]
    order_id: str = ""
    currency: str = ""
    now: list[tuple[str, str]] = field(default_factory=list)
    will: list[str] = field(default_factory=list)
    why_not: str = ""
    repeatable: bool = False
    any_version: bool = False
    template: str = "admin/desk/act.html"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def why_not_sentence(self) -> str:
        return f"{self.why_not.rstrip('.')}."


@dataclass(frozen=True)
class Told:
    """What came of it, for the message on the next page."""

    text: str
    level: int = messages.SUCCESS


@dataclass(frozen=True)
class Acting:
    """An act under way: its page made from the rows as they are, its form class and how it is carried out."""

    request: HttpRequest
    page: Callable[[], Page]
    form: Callable[..., Any]
    carry_out: Callable[[Any, Act], Told]
    preview: Callable[[Page, Any], HttpResponse] | None = None

    def answer(self) -> HttpResponse:
        if self.request.method != "POST":
            page, kept = self.page(), entries_kept(self.request)
            if kept:
                return self._after_the_code(page, kept)
            return self.show(page, self.form(initial=marks_of(page.snapshot())))
        return self._posted(self.page(), self.form(self.request.POST))

    def _posted(self, page: Page, form: ActForm) -> HttpResponse:
        if any(name in form.errors for name in ("form_key", "version")):
            return self.again("This form was not complete, so nothing was done. Please check it and send it again.")
        if not page.repeatable and (done := _done_by(form.cleaned_data["form_key"])) is not None:
            return _lead_back(self.request, page, _done_before(done))
        if page.why_not:
            return self.show(page, form, status=409)
        if self.request.POST.get("step") == "change":
            return self.show(page, self.form(initial=self.request.POST.dict()))
        if not form.is_valid():
            return self.show(page, form, status=422)
        if self.preview is not None and self.request.POST.get("step") != "confirm":
            if form.cleaned_data["version"] != version_of(page.snapshot()):
                return self.stale(form)
            return self.preview(page, form)
        return self._carried_out(page, form)

    def _after_the_code(self, page: Page, sent: dict[str, str]) -> HttpResponse:
        """A form that was sent too late for the second factor is shown as the very one that it was, with its key and
        its version: it may be the second click of one that was carried out, or be about what is so no more."""
        if not page.repeatable and (done := _done_by(sent.get("form_key", ""))) is not None:
            return _lead_back(self.request, page, _done_before(done))
        now = marks_of(page.snapshot())
        if not page.why_not and sent.get("version", now["version"]) != now["version"]:
            return self.stale(self.form(sent))
        if not page.why_not:
            messages.info(self.request, KEPT)
        return self.show(page, self.form(initial={**now, **sent}))

    def _carried_out(self, page: Page, form: ActForm) -> HttpResponse:
        act = Act(
            name=page.act,
            who=who_asks(self.request),
            subject=page.subject,
            snapshot=page.snapshot,
            order_id=page.order_id,
            form_key=form.cleaned_data["form_key"],
            expected="" if page.repeatable or page.any_version else form.cleaned_data["version"],
            note=form.note_text(),
            repeatable=page.repeatable,
        )
        try:
            told = self.carry_out(form, act)
        except DoneAlready:
            return _lead_back(self.request, page, _done_before(_done_by(act.form_key)))
        except StaleForm:
            return self.stale(form)
        except Problem as problem:
            name = _FIELD_OF.get(problem.name)
            form.add_error(name if name in form.fields else None, problem.detail)
            return self.show(self.page(), form, status=problem.status)
        except RowBusy:
            form.add_error(None, BUSY)
            return self.show(page, form, status=409)
        except GatewayError as error:
            # The act is written down; the same call to Stripe moves the money once, however often it is made.
            said = f"Stripe has not said yes, so this may or may not be done: {error}. Send it again: it is done once."
            return self.again(said, status=503)
        except (OperationalError, InterfaceError):
            raise  # the calm page of a database that is down
        except DatabaseError:
            log.exception("act_not_written", act=page.act, subject=page.subject)
            form.add_error(None, "This could not be written down. Look at the payment before you send it again.")
            return self.show(page, form, status=503)
        return _lead_back(self.request, page, told)

    # What is shown.

    def show(self, page: Page, form: ActForm, status: int = 200, **more: Any) -> HttpResponse:
        typed = typed_in(form) if page.why_not else []
        context = in_frame(self.request, page.title, page=page, form=form, typed=typed, **page.extra, **more)
        return render(self.request, page.template, context, status=status)

    def stale(self, form: ActForm) -> HttpResponse:
        """Nothing was done: what has changed, and the form again, about what is so now."""
        page = self.page()
        seen, now = seen_in(form), page.snapshot()
        changed: list[Change] = changes(seen, now, page.currency) if seen is not None else []
        return self.show(page, self._anew(form.data, now), status=409, stale=True, changed=changed)

    def again(self, error: str, status: int = 422) -> HttpResponse:
        """The form once more, its entries kept, as a new one."""
        page = self.page()
        fresh = self._anew(self.request.POST, page.snapshot())
        fresh.add_error(None, error)
        return self.show(page, fresh, status=status)

    def _anew(self, sent: Mapping[str, str], now: Snapshot) -> Any:
        return self.form({**dict(sent.items()), **marks_of(now)})


def payment_page(order: Order) -> str:
    """Where staff see what became of an order's money; of an order that never had a payment, the order."""
    payment = order.payments.order_by("-n").first()
    if payment is None:
        return reverse("admin:orders_order_change", args=[quote(order.pk)])
    return reverse("admin:payments_payment_change", args=[quote(payment.pk)])


def _done_by(form_key: str) -> StaffAct | None:
    return StaffAct.objects.filter(form_key=form_key).first()


def _done_before(done: StaffAct | None) -> Told:
    if done is None:
        return Told("This was done before. Nothing was done now.", messages.INFO)
    at = f"{done.at.astimezone(timezone.get_default_timezone()):%Y-%m-%d %H:%M:%S} UTC"
    text = f"This form was carried out before: {done.act}, {done.subject}, by {done.actor_name} at {at}."
    return Told(f"{text} Nothing was done now.", messages.INFO)


def _lead_back(request: HttpRequest, page: Page, told: Told) -> HttpResponse:
    messages.add_message(request, told.level, told.text)
    return SeeOther(page.back)
