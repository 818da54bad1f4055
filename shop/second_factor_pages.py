"""The pages of the second factor: ask for a code, set up a phone, show recovery codes once.

They are the only pages of the admin that a member of staff without a second factor gets, and they show nothing of it.
"""

from collections.abc import Callable
from functools import wraps
from urllib.parse import parse_qs, urlencode, urlsplit

import segno
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from shop import second_factor
from shop.pages import SeeOther, next_of, personal
from shop.second_factor import Verdict

WRONG = "This code is not valid. A code from the app works once and for half a minute; wait for the next one."

Page = Callable[[HttpRequest, User], HttpResponse]


def for_staff(page: Page) -> Callable[[HttpRequest], HttpResponse]:
    """A password is enough to come here, and is needed."""

    @wraps(page)
    def guarded(request: HttpRequest) -> HttpResponse:
        user = request.user
        if not (isinstance(user, User) and user.is_active and user.is_staff):
            return SeeOther(f"{reverse('admin:login')}?{urlencode({'next': request.get_full_path()})}")
        if not settings.STAFF_SECOND_FACTOR:
            return SeeOther(reverse("admin:index"))
        return page(request, user)

    return personal(sensitive_post_parameters("code")(require_http_methods(["GET", "HEAD", "POST"])(guarded)))


@for_staff
def verify(request: HttpRequest, user: User) -> HttpResponse:
    """Ask for a code: at log-in, and again before what moves money."""
    goal = _goal(request)
    if not second_factor.has_device(user):
        return SeeOther(f"{reverse('admin:enrol-second-factor')}?{urlencode({'next': goal})}")
    if request.method != "POST":
        return SeeOther(goal) if second_factor.is_fresh(request) else _code_page(request, "verify")
    verdict = second_factor.verify(request, request.POST.get("code", ""))
    if verdict.device is None:
        return _code_page(request, "verify", verdict)
    second_factor.remember(request, verdict.device)
    return SeeOther(goal)


@for_staff
def enrol(request: HttpRequest, user: User) -> HttpResponse:
    """Set up a phone. Who has one already shows it first: else a password alone would put another in its place."""
    if second_factor.has_device(user) and not second_factor.is_fresh(request):
        return second_factor.ask_again(request)
    if request.method != "POST":
        return _enrol_page(request)
    verdict, codes = second_factor.enrol(request, request.POST.get("code", ""))
    if verdict.device is None:
        return _enrol_page(request, verdict)
    second_factor.remember(request, verdict.device)
    return _codes_page(request, codes)


@for_staff
def recovery_codes(request: HttpRequest, user: User) -> HttpResponse:
    """How many are left, and a button for new ones."""
    if not second_factor.has_device(user) or not second_factor.is_fresh(request):
        return second_factor.ask_again(request)
    codes = second_factor.new_recovery_codes(request) if request.method == "POST" else []
    return _codes_page(request, codes)


def _goal(request: HttpRequest) -> str:
    return next_of(request, reverse("admin:index"))


def _enrol_page(request: HttpRequest, verdict: Verdict | None = None) -> HttpResponse:
    device = second_factor.device_to_confirm(request)
    address = device.config_url
    [secret] = parse_qs(urlsplit(address).query)["secret"]
    picture = segno.make(address, error="m").svg_inline(scale=5, border=4, light="#fff", svgclass=None, lineclass=None)
    return _code_page(
        request,
        "enrol",
        verdict,
        picture=mark_safe(picture),  # noqa: S308  drawn by segno: paths only, nothing of it was typed by anybody
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        account=request.user.get_username(),
        replaces=second_factor.has_device(device.user),
    )


def _code_page(request: HttpRequest, name: str, verdict: Verdict | None = None, **more: object) -> HttpResponse:
    """A page with a field for a code. A wrong code is 422, and 429 while the next one has to wait."""
    wait_seconds = verdict.wait_seconds if verdict else 0
    error, status = ("", 200) if verdict is None else (WRONG, 422)
    if wait_seconds:
        error, status = f"Too many wrong codes. Please wait {wait_seconds} seconds and enter a new one.", 429
    response = _page(request, name, status, error=error, goal=_goal(request), **more)
    if wait_seconds:
        response["Retry-After"] = str(wait_seconds)
    return response


def _codes_page(request: HttpRequest, codes: list[str]) -> HttpResponse:
    left = second_factor.codes_left(request.user) if isinstance(request.user, User) else 0
    return _page(request, "codes", 200, codes=codes, left=left, goal=_goal(request))


def _page(request: HttpRequest, name: str, status: int, **context: object) -> HttpResponse:
    titles = {"verify": "Enter a code", "enrol": "Set up your second factor", "codes": "Recovery codes"}
    frame = {"title": titles[name], "site_title": "Payonce", "site_header": "Payonce", "has_permission": False}
    return render(request, f"admin/second_factor/{name}.html", {**frame, **context}, status=status)
