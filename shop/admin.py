"""Staff look after products here. Plain ModelAdmin: what a product may be is said by the model."""

import json
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from shop.models import Product, StaffAct


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin[Product]):
    """Prices are edited; orders keep the price they were placed at. Stock is not set: a shopper may be buying while
    staff type, so it moves by differences only (DESIGN section 4)."""

    list_display = ["name", "sku", "price_text", "stock", "on_sale"]
    list_filter = ["on_sale", "currency"]
    search_fields = ["name", "sku"]
    prepopulated_fields = {"slug": ["name"]}
    fields = [
        "sku",
        "name",
        "slug",
        "summary",
        "description",
        "price_minor",
        "currency",
        "stock",
        "on_sale",
        "position",
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> list[str]:
        return ["sku", "stock"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Product | None = None) -> dict[str, Sequence[str]]:
        return {} if obj else {"slug": ["name"]}

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """Write only what was edited: a whole row would set the stock back to what it was when it was read."""
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            obj.save()

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        return False  # order lines name it; "on sale" takes it out of the shop


@admin.register(StaffAct)
class StaffActAdmin(admin.ModelAdmin[StaffAct]):
    """What staff have done. For reading, by whoever has shop.view_staffact: not even a superuser changes a row, and the
    database refuses it too (SECURITY SE50)."""

    list_display = ["moment", "actor_name", "act", "subject", "order_link", "note", "address"]
    list_filter = ["act", "at", ("actor", admin.RelatedOnlyFieldListFilter)]
    search_fields = ["subject", "order_id"]
    search_help_text = "An order's id, or what was acted on as it stands in the list"
    ordering = ["-id"]
    show_full_result_count = False
    fields = [
        "moment",
        "actor_name",
        "act",
        "subject",
        "order_link",
        "note",
        "address",
        "agent",
        "form_key",
        "before_text",
        "after_text",
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: StaffAct | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: StaffAct | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StaffAct], search_term: str
    ) -> tuple[QuerySet[StaffAct], bool]:
        """The words as one: "break 12" is not whatever has to do with 12."""
        term = search_term.strip()
        found = Q(subject=term) | Q(order_id=term)
        return (queryset.filter(found) if term else queryset), False

    @admin.display(description="at (UTC)", ordering="id")
    def moment(self, act: StaffAct) -> str:
        return f"{act.at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="order", empty_value="-")
    def order_link(self, act: StaffAct) -> str:
        if not act.order_id:
            return ""
        page = reverse("admin:orders_order_change", args=[quote(act.order_id)])
        return format_html('<a href="{}">{}</a>', page, act.order_id)

    @admin.display(description="before")
    def before_text(self, act: StaffAct) -> str:
        return _as_text(act.before)

    @admin.display(description="after")
    def after_text(self, act: StaffAct) -> str:
        return _as_text(act.after)


def _as_text(rows: Any) -> str:
    return format_html("<pre>{}</pre>", json.dumps(rows, indent=2, ensure_ascii=False))
