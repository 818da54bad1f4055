"""GET /v1/account: whose key it is (Stripe: the Account object). The mode is the key's: the object does not say it."""

from __future__ import annotations

from typing import Any

from .endpoint import RETRIEVE, Context, Endpoint

Json = dict[str, Any]

OWN = "account"


def _retrieve(context: Context, ids: list[str], params: Json) -> Json:
    nobody: Json = {"line1": None, "line2": None, "city": None, "postal_code": None, "state": None, "country": None}
    return {
        "id": context.change.account.own_id,
        "object": "account",
        "business_profile": {
            "annual_revenue": None,
            "estimated_worker_count": None,
            "mcc": "5734",
            "name": "The sandbox's shop",
            "product_description": None,
            "support_address": nobody,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "GB",
        "created": 1_700_000_000,
        "default_currency": "gbp",
        "details_submitted": True,
        "email": "shop@example.com",
        "payouts_enabled": True,
        "settings": {
            "card_payments": {"statement_descriptor_prefix": None},
            "dashboard": {"display_name": "The sandbox's shop", "timezone": "Etc/UTC"},
            "payments": {"statement_descriptor": "SANDBOX"},
        },
        "type": "standard",
    }


ENDPOINTS = (Endpoint("GET", "/v1/account", OWN, RETRIEVE, _retrieve),)
