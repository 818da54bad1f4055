"""/v1/customers: the parameters each call takes."""

from __future__ import annotations

from typing import Any

from . import customers
from .account import CUSTOMER, Account
from .addresses import ADDRESS, SHIPPING
from .endpoint import EXPAND, LIST, RETRIEVE, Endpoint, Wanted, itself, listing, retrieving
from .forms import Shape, list_of, metadata, one_of, text
from .search import SEARCH, searching

Json = dict[str, Any]

_DESCRIBED = Shape(
    {
        "address": ADDRESS,
        "description": text(clearable=True),
        "email": text(512, clearable=True),
        "name": text(256, clearable=True),
        "phone": text(20, clearable=True),
        "preferred_locales": list_of(text()),
        "shipping": SHIPPING,
        "tax_exempt": one_of("none", "exempt", "reverse"),
        "metadata": metadata,
        "expand": EXPAND,
    }
)


def _with_email(account: Account, params: Json) -> Wanted | None:
    """Case-sensitive (Stripe: list all customers)."""
    email = params.get("email")
    return None if email is None else lambda customer: bool(customer["email"] == email)


ENDPOINTS = (
    Endpoint("POST", "/v1/customers", CUSTOMER, _DESCRIBED, lambda c, ids, p: customers.create(c.change, p)),
    Endpoint("GET", "/v1/customers", CUSTOMER, Shape(LIST | {"email": text()}),
             listing(CUSTOMER, "/v1/customers", wanted=_with_email), is_list=True),
    Endpoint("GET", "/v1/customers/search", CUSTOMER, SEARCH, searching(CUSTOMER, "/v1/customers/search"),
             is_list=True),
    Endpoint("GET", "/v1/customers/{}", CUSTOMER, RETRIEVE, retrieving(CUSTOMER, "customer")),
    Endpoint("POST", "/v1/customers/{}", CUSTOMER, _DESCRIBED,
             lambda c, ids, p: customers.update(c.change, ids[0], p), locks=itself),
)  # fmt: skip
