"""/v1/disputes: the parameters each call takes. Disputes are made by banks only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import disputes
from .account import DISPUTE, Account
from .endpoint import EXPAND, LIST, RETRIEVE, Endpoint, listing, retrieving
from .forms import Shape, anything, boolean, metadata, text

Json = dict[str, Any]

_EVIDENCE = Shape({**dict.fromkeys(disputes.EVIDENCE, text(20_000)), "enhanced_evidence": anything}).read_nested
_UPDATE = Shape({"evidence": _EVIDENCE, "metadata": metadata, "submit": boolean(), "expand": EXPAND})


def _of_charge_or_intent(account: Account, params: Json) -> Iterable[str] | None:
    charge_id, intent_id = params.get("charge"), params.get("payment_intent")
    if charge_id is None and intent_id is None:
        return None
    charges = [charge_id] if charge_id is not None else account.charges_of.get(str(intent_id), ())
    return [
        dispute
        for charge in charges
        if intent_id is None or account.intent_of(charge) == intent_id
        for dispute in account.disputes_of.get(charge, ())
    ]


ENDPOINTS = (
    Endpoint("GET", "/v1/disputes", DISPUTE, Shape(LIST | {"charge": text(), "payment_intent": text()}),
             listing(DISPUTE, "/v1/disputes", among=_of_charge_or_intent), is_list=True),
    Endpoint("GET", "/v1/disputes/{}", DISPUTE, RETRIEVE, retrieving(DISPUTE, "dispute")),
    Endpoint("POST", "/v1/disputes/{}", DISPUTE, _UPDATE, lambda c, ids, p: disputes.update(c.change, ids[0], p),
             locks=disputes.intent_to_lock),
    Endpoint("POST", "/v1/disputes/{}/close", DISPUTE, RETRIEVE, lambda c, ids, p: disputes.close(c.change, ids[0]),
             locks=disputes.intent_to_lock),
)  # fmt: skip
