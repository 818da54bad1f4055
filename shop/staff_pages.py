"""What every page of staff shares: who may open it, and the admin's frame around it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache

View = Callable[..., HttpResponseBase]


def staff_page(permission: str) -> Callable[[View], View]:
    """Only for staff who are logged in to the admin and have this permission; else the log-in page, or 403.

    The view keeps the permission as `staff_permission`: the test of every admin address by every role reads it there.
    """

    def only_for_those(view: View) -> View:
        @wraps(view)
        def allowed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        page: View = never_cache(admin.site.admin_view(allowed))
        page.staff_permission = permission  # type: ignore[attr-defined]
        return page

    return only_for_those


def in_frame(request: HttpRequest, title: str, **context: Any) -> dict[str, Any]:
    """A page's context inside the admin's frame: its header, navigation and messages."""
    return {**admin.site.each_context(request), "title": title, **context}
