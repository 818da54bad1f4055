"""What staff see of money: everything, and nothing of it editable. Acts come through the core, never through a form."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from orders.admin import ReadOnly
from orders.personal import email_for
from payments.desk.filters import StateFilter
from payments.desk.find import MOST, find_payments
from payments.desk.payment_page import payment_page
from payments.models import Attempt, Break, Payment, WebhookEvent
from shop.money import money_text


@admin.register(Payment)
class PaymentAdmin(ReadOnly, admin.ModelAdmin[Payment]):
    list_display = [
        "order_number",
        "phase",
        "amount",
        "captured",
        "refunded",
        "card",
        "created_at",
        "intent_id",
    ]
    list_filter = [StateFilter, "phase", "currency", "created_at"]
    list_select_related = ["order"]  # and no date_hierarchy: it reads every row, on each page
    search_help_text = "E-mail, order number, amount (24.00), last four digits; intent, charge, refund; any id or key"
    search_fields = ["pk"]  # shows the box; find.py searches
    show_full_result_count = False
    fields = ()  # the page is payments/desk/payment_page.py

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        payment = self.get_object(request, unquote(object_id))
        shown = {}
        if payment is not None and self.has_view_permission(request, payment):
            shown = payment_page(request, payment)
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> list[str | Callable[[Payment], str | bool]]:
        """The shopper's address as this viewer may see it."""

        @admin.display(description="e-mail")
        def email(payment: Payment) -> str | bool:
            return email_for(request.user, payment.order.email)

        number, *rest = self.list_display
        return [number, email, *rest]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Payment], search_term: str
    ) -> tuple[QuerySet[Payment], bool]:
        if not search_term.strip():
            return queryset, False
        found, more = find_payments(search_term)
        if more:
            self.message_user(request, f"Only the newest {MOST} payments are shown.", messages.WARNING)
        return queryset.filter(pk__in=found), False

    @admin.display(description="order", ordering="order__number")
    def order_number(self, payment: Payment) -> str:
        return payment.order.number

    @admin.display(description="amount", ordering="amount_minor")
    def amount(self, payment: Payment) -> str:
        return payment.amount_text

    @admin.display(description="captured", ordering="captured_minor")
    def captured(self, payment: Payment) -> str:
        return money_text(payment.captured_minor, payment.currency)

    @admin.display(description="refunded", ordering="refunded_minor")
    def refunded(self, payment: Payment) -> str:
        return money_text(payment.refunded_minor, payment.currency)

    @admin.display(description="card")
    def card(self, payment: Payment) -> str:
        return f"{payment.card_brand} {payment.card_last4}".strip() or "-"


@admin.register(Attempt)
class AttemptAdmin(ReadOnly, admin.ModelAdmin[Attempt]):
    list_display = [
        "order_number",
        "number",
        "phase",
        "outcome",
        "reason",
        "decline_code",
        "pressed_at",
        "next_look_at",
    ]
    list_filter = ["outcome", "phase", "origin", "pressed_at"]
    list_select_related = ["order"]
    search_fields = ["order__number__iexact", "order__email__iexact", "idempotency_key__exact", "charge_id__exact"]
    exclude = ["answer_body", "fingerprint", "confirm_params"]

    @admin.display(description="order", ordering="order__number")
    def order_number(self, attempt: Attempt) -> str:
        return attempt.order.number


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnly, admin.ModelAdmin[WebhookEvent]):
    list_display = ["type", "state", "intent_id", "received_at", "tries", "note", "event_id"]
    list_filter = ["state", "type", "received_at"]
    search_fields = ["event_id__exact", "intent_id__exact", "object_id__exact"]


@admin.register(Break)
class BreakAdmin(ReadOnly, admin.ModelAdmin[Break]):
    list_display = ["kind", "subject", "payment_link", "amount", "found_at", "resolved_at", "resolved_by", "proposal"]
    list_filter = ["kind", ("resolved_at", admin.EmptyFieldListFilter)]
    search_fields = ["subject__exact", "order__number__iexact"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Break]:
        return super().get_queryset(request).select_related("payment", "order")

    @admin.display(description="amount")
    def amount(self, found: Break) -> str:
        if found.amount_minor is None or not found.currency:
            return "-"
        return money_text(found.amount_minor, found.currency)

    @admin.display(description="what staff could do")
    def proposal(self, found: Break) -> str:
        return str(found.evidence.get("proposal", "-"))

    @admin.display(description="payment")
    def payment_link(self, found: Break) -> str:
        if found.payment_id is None:
            return "-"
        page = reverse("admin:payments_payment_change", args=[quote(found.payment_id)])
        return format_html('<a href="{}">{}</a>', page, found.payment)
