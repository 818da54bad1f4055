"""Staff look after products here: prices and texts on a form, stock by differences alone (shop/stock_page.py)."""

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from shop.acts import Act, DoneAlready, Snapshot, version_of, who_asks, witnessed
from shop.ids import new_id
from shop.models import Product, StaffAct
from shop.money import CURRENCIES, LARGEST_MINOR, minor_of, money_text, plain_text
from shop.staff_pages import OnlyOfferedFilters, ReadOnly
from shop.stock import held_for_orders, subject_of, with_held
from shop.stock_page import stock_page

EDITED = ["name", "slug", "summary", "description", "currency", "on_sale", "position"]
LATEST_ACTS = 20
LATEST_MOVEMENTS = 20


def product_snapshot(product_id: int) -> Snapshot:
    """What an edit may change, for its audit row and its form's version. Not the stock: shoppers move it all day."""
    product = Product.objects.filter(pk=product_id).first()
    if product is None:
        return {}
    return {"price": product.price_text} | {name: getattr(product, name) for name in EDITED}


class Carried(forms.CharField):
    """Goes out hidden with the form and comes back as it was: no edit."""

    widget = forms.HiddenInput

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class ProductForm(forms.ModelForm[Product]):
    """Prices are typed as they are read, and kept exactly. The form does not overwrite what another clerk has saved
    since it was shown, and is saved once however often it is sent."""

    price = forms.CharField(max_length=16, help_text="Of one, tax included, in whole units: 24.00, or 2400 in yen.")
    version = Carried(required=False)
    form_key = Carried(max_length=40)

    class Meta:
        model = Product
        fields = ["sku", "stock", *EDITED]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["form_key"] = new_id()
        if "stock" in self.fields:
            self.fields["stock"].validators.append(MaxValueValidator(Product.MOST_STOCK))
        if self.instance.pk:
            self.initial["version"] = version_of(product_snapshot(self.instance.pk))
            self.initial["price"] = plain_text(self.instance.price_minor, self.instance.currency)

    def clean(self) -> dict[str, Any]:
        """In the transaction that saves: the row is locked here, so what is compared is so until it is saved."""
        entries = super().clean() or self.cleaned_data
        if self.instance.pk:
            Product.objects.select_for_update(no_key=True).get(pk=self.instance.pk)
        form_key = entries.get("form_key")
        if form_key and StaffAct.objects.filter(form_key=form_key).exists():
            raise DoneAlready(form_key)
        if entries.get("price") and entries.get("currency"):
            self._read_price(entries["price"], entries["currency"])
        if self.instance.pk:
            self._refuse_if_stale(entries)
        return entries

    def _read_price(self, price: str, currency: str) -> None:
        try:
            amount_minor = minor_of(price, currency)
        except ValueError as wrong:
            self.add_error("price", f"{wrong}.")
            return
        if not 0 < amount_minor <= LARGEST_MINOR:
            self.add_error("price", f"A price is more than nothing and at most {money_text(LARGEST_MINOR, currency)}.")
            return
        self.instance.price_minor = amount_minor

    def _refuse_if_stale(self, entries: dict[str, Any]) -> None:
        now = product_snapshot(self.instance.pk)
        if entries.get("version") == version_of(now):
            return
        # The entries stay in the form, and its next version is what the error shows.
        self.data = {**self.data.dict(), "version": version_of(now)} if isinstance(self.data, QueryDict) else self.data
        theirs = "; ".join(f"{name}: {worth}" for name, worth in now.items() if _differs(name, worth, entries))
        last = StaffAct.objects.filter(subject=subject_of(self.instance)).first()
        who = last.actor_name if last else "Somebody"
        raise ValidationError(
            f"{who} has saved this product since you opened it, and nothing of yours was saved. It now says, where"
            f" yours differs: {theirs or 'the same as yours'}. Look at your entries, then save them if they are still"
            " right."
        )


def _differs(name: str, worth: object, entries: dict[str, Any]) -> bool:
    if name != "price":
        return worth != entries.get(name)
    currency = entries.get("currency")
    try:
        return currency not in CURRENCIES or worth != money_text(minor_of(entries.get("price", ""), currency), currency)
    except ValueError:
        return True


admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(OnlyOfferedFilters, UserAdmin[User]):
    """Staff and shoppers with an account, as Django has them; the list is filtered by what it offers alone."""


@admin.register(Product)
class ProductAdmin(OnlyOfferedFilters, admin.ModelAdmin[Product]):
    """Orders keep the price they were placed at. Stock is not set: a shopper may be buying while staff type, so it
    moves by differences only (DESIGN section 4)."""

    form = ProductForm
    change_form_template = "admin/shop/product/change_form.html"
    list_display = ["name", "sku", "price_text", "stock", "held", "on_sale"]
    list_filter = ["on_sale", "currency"]
    search_fields = ["name", "sku"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Product]:
        return with_held(super().get_queryset(request))

    @admin.display(description="held for orders")
    def held(self, product: Product) -> int:
        return getattr(product, "held", None) or 0

    @admin.display(description="stock")
    def stock_now(self, product: Product) -> str:
        return f"{product.stock} free to be bought, {held_for_orders(product)} more held for orders and not sent yet"

    def get_fields(self, request: HttpRequest, obj: Product | None = None) -> Any:
        if not (self.has_change_permission(request, obj) if obj else True):
            return ["sku", "name", "slug", "summary", "description", "price_text", "stock_now", "on_sale", "position"]
        stock = "stock_now" if obj else "stock"
        form = ["sku", "name", "slug", "summary", "description", "price", "currency", stock, "on_sale", "position"]
        return [*form, "version", "form_key"]

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> list[str]:
        return ["sku", "stock_now"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Product | None = None) -> dict[str, Sequence[str]]:
        return {} if obj else {"slug": ["name"]}

    def get_urls(self) -> list[URLPattern]:
        return [path("<int:product_id>/stock/", stock_page, name="shop_product_correct_stock"), *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form that comes a second time is not saved a second time."""
        named = object_id if object_id and object_id.isascii() and object_id.isdigit() else None
        product = Product.objects.filter(pk=named).first() if named else None
        seen = {
            "acts": StaffAct.objects.filter(subject=subject_of(product))[:LATEST_ACTS] if product else [],
            "movements": product.movements.all()[:LATEST_MOVEMENTS] if product else [],
        }
        try:
            page: HttpResponse = super().changeform_view(request, object_id, form_url, (extra_context or {}) | seen)
        except DoneAlready:
            return self._saved_already(request, product)
        except IntegrityError:  # two of one "add" at one moment: the later finds the sku taken
            form_key = request.POST.get("form_key")
            if not form_key or not StaffAct.objects.filter(form_key=form_key).exists():
                raise
            return self._saved_already(request, product)
        return page

    def _saved_already(self, request: HttpRequest, product: Product | None) -> HttpResponse:
        messages.info(request, "Saved already by this form, and not a second time.")
        if product is None:
            return HttpResponseRedirect(reverse("admin:shop_product_changelist"), status=303)
        return HttpResponseRedirect(reverse("admin:shop_product_change", args=[product.pk]), status=303)

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """Write only what was edited, with the audit row: a whole row would set the stock back to what it was when it
        was read."""
        columns = {"price_minor" if name == "price" else name for name in form.changed_data}
        if "currency" in columns:
            columns.add("price_minor")  # 2400 typed for yen is another amount in pence, though the text is the same
        if not columns:
            return
        act = Act(
            name="edit product",
            who=who_asks(request),
            subject=subject_of(obj),
            snapshot=lambda: product_snapshot(obj.pk or 0),
            form_key=form.cleaned_data["form_key"],
            note="" if change else f"added, with {obj.stock} in stock",
        )
        with witnessed(act):
            if change:
                obj.save(update_fields=columns)
            else:
                obj.added_by, obj.added_why = act.who.name, "added by staff"
                obj.save()

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        return False  # order lines name it; "on sale" takes it out of the shop


@admin.register(StaffAct)
class StaffActAdmin(ReadOnly, admin.ModelAdmin[StaffAct]):
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
