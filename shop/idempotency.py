"""Layer 2 of 5 - idempotency key on the API.

Stops: the same request twice. The second gets the stored answer, or 409 while the first runs, or 422 when the same key
comes with another body.
Does not stop: another key for the same order (layer 3 does).

There is no table of keys: the order, attempt or refund that a request made *is* the record, unique by its key. This
module imports no model; it knows keys, fingerprints, and what to do with a record that a view has looked up.
"""

import hashlib
import json
import re
from typing import Any, Protocol

from django.http import HttpRequest, HttpResponse

from shop.counters import count_reused_key
from shop.problems import CONTENT_TYPE, Problem

# RULES R2; the quoted form is the structured-field string of the IETF draft, and the same key.
_KEY = re.compile(r'(?P<quote>"?)(?P<key>[A-Za-z0-9_\-.:]{1,255})(?P=quote)', re.ASCII)
# How keys begin that we give ourselves, to rows that no request made or whose key was forgotten: whoever sent one could
# stand in the way of such a row.
RESERVED = ("charge:", "forgotten:", "gateway:", "late:", "proposal:")
FINGERPRINT_VERSION = 1


def required_key(request: HttpRequest) -> str:
    """The request's Idempotency-Key, without quotes.

    Raises:
        Problem: idempotency-key-missing or idempotency-key-invalid (RULES R1, R2). Two header lines arrive joined by
            a comma, which no key contains.
    """
    raw = request.headers.get("Idempotency-Key", "").strip(" \t")
    if not raw:
        raise Problem(
            "idempotency-key-missing",
            "Send an Idempotency-Key header: the order's pay_key, or any value that is new for each thing you want.",
        )
    match = _KEY.fullmatch(raw)
    if not match:
        raise Problem(
            "idempotency-key-invalid",
            "An Idempotency-Key is one value of 1 to 255 characters of A-Z a-z 0-9 _ - . :",
        )
    if match["key"].startswith(RESERVED):
        raise Problem("idempotency-key-invalid", f"An Idempotency-Key does not begin with {', '.join(RESERVED)}.")
    return match["key"]


def fingerprint(operation: str, *parts: str, body: dict[str, Any]) -> str:
    """SHA-256 (hex) over length-prefixed parts: version, operation, path ids, canonical JSON of the *validated* input.

    What differs between two tries of one request (headers, key order, white space, client time) is not in it
    (RULES R11, R12); nor is card data, e-mail or address unless the caller puts it into `body`, of which only the
    digest is kept (R13).
    """
    digest = hashlib.sha256()
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for part in (str(FINGERPRINT_VERSION), operation, *parts, canonical):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


class Record(Protocol):
    """What a view found under the request's key: an order, an attempt or a refund."""

    fingerprint: str


def refuse_other_body(record: Record, fingerprint_now: str) -> None:
    """The same key with another body is refused, whether the first runs, ended or is unknown (RULES R14)."""
    if record.fingerprint != fingerprint_now:
        count_reused_key()
        raise Problem(
            "idempotency-key-reused",
            "This Idempotency-Key was sent before with another request. Use a new key for a new request.",
        )


def replay(status: int, body: bytes, location: str | None = None) -> HttpResponse:
    """The stored answer again: same status, same bytes, marked as a replay (RULES R16). The view counts it."""
    response = final_answer(status, body, location)
    response["Idempotent-Replayed"] = "true"
    return response


def final_answer(status: int, body: bytes, location: str | None = None) -> HttpResponse:
    """A final answer as it is stored. Its headers follow from status and body alone, so a replay has the same."""
    content_type = CONTENT_TYPE if status >= 400 else "application/json"
    response = HttpResponse(body, status=status, content_type=content_type)
    if location:
        response["Location"] = location
    response["Cache-Control"] = "no-store"
    return response
