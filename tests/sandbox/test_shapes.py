"""The answers have the fields of Stripe's own published examples (stripe_shapes.json, from stripe/openapi, MIT).

What the package for API 2026-10-28.endive no longer knows has gone since the examples were published.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.book import REFUND, Book
from tests.sandbox.conftest import Shop, error_of, wait_for

SHAPES: dict[str, Any] = json.loads((Path(__file__).parent / "stripe_shapes.json").read_text())["resources"]
CLASSES: dict[str, type[stripe.StripeObject]] = {
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "charge": stripe.Charge,
    "event": stripe.Event,
    "confirmation_token": stripe.ConfirmationToken,
    "balance_transaction": stripe.BalanceTransaction,
    "refund": stripe.Refund,
    "customer": stripe.Customer,
    "dispute": stripe.Dispute,
}
NOT_UNLESS_EXPANDED = {"charge": {"refunds"}}  # Stripe: since 2022-11-15
KINDS = {"int": int, "str": str, "bool": bool, "list": list, "hash": dict}


@pytest.fixture
def things(shop: Shop, book: Book) -> dict[str, list[dict[str, Any]]]:
    """One of each kind, in as many states as matter."""
    client = shop.client
    declined = shop.intent("b")
    error_of(lambda: shop.confirm(declined, "pm_card_chargeDeclined"))
    paid = shop.paid("a")
    assert isinstance(paid.latest_charge, str) and isinstance(paid.payment_method, str)
    charge_id = paid.latest_charge
    wait_for(lambda: client.v1.charges.retrieve(charge_id).balance_transaction)
    charge = client.v1.charges.retrieve(charge_id, {"expand": ["balance_transaction"]})
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    client.v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    book.rule("refund_pending", REFUND)
    client.v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    book.rule("refund_failed", REFUND)
    client.v1.refunds.create({"payment_intent": paid.id, "amount": 100})
    book.dispute(charge_id)
    token = client.v1.test_helpers.confirmation_tokens.create({"payment_method": "pm_card_visa"})
    return {
        "payment_intent": [intent.to_dict() for intent in client.v1.payment_intents.list().data],
        "payment_method": [client.v1.payment_methods.retrieve(paid.payment_method).to_dict()],
        "charge": [each.to_dict() for each in client.v1.charges.list().data],
        "event": [event.to_dict() for event in client.v1.events.list().data],
        "confirmation_token": [token.to_dict()],
        "refund": [each.to_dict() for each in client.v1.refunds.list().data],
        "customer": [client.v1.customers.create({}).to_dict()],
        "dispute": [each.to_dict() for each in client.v1.disputes.list().data],
        "balance_transaction": [charge.balance_transaction.to_dict()],
    }


def test_every_field_of_stripes_examples_is_there_and_none_is_invented(
    things: dict[str, list[dict[str, Any]]],
) -> None:
    for name, shape in SHAPES.items():
        known = set(CLASSES[name].__annotations__)
        wanted = {field for field in shape if field in known} - NOT_UNLESS_EXPANDED.get(name, set())
        assert things[name], name
        for thing in things[name]:
            assert wanted - set(thing) == set(), f"{name} lacks fields"
            assert set(thing) - known == set(), f"{name} has fields that Stripe has not"


def test_every_field_is_of_the_examples_kind_or_null(things: dict[str, list[dict[str, Any]]]) -> None:
    for name, shape in SHAPES.items():
        for thing in things[name]:
            _compare(thing, shape, name)


def test_nested_fields_of_the_card_are_there(things: dict[str, list[dict[str, Any]]]) -> None:
    for charge in things["charge"]:
        wanted = set(SHAPES["charge"]["payment_method_details"]["card"])
        assert wanted - set(charge["payment_method_details"]["card"]) == set()
    for method in things["payment_method"]:
        assert set(SHAPES["payment_method"]["card"]) - set(method["card"]) == set()


def _compare(value: Any, shape: Any, where: str) -> None:
    if value is None or shape == "null":
        return
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for field in shape.keys() & value.keys():
            if where != "event.data":  # an event may be about anything
                _compare(value[field], shape[field], f"{where}.{field}")
        return
    expanded = shape == "str" and isinstance(value, dict) and "id" in value
    assert expanded or type(value) is KINDS[shape], f"{where}: {value!r} is no {shape}"


def test_ids_look_like_stripes(things: dict[str, list[dict[str, Any]]]) -> None:
    prefixes = {"payment_intent": "pi_3", "payment_method": "pm_1", "charge": "ch_3", "event": "evt_",
                "confirmation_token": "ctoken_1", "balance_transaction": "txn_",
                "refund": "re_3", "dispute": "du_1", "customer": "cus_"}  # fmt: skip
    for name, prefix in prefixes.items():
        assert all(thing["id"].startswith(prefix) and thing["object"] == name for thing in things[name])
        assert all(thing.get("livemode", False) is False for thing in things[name])
