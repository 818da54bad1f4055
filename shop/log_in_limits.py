"""How often a wrong password may be tried: django-axes counts in PostgreSQL, this says what counts (SECURITY SE36).

It stops guessing from one address. It does not stop many addresses that guess at one account, a few times each: staff
have a second factor for that. The account alone is never locked, because then a stranger could lock its owner out.
"""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from shop.addresses import network_of
from shop.problems import Problem, problem_response

_MOST_OF_NAME = 255  # what the column holds


class LogInLimits(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    """Failures of this account from this address count whole; those of the address with any account in proportion."""

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        [_, of_address] = self.get_user_attempts(request, credentials)
        mine = Q(username=account_tried(request, credentials))
        counted = of_address.aggregate(
            pair=Sum("failures_since_start", filter=mine, default=0), address=Sum("failures_since_start", default=0)
        )
        in_proportion: int = counted["address"] * settings.AXES_FAILURE_LIMIT // settings.LOG_IN_FAILURES_OF_ADDRESS
        return max(int(counted["pair"]), in_proportion)

    def reset_user_attempts(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """A log-in forgives its own account's failures. Not the address's: whoever guesses has an account as well."""
        [of_pair, _] = self.filter_user_attempts(request, credentials)
        return int(of_pair.delete()[0])


def account_tried(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """The name as it is counted: capitals make no other account."""
    name = (credentials or {}).get("username") or request.POST.get("username") or ""
    return str(name).lower()[:_MOST_OF_NAME]


def network_that_tries(request: HttpRequest) -> str | None:
    return network_of(request) or None


def locked_out(request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None) -> HttpResponse:
    """The same answer for a right and a wrong name, and for a right and a wrong password."""
    seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
    if "application/json" in request.headers.get("Accept", ""):
        return problem_response(request, Problem("throttled", "Too many wrong passwords. Please wait.", seconds))
    page = render(request, "account/locked.html", {"minutes": seconds // 60}, status=429)
    page["Retry-After"] = str(seconds)
    page["Cache-Control"] = "no-store"
    return page


def forget_failures(user: AbstractBaseUser) -> None:
    """From every address: the account has a new password."""
    AccessAttempt.objects.filter(username=user.get_username().lower()).delete()
