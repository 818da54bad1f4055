"""Errors as RFC 9457 problems: one vocabulary for every API (DESIGN section 8).

`retry` tells the client what to do with its key, and clients follow it rather than the status code:
`same-key` - send the same request again; `new-key` - this press is over, press again; `no` - it would not help.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, HttpResponse

SAME_KEY, NEW_KEY, NO = "same-key", "new-key", "no"

# By name: status, retry, title.
PROBLEMS: dict[str, tuple[int, str, str]] = {
    "validation-failed": (400, SAME_KEY, "Some fields need another look"),
    "idempotency-key-missing": (400, SAME_KEY, "The Idempotency-Key header is missing"),
    "idempotency-key-invalid": (400, SAME_KEY, "The Idempotency-Key header is not a valid key"),
    "not-logged-in": (401, NO, "Log in first"),
    "card-declined": (402, NEW_KEY, "The card was declined"),
    "payment-token-invalid": (402, NEW_KEY, "The payment details are not usable"),
    "payment-refused": (402, NEW_KEY, "The payment was refused"),
    "forbidden": (403, NO, "Not allowed"),
    "not-found": (404, NO, "Not found"),
    "method-not-allowed": (405, NO, "Method not allowed"),
    "request-in-progress": (409, SAME_KEY, "The same request is still running"),
    "payment-in-progress": (409, SAME_KEY, "Another payment of this order is under way"),
    "order-already-paid": (409, NO, "The order is already paid"),
    "order-changed": (409, NO, "The total is not what you saw"),
    "order-closed": (409, NO, "The order is closed"),
    "cart-changed": (409, NO, "The cart is not what you saw"),
    "cart-empty": (409, NO, "The cart is empty"),
    "out-of-stock": (409, NO, "Not enough in stock"),
    "order-open": (409, NO, "Another order of this cart waits for payment"),
    "bought-just-now": (409, NO, "You ordered exactly this a moment ago"),
    "amount-too-small": (409, NO, "The total is below the smallest amount a card can be charged"),
    "refund-too-large": (409, NO, "More than is left to refund"),
    "body-too-large": (413, NO, "The request is too large"),
    "unsupported-media-type": (415, NO, "Send JSON"),
    "idempotency-key-reused": (422, NO, "This key was used for another request"),
    "throttled": (429, SAME_KEY, "Too many tries"),
    "internal-error": (500, SAME_KEY, "Something went wrong here"),
    "unavailable": (503, SAME_KEY, "Not available right now"),
}

CONTENT_TYPE = "application/problem+json"
KEY_DOCS = "/api/docs/"


@dataclass
class Problem(Exception):
    """Raise it anywhere inside an API view; the answer is this problem.

    Args:
        name: a key of PROBLEMS.
        detail: one sentence for a person: what is wrong and what to do.
        retry_after_seconds: for the Retry-After header; same-key 409, 429 and 503 get 2 unless given.
        extra: extension members (order, payment_status, errors, lines, total, pay_key, reason, ...).
    """

    name: str
    detail: str
    retry_after_seconds: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return PROBLEMS[self.name][0]

    def body(self, instance: str) -> bytes:
        """The problem as JSON bytes. `instance` is the path of the request."""
        status, retry, title = PROBLEMS[self.name]
        members = {
            "type": f"/problems/{self.name}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "instance": instance,
            "retry": retry,
            "order": None,
            "payment_status": None,
        }
        return json.dumps(members | self.extra).encode()


def problem_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The problem as an HTTP answer, for API views and for middleware alike."""
    status, retry, _ = PROBLEMS[problem.name]
    response = HttpResponse(problem.body(request.path), status=status, content_type=CONTENT_TYPE)
    seconds = problem.retry_after_seconds
    if seconds is None and retry == SAME_KEY and status in (409, 429, 503):
        seconds = 2
    if seconds is not None:
        response["Retry-After"] = str(seconds)
    if problem.name.startswith("idempotency-key"):
        response["Link"] = f'<{KEY_DOCS}>; rel="describedby"'
    response["Cache-Control"] = "no-store"
    return response
