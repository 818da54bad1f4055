"""The page on which staff correct a product's stock by a difference."""

import re

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse

from shop.acts import Act, DoneAlready, StaleForm, who_asks
from shop.ids import new_id
from shop.models import Product
from shop.staff_pages import in_frame, staff_page
from shop.stock import CORRECT, BelowZero, correct_stock, held_for_orders, last_correction, stock_snapshot, subject_of

_MOST = 1_000_000


class StockForm(forms.Form):
    difference = forms.CharField(
        label="Difference", max_length=9, help_text="+5 for five more, -3 for three fewer. Never the new stock."
    )
    reason = forms.CharField(
        label="Reason", max_length=400, help_text="For example: counted, broken, a delivery with its number."
    )
    form_key = forms.CharField(max_length=40, widget=forms.HiddenInput)
    last_seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def clean_difference(self) -> int:
        text = self.cleaned_data["difference"].replace("\N{MINUS SIGN}", "-")
        if not re.fullmatch(r"[+-][0-9]+", text) or int(text) == 0 or abs(int(text)) > _MOST:
            raise ValidationError("Write a sign and a number, such as +5 or -3.")
        return int(text)


@staff_page("shop.correct_stock")
def stock_page(request: HttpRequest, product_id: int) -> HttpResponse:
    product = get_object_or_404(Product, pk=product_id)
    if request.method != "POST":
        return _page(request, product, _fresh(product))
    form = StockForm(request.POST)
    if not form.is_valid():
        return _page(request, product, form)
    act = Act(
        name=CORRECT,
        who=who_asks(request),
        subject=subject_of(product),
        snapshot=lambda: stock_snapshot(product.pk),
        form_key=form.cleaned_data["form_key"],
        note=f"{form.cleaned_data['difference']:+d}: {form.cleaned_data['reason']}",
    )
    try:
        correct_stock(product.pk, form.cleaned_data["difference"], act, form.cleaned_data["last_seen"])
        messages.success(request, f"Stock of {product} corrected by {form.cleaned_data['difference']:+d}.")
    except DoneAlready:
        messages.info(request, "Corrected already by this form, and not a second time.")
    except BelowZero as short:
        only = "only " if form.cleaned_data["difference"] < 0 else ""  # else it would be more than a stock may be
        form.add_error("difference", f"There are {only}{short.stock}. Nothing was changed.")
        return _page(request, product, form)
    except StaleForm:
        return _page(request, product, _seen_again(request, product, form))
    return HttpResponseRedirect(reverse("admin:shop_product_change", args=[product.pk]), status=303)


def _fresh(product: Product) -> StockForm:
    last = last_correction(product)
    return StockForm(initial={"form_key": new_id(), "last_seen": last.pk if last else None})


def _seen_again(request: HttpRequest, product: Product, form: StockForm) -> StockForm:
    """The entries are kept, and what somebody else did meanwhile counts as seen from now on, for the page says it."""
    last = last_correction(product)
    entries = request.POST.copy()
    entries["last_seen"] = str(last.pk) if last else ""
    again = StockForm(entries)
    said = f"{last.actor_name} has corrected it meanwhile, {last.note}." if last else "It was corrected meanwhile."
    again.add_error(None, f"{said} Nothing was changed by you. Is your correction still right? Then send it again.")
    return again


def _page(request: HttpRequest, product: Product, form: StockForm) -> HttpResponse:
    product.refresh_from_db()
    context = in_frame(
        request,
        f"Correct the stock of {product}",
        product=product,
        form=form,
        held=held_for_orders(product),
        last=last_correction(product),
    )
    return TemplateResponse(request, "admin/shop/product/stock.html", context)
