"""Staff look after products here. Plain ModelAdmin: what a product may be is said by the model."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from shop.models import Product


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
