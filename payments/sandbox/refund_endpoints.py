"""/v1/refunds: the parameters each call takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import refunds
from .account import CHARGE, INTENT, REFUND, Account
from .endpoint import EXPAND, LIST, RETRIEVE, Endpoint, listing, retrieving
from .errors import missing_object
from .forms import Shape, integer, metadata, one_of, text

Json = dict[str, Any]

_CREATE = Shape(
    {
        "amount": integer(1),
        "charge": text(),
        "payment_intent": text(),
        "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
        "metadata": metadata,
        "expand": EXPAND,
    }
)
_UPDATE = Shape({"metadata": metadata, "expand": EXPAND})


def _of_charge_or_intent(account: Account, params: Json) -> Iterable[str] | None:
    charge_id, intent_id = params.get("charge"), params.get("payment_intent")
    if charge_id is not None and charge_id not in account.shelves[CHARGE]:
        raise missing_object("charge", charge_id, "charge")
    if intent_id is not None and intent_id not in account.shelves[INTENT]:
        raise missing_object("payment_intent", intent_id, "payment_intent")
    if charge_id is None and intent_id is None:
        return None
    charges = [charge_id] if charge_id is not None else account.charges_of.get(str(intent_id), ())
    return [
        refund
        for charge in charges
        if intent_id is None or account.intent_of(charge) == intent_id
        for refund in account.refunds_of.get(charge, ())
    ]


ENDPOINTS = (
    Endpoint("POST", "/v1/refunds", REFUND, _CREATE, lambda c, ids, p: refunds.create(c.change, p, c.forced),
             locks=refunds.intent_to_lock, asks_bank="refund"),
    Endpoint("GET", "/v1/refunds", REFUND, Shape(LIST | {"charge": text(), "payment_intent": text()}),
             listing(REFUND, "/v1/refunds", among=_of_charge_or_intent), is_list=True),
    Endpoint("GET", "/v1/refunds/{}", REFUND, RETRIEVE, retrieving(REFUND, "refund")),
    Endpoint("POST", "/v1/refunds/{}", REFUND, _UPDATE, lambda c, ids, p: refunds.update(c.change, ids[0], p),
             locks=refunds.intent_to_lock),
    Endpoint("POST", "/v1/refunds/{}/cancel", REFUND, RETRIEVE, lambda c, ids, p: refunds.cancel(c.change, ids[0]),
             locks=refunds.intent_to_lock),
)  # fmt: skip
