"""The pages behind the link in a mail: a button, and what comes of pressing it."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from orders.mail_links import give_grant, link_of
from orders.wrong_links import SPAN, note_wrong_link, tried_too_often
from shop.pages import SeeOther, personal

P = ParamSpec("P")


def _tells_nobody_the_address(view: Callable[P, HttpResponse]) -> Callable[P, HttpResponse]:
    """The address holds a token: of it, no request that the page makes says more than the shop's name.

    Not `no-referrer`: with that browsers send `Origin: null` with our own form, and Django refuses it as a stranger's.
    """

    @wraps(view)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        response = view(*args, **kwargs)
        response["Referrer-Policy"] = "strict-origin"
        return response

    return quiet


@require_safe
@personal
@_tells_nobody_the_address
def mail_link(request: HttpRequest, token: str) -> HttpResponse:
    """One page for every token, right or wrong: it asks nothing and changes nothing, mail scanners come by here."""
    return render(request, "orders/link.html", {"token": token})


@require_http_methods(["GET", "HEAD", "POST"])
@personal
@_tells_nobody_the_address
@sensitive_post_parameters("token")
def exchange(request: HttpRequest) -> HttpResponse:
    """The button: a token for a grant. Pressed again, on Back or reload, it does the same again."""
    if request.method != "POST":  # a link that was cut off before its token
        return _opens_nothing(request)
    if tried_too_often(request):
        page = render(request, "orders/link_wait.html", status=429)
        page["Retry-After"] = str(int(SPAN.total_seconds()))
        return page
    link = link_of(request.POST.get("token", ""))
    if link is None:
        note_wrong_link(request)
        return _opens_nothing(request)
    give_grant(request, link)
    return SeeOther(f"/orders/{link.order_id}/")


def _opens_nothing(request: HttpRequest) -> HttpResponse:
    return render(request, "orders/link_over.html", status=404)
