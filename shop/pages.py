"""The storefront's pages: products, one product, the cart; and what every page shares."""

from collections.abc import Callable
from typing import Any

from csp.decorators import csp_update
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve

from shop.models import Product
from shop.problems import Problem, problem_response

# On a view that takes a card: Stripe's hosts join the page's Content Security Policy (SECURITY SE21).
with_stripe = csp_update(settings.STRIPE_CSP)


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/home.html", {"products": Product.objects.filter(on_sale=True)})


def product(request: HttpRequest, slug: str) -> HttpResponse:
    found = get_object_or_404(Product, slug=slug, on_sale=True)
    return render(request, "shop/product.html", {"product": found})


def cart(request: HttpRequest) -> HttpResponse:
    return render(request, "shop/cart.html")


def cart_in_header(request: HttpRequest) -> dict[str, Callable[[], int]]:
    """Context processor: `cart_count`, asked for only by the pages that show it."""
    return {"cart_count": lambda: 0}


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


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "400.html", status=400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "403.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(("/api/", "/webhooks/")):
        return problem_response(request, Problem("not-found", "There is nothing here."))
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Only reached where shop.middleware is not in place."""
    return HttpResponse(render_to_string("500.html"), status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form whose token does not match: an old tab, or cookies are off. `reason` is for logs only."""
    return render(request, "403_csrf.html", status=403)
