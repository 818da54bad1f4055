"""Staff look at orders here. Nothing placed is edited: money and status move through payments alone (DESIGN 5).

What staff may do to an order is in orders/staff_acts.py; what they may do about its money, at the staff desk.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse

from orders import goods
from orders.models import Mail, Order
from orders.order_story import staff_acts_of, story_of
from orders.personal import email_for, may_see_personal_data, text_for
from orders.staff_acts import FULFIL, MOST_AT_ONCE, REVOKE_LINKS, Deed, address_of, page_of
from shop.staff_pages import ReadOnly, in_frame


class WhatToDo(admin.SimpleListFilter):
    """The two lists that staff work through."""

    title = "what to do"
    parameter_name = "todo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("fulfil", "Paid and not fulfilled"), ("look", "Needs a look")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        match self.value():
            case "fulfil":
                return queryset.filter(status=Order.Status.PAID)
            case "look":
                return queryset.filter(pk__in=need_a_look())
        return queryset


def need_a_look() -> "QuerySet[Order, str]":
    """Ids of orders with an open break, or with a mail that nobody sends until somebody decides."""
    broken = Order.objects.filter(breaks__isnull=False, breaks__resolved_at=None)
    stuck = Mail.objects.filter(state=Mail.State.STUCK).order_by().values_list("order_id", flat=True)
    return broken.order_by().values_list("pk", flat=True).union(stuck)


class BeingClosed(admin.SimpleListFilter):
    title = "being given up"
    parameter_name = "closing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes: the bank has the last word")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        return queryset.filter(closing_since__isnull=False) if self.value() == "yes" else queryset


@admin.register(Order)
class OrderAdmin(ReadOnly, admin.ModelAdmin[Order]):
    list_filter = [WhatToDo, "status", BeingClosed, "currency", "placed_at"]
    search_fields = ["number"]  # what is sought, and how, is said by get_search_results
    search_help_text = "Order number, e-mail, name, or the order's id. An e-mail or a name may be cut short at its end."
    date_hierarchy = "placed_at"
    ordering = ["-placed_at"]
    sortable_by = ["placed"]
    list_per_page = 50
    list_max_show_all = MOST_AT_ONCE
    show_full_result_count = False
    actions = ["fulfil_orders", "revoke_mail_links"]

    # --- The list ---

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return ["number", "state", "total", _email_column(request), "placed", "paid"]

    @admin.display(description="state")
    def state(self, order: Order) -> str:
        return f"{order.get_status_display()}, being given up" if order.is_closing else order.get_status_display()

    @admin.display(description="total")
    def total(self, order: Order) -> str:
        return order.total_text

    @admin.display(description="placed (UTC)", ordering="placed_at")
    def placed(self, order: Order) -> str:
        return f"{order.placed_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="paid (UTC)")
    def paid(self, order: Order) -> str:
        return f"{order.paid_at:%Y-%m-%d %H:%M:%S}" if order.paid_at else "-"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """One term, each way to read it by an index of its own. Who may not see a shopper's data may look for a whole
        e-mail that the shopper has told, and cannot guess one letter by letter."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if not may_see_personal_data(request.user):
            return queryset.filter(_numbered(term) | Q(email__iexact=term)), False
        if "@" in term:
            return queryset.filter(email__istartswith=term), False
        return queryset.filter(_numbered(term) | Q(email__istartswith=term) | Q(name__istartswith=term)), False

    # --- One order ---

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Everything about one order, and the ways to what may be done. Nothing is posted here."""
        order = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, order) or request.method == "POST":
            raise PermissionDenied
        if order is None:
            raise Http404("no such order")
        page = in_frame(request, f"Order {order.number}", **_shown(request, order))
        return TemplateResponse(request, "admin/orders/order/page.html", page)

    def get_urls(self) -> list[URLPattern]:
        ours = [
            path(f"<str:ids>/{address}/", page_of(deed), name=deed.url_name)
            for address, deed in (("fulfil", FULFIL), ("revoke-links", REVOKE_LINKS))
        ]
        return [*ours, *super().get_urls()]

    # --- Acts on those ticked in the list ---

    @admin.action(description="Mark as fulfilled", permissions=["fulfil"])
    def fulfil_orders(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return self._ask(request, FULFIL, queryset)

    @admin.action(description="Revoke the links of the mails", permissions=["revoke_links"])
    def revoke_mail_links(self, request: HttpRequest, queryset: QuerySet[Order]) -> HttpResponse | None:
        return self._ask(request, REVOKE_LINKS, queryset)

    def has_fulfil_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(FULFIL.permission)

    def has_revoke_links_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(REVOKE_LINKS.permission)

    def _ask(self, request: HttpRequest, deed: Deed, ticked: QuerySet[Order]) -> HttpResponse | None:
        ids = list(ticked.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        if len(ids) > MOST_AT_ONCE:
            self.message_user(request, f"At most {MOST_AT_ONCE} orders at once; nothing was done.", "ERROR")
            return None
        return HttpResponseRedirect(address_of(deed, ids))


def _numbered(term: str) -> Q:
    """An order by its number, as read from paper or heard on the phone, or by its id."""
    letters = term.upper().replace("-", "").replace(" ", "")
    return Q(number=f"{letters[:4]}-{letters[4:]}"[:12]) | Q(pk=term)


def _email_column(request: HttpRequest) -> Callable[[Order], str]:
    @admin.display(description="e-mail")
    def email(order: Order) -> str:
        return email_for(request.user, order.email)

    return email


def _shown(request: HttpRequest, order: Order) -> dict[str, Any]:
    """The order's page."""
    viewer, acts = request.user, staff_acts_of(order)
    return {
        "order": order,
        "masked": not may_see_personal_data(viewer),
        "shopper": [
            ("Account", email_for(viewer, str(order.user)) if order.user else "guest"),
            ("E-mail", email_for(viewer, order.email)),
            *((words, text_for(viewer, getattr(order, column))) for words, column in _ADDRESS),
            ("Country", order.country),
        ],
        "lines": order.lines.all(),
        "goods": goods_in_words(order),
        "payments": [
            (one, _way("admin:payments_payment_change", quote(one.pk))) for one in order.payments.order_by("n")
        ],
        "disputes": [one for payment in order.payments.all() for one in payment.disputes.all()],
        "breaks": [(one, _way("admin:payments_break_change", one.pk)) for one in order.breaks.filter(resolved_at=None)],
        "mails": [
            (mail, refusal_for(viewer, mail), _way("desk:send-mail-again", mail.pk) if _may_resend(viewer) else "")
            for mail in order.mails.order_by("due_at")
        ],
        "links": order.mail_links.all(),
        "ways": [_offer(request, deed, order) for deed in (FULFIL, REVOKE_LINKS)],
        "story": story_of(order, acts),
        "acts": acts,
    }


def goods_in_words(order: Order) -> str:
    """Where its goods are: what holds them is a fact in its lines, whatever its status says."""
    holding = [line.held > 0 for line in order.lines.all()]
    if any(holding):
        return "Held" if all(holding) else "Some are held, some are not: see the lines"
    if order.fulfilled_at is not None:
        return "Sent"
    if goods.are_missing(order):
        return f"Not held: they went back on sale. {goods.short_in_words(order) or 'Fulfilling takes them again'}"
    return "Not held: they went back on sale"


_ADDRESS = [
    ("Name", "name"),
    ("Address", "line1"),
    ("Address, second line", "line2"),
    ("City", "city"),
    ("Region", "region"),
    ("Postal code", "postal_code"),
]


def _offer(request: HttpRequest, deed: Deed, order: Order) -> dict[str, str]:
    why_not = deed.why_not(order)
    if not request.user.has_perm(deed.permission):
        why_not = "You have no permission for it."
    return {"label": deed.title, "url": address_of(deed, [order.pk]), "why_not": why_not}


def _may_resend(viewer: Any) -> bool:
    return bool(viewer.has_perm("orders.send_mail_again"))


def _way(name: str, *args: object) -> str:
    """An address of payments' pages, which orders knows by name alone; "" where there is none."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def refusal_for(viewer: Any, mail: Mail) -> str:
    """What the mail server said, without the shopper's address: servers like to repeat it."""
    return mail.last_refusal.replace(mail.order.email, email_for(viewer, mail.order.email))


@admin.register(Mail)
class MailAdmin(ReadOnly, admin.ModelAdmin[Mail]):
    """`sending` for longer than a minute: it may have gone out, and is sent once more after half an hour (RULES R98).

    `stuck`: refused, or in doubt, too often. `dropped`: what it says was no longer so when it was to be sent.
    """

    list_filter = ["state", "kind"]
    search_fields = ["order__number__exact"]
    search_help_text = "Order number"
    ordering = ["-due_at"]
    exclude = ["last_refusal"]
    list_select_related = ["order"]
    show_full_result_count = False

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        @admin.display(description="last refusal")
        def last_refusal(mail: Mail) -> str:
            return refusal_for(request.user, mail)

        return [
            "order",
            "kind",
            "subject",
            "state",
            "due_at",
            "sending_at",
            "sent_at",
            "refusals",
            "doubts",
            last_refusal,
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Mail], search_term: str
    ) -> tuple[QuerySet[Mail], bool]:
        return super().get_search_results(request, queryset, search_term.strip().upper())
