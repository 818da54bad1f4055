"""What every page of staff shares: who may open it, and the admin's frame around it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

View = Callable[..., HttpResponseBase]

# Whose each permission is, as the shop ships its groups (docs/staff.md); a superuser has them all.
WHO_MAY = {
    "payments.reconcile_payment": "On-call",
    "payments.replay_webhookevent": "On-call",
    "payments.refund_payment": "Finance",
    "payments.export_payment": "Finance",
    "payments.resolve_break": "Finance or on-call",
    "shop.view_staffact": "Finance or on-call",
    "orders.cancel_order": "A clerk",
    "orders.fulfil_order": "A clerk",
    "orders.send_mail_again": "A clerk",
    "orders.revoke_links": "A clerk",
    "shop.correct_stock": "A clerk",
    "shop.change_product": "A clerk",
}


def who_does_this(permission: str) -> str:
    """For whoever lacks it."""
    return f"{WHO_MAY.get(permission, 'Somebody else')} does this"


def in_admin(request: HttpRequest) -> bool:
    """Whether an error page belongs into the admin's frame: its address, and who may see the admin."""
    return request.path.startswith("/admin/") and hasattr(request, "user") and bool(admin.site.has_permission(request))


# GET shows what an act will do, POST does it.
act_page = require_http_methods(["GET", "HEAD", "POST"])


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


# What Django's own filters and its date hierarchy ask with.
_ASKED_WITH = {"exact", "id__exact", "in", "isnull", "isempty", "gte", "lt", "year", "month", "day"}


class OnlyOfferedFilters:
    """Mixed into an admin: its list is filtered by what it offers, and by nothing else.

    Django lets the address ask for any column of the row: so an e-mail that is masked on the page could be guessed
    letter by letter (`?email__startswith=a`).
    """

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        for offered in (*getattr(self, "list_filter", ()), getattr(self, "date_hierarchy", None)):
            if isinstance(offered, type) and issubclass(offered, admin.SimpleListFilter):
                if lookup == offered.parameter_name:
                    return True
            elif offered and _asks_for(lookup, offered[0] if isinstance(offered, tuple) else offered):
                return True
        return False


def _asks_for(lookup: str, column: str) -> bool:
    return lookup == column or lookup.removeprefix(f"{column}__") in _ASKED_WITH


class ReadOnly(OnlyOfferedFilters):
    """Mixed into an admin: it shows, and changes nothing."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def in_frame(request: HttpRequest, title: str, **context: Any) -> dict[str, Any]:
    """A page's context inside the admin's frame: its header, navigation and messages."""
    return {**admin.site.each_context(request), "title": title, **context}
