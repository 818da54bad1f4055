"""/v1/events: read-after-write, for 30 days (Stripe: list all events)."""

from __future__ import annotations

import re
from typing import Any

from .account import EVENT, Account
from .endpoint import LIST, RETRIEVE, Context, Endpoint, Wanted, listing, retrieving
from .errors import missing_object, refused_parameter
from .forms import Shape, boolean, list_of, text

Json = dict[str, Any]

_KEPT_SECONDS = 30 * 24 * 60 * 60


def _list(context: Context, ids: list[str], params: Json) -> Json:
    created = params.get("created", {})
    oldest = _oldest(context)
    return _listing(context, ids, {**params, "created": {**created, "gte": max(created.get("gte", 0), oldest)}})


def _retrieve(context: Context, ids: list[str], params: Json) -> Json:
    event = retrieving(EVENT, "event")(context, ids, params)
    if event["created"] < _oldest(context):
        raise missing_object("event", ids[0])
    return event


def _oldest(context: Context) -> int:
    return context.change.clock.seconds() - _KEPT_SECONDS


def _wanted(account: Account, params: Json) -> Wanted | None:
    """By type, with `*` for anything; and by whether the webhooks arrived."""
    if "type" in params and "types" in params:
        raise refused_parameter("You may only specify one of these parameters: type, types.", "type")
    kinds = params.get("types") or ([params["type"]] if "type" in params else [])
    patterns = [re.compile(re.escape(kind).replace(r"\*", ".*") + "$") for kind in kinds]
    success = params.get("delivery_success")

    def wanted(event: Json) -> bool:
        delivered = event["id"] not in account.due and event["id"] not in account.failed
        right_type = not patterns or any(pattern.match(event["type"]) for pattern in patterns)
        return right_type and (success is None or success == delivered)

    return wanted if patterns or success is not None else None


_listing = listing(EVENT, "/v1/events", wanted=_wanted)

ENDPOINTS = (
    Endpoint("GET", "/v1/events", EVENT,
             Shape(LIST | {"type": text(), "types": list_of(text(), most=20), "delivery_success": boolean()}),
             _list, is_list=True),
    Endpoint("GET", "/v1/events/{}", EVENT, RETRIEVE, _retrieve),
)  # fmt: skip
