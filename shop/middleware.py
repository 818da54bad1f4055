"""What every request passes: errors become calm pages or problems, and log lines never hold a query string."""

import re
from collections.abc import Callable
from uuid import uuid4

import structlog
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django_structlog.middlewares import RequestMiddleware

from shop.pages import not_found
from shop.problems import Problem, problem_response

log = structlog.get_logger(__name__)

MACHINE_PATHS = ("/api/", "/webhooks/")  # their clients read problems, not pages
RETRY_AFTER_SECONDS = 5
# Links in mails: of an order, and to a new password.
_WITH_TOKEN = re.compile(r"^(/orders/link/|/account/password-reset/).+")


class DatabaseDownMiddleware:
    """The outermost word on errors: 503 when PostgreSQL does not answer, 500 with a request id for anything else.

    It sees errors of views *and* of the middleware inside it (loading a session needs PostgreSQL too), because
    DEBUG_PROPAGATE_EXCEPTIONS lets them through. Neither answer touches the database.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.get_response(request)
        except (OperationalError, InterfaceError) as error:
            log.warning("database_unavailable", error=type(error).__name__, path=_path_to_log(request))
            return _unavailable(request)
        except Exception as error:  # noqa: BLE001  whatever it is, it is answered here and logged
            return _broken(request, error)
        finally:
            structlog.contextvars.clear_contextvars()

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A 404 looks the same in development as in production."""
        return not_found(request, exception) if isinstance(exception, Http404) else None


class RequestLog(RequestMiddleware):
    """One line when a request starts and one when it ends. Stripe's return puts a client secret into the query string,
    so only the path is written (SECURITY SE12), and of a link that a mail carries not its token (SE5)."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {_path_to_log(request)}"


def _path_to_log(request: HttpRequest) -> str:
    return _WITH_TOKEN.sub(r"\1...", request.path)


def _unavailable(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(MACHINE_PATHS):
        problem = Problem("unavailable", "Our database is not answering. Please try again in a moment.")
        return problem_response(request, problem)
    # Rendered without the request: no context processor may ask the database for the user or the cart.
    response = HttpResponse(render_to_string("503.html"), status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


def _broken(request: HttpRequest, error: Exception) -> HttpResponse:
    request_id = structlog.contextvars.get_contextvars().get("request_id") or str(uuid4())
    # The traceback stands in RequestLog's line; this one says what was answered.
    log.error("unhandled_error", error=type(error).__name__, path=_path_to_log(request), request_id=request_id)
    if request.path.startswith(MACHINE_PATHS):
        problem = Problem(
            "internal-error",
            "Something went wrong here. Please try again with the same key.",
            extra={"request_id": request_id},
        )
        return problem_response(request, problem)
    response = HttpResponse(render_to_string("500.html", {"request_id": request_id}), status=500)
    response["Cache-Control"] = "no-store"
    return response
