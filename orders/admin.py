"""Staff look at orders here. Nothing placed is edited: money and status move through payments alone (DESIGN 5)."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from orders.mail_links import revoke_links
from orders.models import Mail, Order, OrderLine, OrderLink


class ReadOnly:
    """Mixed into an admin: it shows, and changes nothing."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LineInline(ReadOnly, admin.TabularInline[OrderLine, Order]):
    model = OrderLine
    fields = ["sku", "name", "quantity", "price_minor", "total_minor"]
    extra = 0


class MailInline(ReadOnly, admin.TabularInline[Mail, Order]):
    model = Mail
    fields = ["kind", "subject", "state", "due_at", "sending_at", "sent_at", "refusals", "last_refusal"]
    extra = 0


class LinkInline(ReadOnly, admin.TabularInline[OrderLink, Order]):
    model = OrderLink
    fields = ["made_at", "expires_at", "revoked_at"]
    readonly_fields = ["made_at"]
    extra = 0


@admin.register(Order)
class OrderAdmin(ReadOnly, admin.ModelAdmin[Order]):
    list_display = ["number", "status", "total_text", "email", "placed_at", "paid_at"]
    list_filter = ["status", "currency", "placed_at"]
    search_fields = ["number__iexact", "email__istartswith", "=id"]
    date_hierarchy = "placed_at"
    ordering = ["-placed_at"]
    inlines = [LineInline, MailInline, LinkInline]
    actions = ["revoke_mail_links"]
    fieldsets = [
        (None, {"fields": ["number", "id", "status", "total_text", "currency"]}),
        (
            "Shopper",
            {"fields": ["user", "email", "name", "line1", "line2", "city", "region", "postal_code", "country"]},
        ),
        ("Time", {"fields": ["placed_at", "expires_at", "paid_at", "closed_at"]}),
        ("Being given up", {"fields": ["closing_since", "closing_by", "closing_reason"]}),
    ]

    @admin.action(description="Revoke the links of the mails", permissions=["revoke_links"])
    def revoke_mail_links(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """A mail went astray: its link, and what was opened with it, is closed at once. The orders stay as they are."""
        revoked = revoke_links(queryset)
        for order in queryset:
            self.log_change(request, order, "The links of its mails were revoked.")
        self.message_user(request, f"{revoked} links revoked.")

    def has_revoke_links_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("orders.revoke_links")


@admin.register(Mail)
class MailAdmin(ReadOnly, admin.ModelAdmin[Mail]):
    """`sending` for longer than a minute: it may have gone out. Ask the shopper before writing again (RULES R98).

    `dropped`: what it says was no longer so when it was to be sent.
    """

    list_display = ["order", "kind", "subject", "state", "due_at", "sending_at", "sent_at", "refusals", "last_refusal"]
    list_filter = ["state", "kind"]
    search_fields = ["order__number__iexact", "order__email__istartswith"]
    ordering = ["-due_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mail]:
        return super().get_queryset(request).select_related("order")
