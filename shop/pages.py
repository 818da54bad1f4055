"""The storefront's pages: products, one product, the cart; and what every page shares."""

import re
from collections.abc import Callable
from functools import cache

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import Resolver404, resolve, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_POST, require_safe

from shop.cart import (
    LINE_MOST,
    CartRefused,
    add,
    cart_for_change,
    currency_of,
    current_cart,
    item_count,
    set_quantity,
    total_minor,
)
from shop.models import Product
from shop.problems import Problem, problem_response
from shop.staff_pages import in_admin, in_frame, who_does_this

# On a view that takes a card: Stripe's hosts join the page's Content Security Policy (SECURITY SE21).
with_stripe = csp_update(settings.STRIPE_CSP)

# On a view that shows somebody's own things: no cache keeps it, the browser's neither (SECURITY SE62).
personal = cache_control(no_store=True, private=True)

_QUANTITY = re.compile(r"[0-9]{1,4}", re.ASCII)


class SeeOther(HttpResponseRedirect):
    """The answer to a form: 303, so that reloading the next page posts nothing again (RULES R46)."""

    status_code = 303


def next_of(request: HttpRequest, otherwise: str) -> str:
    """Where somebody was going before they had to log in, if that is a place of ours (SECURITY SE53)."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if ours else otherwise


# --- Products -------------------------------------------------------------------------------------------------------


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/home.html", {"products": Product.objects.filter(on_sale=True)})


@require_safe
def product(request: HttpRequest, slug: str) -> HttpResponse:
    found = get_object_or_404(Product, slug=slug, on_sale=True)
    return render(request, "shop/product.html", {"product": found, "most": min(found.stock, LINE_MOST)})


# --- Cart -----------------------------------------------------------------------------------------------------------


@require_safe
@personal
def cart(request: HttpRequest) -> HttpResponse:
    found = current_cart(request)
    items = list(found.items.select_related("product").order_by("product_id")) if found else []
    lines = [item for item in items if item.product.on_sale]
    context = {
        "lines": lines,
        "withdrawn": [item for item in items if not item.product.on_sale],
        "short": any(line.quantity > line.product.stock for line in lines),
        "total_minor": total_minor(lines),
        "currency": currency_of(lines),
        "line_most": LINE_MOST,
        "cart_count": sum(line.quantity for line in lines),
    }
    return render(request, "shop/cart.html", context)


@require_POST
def add_to_cart(request: HttpRequest) -> HttpResponse:
    """The product page's form: `sku` and `quantity`."""
    wanted = _quantity(request)
    found = get_object_or_404(Product, sku=request.POST.get("sku", ""), on_sale=True)
    if not wanted:
        messages.error(request, f"Please choose a number from 1 to {LINE_MOST}.")
        return SeeOther(found.get_absolute_url())
    if found.stock == 0:
        messages.warning(request, f"{found.name} is sold out.")
        return SeeOther(found.get_absolute_url())
    try:
        held = add(cart_for_change(request), found.sku, wanted)
    except CartRefused as refusal:
        messages.error(request, str(refusal))
        return SeeOther(found.get_absolute_url())
    if held > found.stock:
        set_quantity(cart_for_change(request), found.sku, found.stock)
        messages.warning(request, _only_so_many(found))
    else:
        messages.success(request, f"{found.name} is in your cart.")
    return SeeOther(reverse("cart"))


@require_POST
def change_cart_item(request: HttpRequest, sku: str) -> HttpResponse:
    """The cart page's forms: a new `quantity` for one product; 0 removes it."""
    wanted = _quantity(request)
    changed = current_cart(request)
    found = Product.objects.filter(sku=sku).first()
    if changed is None or found is None:  # the session ended, or an old page: the cart page shows how it is
        return SeeOther(reverse("cart"))
    if wanted is None:
        messages.error(request, f"Please choose a number from 0 to {LINE_MOST}.")
        return SeeOther(reverse("cart"))
    try:
        set_quantity(changed, sku, min(wanted, max(found.stock, 0)) if wanted <= LINE_MOST else wanted)
    except CartRefused as refusal:
        messages.error(request, str(refusal))
    except Product.DoesNotExist:
        messages.warning(request, f"{found.name} is no longer sold.")
    else:
        if wanted > found.stock:
            messages.warning(request, _only_so_many(found))
        elif wanted == 0:
            messages.success(request, f"{found.name} is out of your cart.")
        else:
            messages.success(request, f"You have {wanted} × {found.name} now.")
    return SeeOther(reverse("cart"))


def _quantity(request: HttpRequest) -> int | None:
    """The form's quantity if it is a whole number in plain digits (SECURITY SE14)."""
    text = request.POST.get("quantity", "").strip()
    return int(text) if _QUANTITY.fullmatch(text) else None


def _only_so_many(found: Product) -> str:
    if found.stock == 0:
        return f"{found.name} is sold out, so we took it out of your cart."
    return f"Only {found.stock} of {found.name} are left, so your cart has {found.stock}."


# --- On every page --------------------------------------------------------------------------------------------------


def cart_in_header(request: HttpRequest) -> dict[str, Callable[[], int]]:
    """Context processor: `cart_count`, counted once, and only where a template shows it."""
    return {"cart_count": cache(lambda: item_count(request))}


def no_such_page(request: HttpRequest) -> HttpResponse:
    """Every path that no other pattern takes. A page's address without its last slash leads to the page."""
    if request.method in ("GET", "HEAD") and not request.path.endswith("/") and not request.path.startswith("/api/"):
        try:
            match = resolve(f"{request.path}/")
        except Resolver404:
            raise Http404 from None
        if match.func is not no_such_page:
            query = f"?{request.META['QUERY_STRING']}" if request.META.get("QUERY_STRING") else ""
            return HttpResponsePermanentRedirect(f"{request.path}/{query}")
    raise Http404


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """What browsers ask for on pages that name no icon: the admin's."""
    return HttpResponsePermanentRedirect(static("img/favicon.svg"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if in_admin(request):
        return _within_admin(request, 400, "The address or the form has something in it that is never part of one")
    return render(request, "400.html", status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if in_admin(request):
        view = request.resolver_match.func if request.resolver_match else None
        permission = getattr(view, "staff_permission", "")
        return _within_admin(request, 403, "You may not do this", whose=who_does_this(permission) if permission else "")
    return render(request, "403.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """One answer for what is not there and for what is somebody else's (SECURITY SE2)."""
    if request.path.startswith(("/api/", "/webhooks/")):
        return problem_response(request, Problem("not-found", "There is nothing here."))
    if in_admin(request):
        return _within_admin(request, 404, "There is nothing at this address")
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Only reached where shop.middleware is not in place."""
    return HttpResponse(render_to_string("500.html"), status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form whose token does not match: an old tab, or cookies are off. `reason` is for logs only."""
    if in_admin(request):
        return _within_admin(request, 403, "Nothing was done: this form is from an older visit", old_form=True)
    return render(request, "403_csrf.html", status=403)


def _within_admin(request: HttpRequest, status: int, title: str, **more: object) -> HttpResponse:
    """For staff: never the shopper's page, which speaks of his orders."""
    return render(request, "admin/refused.html", in_frame(request, title, status=status, **more), status=status)
