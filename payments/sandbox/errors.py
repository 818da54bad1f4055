"""Stripe's error bodies (Stripe: errors, error codes, advanced error handling)."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class StripeError(Exception):
    """An answer that is an error.

    `stored` says whether the idempotency layer keeps it: Stripe saves a result only once execution has begun, so what
    validation refused, 401, 409 and 429 are never saved (Stripe: idempotent requests).
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        stored: bool = True,
        should_retry: bool | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.stored = stored
        self.should_retry = should_retry
        self.error: Json = {"message": message, "type": kind}
        if code is not None:
            self.error["code"] = code
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param is not None:
            self.error["param"] = param
        self.error.update(extra)

    def body(self, request_id: str) -> Json:
        log = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": dict(sorted({**self.error, "request_log_url": log}.items()))}


def invalid_request(message: str, **parts: Any) -> StripeError:
    return StripeError(400, "invalid_request_error", message, **parts)


def refused_parameter(message: str, param: str, code: str | None = None) -> StripeError:
    """Validation failed, execution never began: not saved under the idempotency key."""
    return invalid_request(message, param=param, code=code, stored=False)


def missing_object(noun: str, object_id: str, param: str = "id", status: int = 404) -> StripeError:
    return StripeError(
        status, "invalid_request_error", f"No such {noun}: '{object_id}'", code="resource_missing", param=param
    )


def unexpected_state(message: str, intent: Json) -> StripeError:
    return invalid_request(message, code="payment_intent_unexpected_state", payment_intent=intent)


def wrong_key(message: str, code: str | None = None) -> StripeError:
    return StripeError(401, "invalid_request_error", message, code=code, stored=False)


def not_permitted() -> StripeError:
    message = (
        "The provided key 'rk_test_************0000' does not have the required permissions for this endpoint on"
        " account 'acct_0000'. This is a restricted API key, but the required permissions are not available for use by"
        " restricted keys."
    )
    return StripeError(403, "invalid_request_error", message, stored=False)


def rate_limited() -> StripeError:
    message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    return StripeError(429, "invalid_request_error", message, code="rate_limit", stored=False)


def lock_timeout() -> StripeError:
    """Stripe: rate limits, object lock timeouts: 429, but not a rate limit error."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently "
        "accessing it. If you see this error intermittently, retry the request. If you see this error frequently and "
        "are making multiple concurrent requests to a single object, make your requests serially or at a lower rate."
    )
    return StripeError(429, "invalid_request_error", message, code="lock_timeout", stored=False, should_retry=True)


def key_in_use(key: str) -> StripeError:
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        f"twice, and the other request is still going through): {key}. Please try again later."
    )
    return StripeError(
        409, "idempotency_error", message, code="idempotency_key_in_use", stored=False, should_retry=True
    )


def key_reused(key: str, difference: str) -> StripeError:
    message = (
        f"Keys for idempotent requests can only be used {difference}. Try using a key other than '{key}' if you meant "
        "to execute a different request."
    )
    return StripeError(400, "idempotency_error", message, stored=False, should_retry=False)


def broken_server(status: int = 500) -> StripeError:
    message = "An unknown error occurred. We have been notified of the problem."
    return StripeError(status, "api_error", message, stored=status == 500)
