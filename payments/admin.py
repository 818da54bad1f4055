"""What staff see of money: everything, and nothing of it editable. Acts come through the core, never through a form."""

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from orders.admin import ReadOnly
from payments.desk.find import MOST, find_payments
from payments.models import Attempt, Break, Dispute, Payment, PaymentEvent, Refund, WebhookEvent
from shop.money import money_text


class AttemptInline(ReadOnly, admin.TabularInline[Attempt, Payment]):
    model = Attempt
    extra = 0
    fields = ["number", "pressed_at", "phase", "outcome", "reason", "decline_code", "charge_id", "idempotency_key"]
    readonly_fields = ("pressed_at",)
    show_change_link = True


class RefundInline(ReadOnly, admin.TabularInline[Refund, Payment]):
    model = Refund
    extra = 0
    fields = ["created_at", "amount_minor", "currency", "reason", "outcome", "refund_id", "actor"]
    readonly_fields = ("created_at",)


class DisputeInline(ReadOnly, admin.TabularInline[Dispute, Payment]):
    model = Dispute
    extra = 0
    fields = ["opened_at", "status", "amount_minor", "currency", "reason", "dispute_id"]


class EventInline(ReadOnly, admin.TabularInline[PaymentEvent, Payment]):
    model = PaymentEvent
    extra = 0
    verbose_name_plural = "Story: what moved, who asked, and every call to Stripe"
    fields = [
        "at",
        "kind",
        "from_state",
        "to_state",
        "asked_by",
        "actor",
        "http_status",
        "milliseconds",
        "request_id",
        "gateway_key",
        "note",
    ]
    ordering = ["id"]


@admin.register(Payment)
class PaymentAdmin(ReadOnly, admin.ModelAdmin[Payment]):
    list_display = [
        "order_number",
        "phase",
        "amount",
        "captured",
        "refunded",
        "card",
        "email",
        "intent_id",
        "created_at",
    ]
    list_filter = ["phase", "currency", "created_at"]
    list_select_related = ["order"]
    date_hierarchy = "created_at"
    search_help_text = "E-mail, order number, amount (24.00), last four digits; intent, charge, refund; any id or key"
    search_fields = ["pk"]  # shows the box; find.py searches
    show_full_result_count = False
    inlines = [AttemptInline, RefundInline, DisputeInline, EventInline]
    exclude = ["create_params"]

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

    @admin.display(description="e-mail")
    def email(self, payment: Payment) -> str:
        return payment.order.email


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
