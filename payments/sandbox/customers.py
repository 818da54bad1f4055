"""Customers (Stripe: customers): who paid, when a shop tells."""

from __future__ import annotations

from typing import Any

from .account import CUSTOMER, Change
from .errors import missing_object
from .forms import merged_metadata
from .ids import random_text

Json = dict[str, Any]

_DESCRIBED = ("address", "description", "email", "name", "phone", "preferred_locales", "shipping", "tax_exempt")


def create(change: Change, params: Json) -> Json:
    customer: Json = {
        "id": f"cus_{random_text(14)}",
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": change.clock.seconds(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": random_text(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": merged_metadata({}, params.get("metadata")),
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    customer |= {name: params[name] for name in _DESCRIBED if name in params}
    change.put(CUSTOMER, customer)
    change.tell("customer.created", CUSTOMER, customer["id"])
    return customer


def update(change: Change, customer_id: str, params: Json) -> Json:
    customer = change.get(CUSTOMER, customer_id)
    if customer is None:
        raise missing_object("customer", customer_id)
    before = {name: customer[name] for name in (*_DESCRIBED, "metadata") if name in params}
    customer |= {name: params[name] for name in _DESCRIBED if name in params}
    customer["metadata"] = merged_metadata(customer["metadata"], params.get("metadata"))
    change.put(CUSTOMER, customer)
    change.tell("customer.updated", CUSTOMER, customer_id, previous=before)
    return customer


def check_customer(change: Change, customer_id: str) -> None:
    if change.get(CUSTOMER, customer_id) is None:
        raise missing_object("customer", customer_id, "customer", status=400)
