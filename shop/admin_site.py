"""Django's admin as the shop has it: every page of it needs a second factor as well (SECURITY SE47).

`admin.site` is this one (shop.apps.AdminConfig), so `@admin.register` and the staff desk's pages come through here.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import URLPattern, URLResolver, path

View = Callable[..., HttpResponseBase]


def _refuse_nul(request: HttpRequest) -> None:
    """PostgreSQL keeps no NUL in a text, and Django's lists and pages ask it for whatever stands in the address."""
    sent = [request.path, *(one for query in (request.GET, request.POST) for _, many in query.lists() for one in many)]
    if any("\0" in str(one) for one in sent):
        raise BadRequest("a NUL was sent")


class PayonceAdmin(AdminSite):
    site_header = "Payonce"
    site_title = "Payonce"
    index_title = "The shop's records"

    def has_permission(self, request: HttpRequest) -> bool:
        from shop.second_factor import is_verified

        return super().has_permission(request) and is_verified(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Who has given a password only is asked for the second factor, and gets nowhere else."""
        from shop.second_factor import ask_again, owes_second_factor

        allowed: View = super().admin_view(view, cacheable)

        @wraps(allowed)
        def gated(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            _refuse_nul(request)
            return ask_again(request) if owes_second_factor(request) else allowed(request, *args, **kwargs)

        return gated

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from shop.second_factor import ask_again, owes_second_factor

        if request.method == "GET" and owes_second_factor(request):
            return ask_again(request)
        return super().login(request, extra_context)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        from django.conf import settings

        return super().each_context(request) | {"second_factor_on": settings.STAFF_SECOND_FACTOR}

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from shop import second_factor_pages as pages

        return [
            path("second-factor/", pages.verify, name="second-factor"),
            path("second-factor/phone/", pages.enrol, name="enrol-second-factor"),
            path("second-factor/recovery-codes/", pages.recovery_codes, name="recovery-codes"),
            *super().get_urls(),
        ]
