"""What the OpenAPI description says of every operation: how one is known, and how problems look.

Use it as `responses={200: ...} | problem_answers("not-found", ...)`.
"""

from collections import defaultdict
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from shop.problems import CONTENT_TYPE, PROBLEMS


class ProblemAnswer(serializers.Serializer[Any]):
    """An RFC 9457 problem. Follow `retry`, not the status code."""

    type = serializers.CharField(help_text="/problems/<name>")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="One sentence for a person: what is wrong and what to do.")
    instance = serializers.CharField(help_text="The path of the request.")
    retry = serializers.ChoiceField(
        choices=["same-key", "new-key", "no"],
        help_text="same-key: send the same request again. new-key: press again with the next key. no: do not.",
    )
    order = serializers.CharField(allow_null=True)
    payment_status = serializers.CharField(allow_null=True)


def problem_answers(*names: str) -> dict[tuple[int, str], OpenApiResponse]:
    """The responses of an operation that may answer these problems, one entry per status."""
    by_status = defaultdict(list)
    for name in names:
        by_status[PROBLEMS[name][0]].append(name)
    return {
        (status, CONTENT_TYPE): OpenApiResponse(ProblemAnswer, description=", ".join(listed))
        for status, listed in sorted(by_status.items())
    }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """drf-spectacular finds it by being imported."""

    target_class = "shop.api.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": f"A guest's session too. The cookie {settings.CSRF_COOKIE_NAME} goes back as X-CSRFToken.",
        }
