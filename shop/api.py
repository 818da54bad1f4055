"""What every API view shares: CSRF for guests too, bounded JSON, problems instead of DRF's error bodies."""

from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions, serializers
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.utils.serializer_helpers import ReturnDict

from shop.problems import Problem, problem_response

log = structlog.get_logger(__name__)


def django_request(request: Request) -> HttpRequest:
    """The request as the rest of the shop knows it: cart, guest id and session belong to Django's own."""
    return request._request  # noqa: SLF001  DRF offers no other way


class SessionAuthentication(DRFSessionAuthentication):
    """Django's session. Unlike DRF's own class it enforces CSRF for guests as well (SECURITY SE9)."""

    def authenticate(self, request: Request) -> Any:
        if request.method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
            self.enforce_csrf(request)
        user = getattr(django_request(request), "user", None)
        if user is None or not user.is_active:
            return None
        return (user, None)


class BoundedJSONParser(JSONParser):
    """JSON of at most API_BODY_MOST bytes, an object at the top (SECURITY SE37)."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        request = django_request(parser_context["request"])
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.API_BODY_MOST:
            raise Problem("body-too-large", f"Send at most {settings.API_BODY_MOST // 1024} KiB.")
        try:
            parsed = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise exceptions.ParseError("The body is nested too deeply.") from None
        if not isinstance(parsed, dict):
            raise exceptions.ParseError("The body must be a JSON object.")
        return parsed


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses fields it does not know (SECURITY SE7)."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError({name: ["This field is not known."] for name in unknown})
        return super().to_internal_value(data)


class WholeNumber(serializers.IntegerField):
    """A JSON whole number: no string, no fraction, no boolean (SECURITY SE14)."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            raise serializers.ValidationError("Send a whole number.")
        return super().to_internal_value(data)


def validated(serializer: serializers.Serializer[Any]) -> ReturnDict[str, Any] | dict[str, Any]:
    """The serializer's validated input.

    Raises:
        Problem: validation-failed, with `errors`: field -> list of sentences.
    """
    if not serializer.is_valid():
        raise _validation_failed(serializer.errors)
    result: dict[str, Any] = serializer.validated_data
    return result


def _validation_failed(errors: Any) -> Problem:
    names = ", ".join(errors) if isinstance(errors, dict) else "the body"
    return Problem("validation-failed", f"Please correct: {names}.", extra={"errors": errors})


def answer_with_problem(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's exception handler: every error leaves as a problem, and none of them as an HTML 500."""
    request = django_request(context["request"])
    problem = _as_problem(error)
    response = problem_response(request, problem)
    if isinstance(error, exceptions.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def _as_problem(error: Exception) -> Problem:  # noqa: C901  a table
    match error:
        case Problem():
            return error
        case exceptions.ParseError():
            return Problem("validation-failed", str(error.detail), extra={"errors": {"body": [str(error.detail)]}})
        case exceptions.ValidationError():
            return _validation_failed(error.detail)
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Problem("not-logged-in", "Log in and try again.")
        case exceptions.PermissionDenied() | PermissionDenied():
            return Problem("forbidden", str(error) or "You may not do this.")
        case Http404() | exceptions.NotFound():
            return Problem("not-found", "There is nothing here.")
        case exceptions.MethodNotAllowed():
            return Problem("method-not-allowed", str(error.detail))
        case exceptions.UnsupportedMediaType():
            return Problem("unsupported-media-type", "Send application/json.")
        case exceptions.Throttled():
            return Problem("throttled", "Please wait a moment and try again.", int(getattr(error, "wait", None) or 5))
        case OperationalError() | InterfaceError():
            log.warning("database_unavailable", error=type(error).__name__)
            return Problem("unavailable", "Our database is not answering. Please try again in a moment.")
        case DatabaseError():
            log.error("database_error", exc_info=error)
            return Problem("internal-error", "Something went wrong here. Please try again with the same key.")
        case _:
            log.error("unhandled_error", exc_info=error)
            return Problem("internal-error", "Something went wrong here. Please try again with the same key.")
