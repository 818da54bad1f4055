"""What a request to place an order must look like: each field, and the sentence that says what to do."""

import json
from typing import Any

import pytest

from orders.countries import COUNTRIES
from orders.serializers import PlaceOrderSerializer, contact_of
from tests.orders.making import ADDRESS, BODY


def errors_of(changes: dict[str, Any]) -> dict[str, Any]:
    serializer = PlaceOrderSerializer(data=BODY | {"cart_version": "v"} | changes)
    serializer.is_valid()
    errors: dict[str, Any] = json.loads(json.dumps(serializer.errors))
    return errors


def test_what_is_right_passes_trimmed():
    serializer = PlaceOrderSerializer(data=BODY | {"cart_version": "v", "name": "  Ada Lovelace "})
    assert serializer.is_valid()
    contact = contact_of(serializer.validated_data)
    assert (contact.name, contact.line2, contact.region, contact.country) == ("Ada Lovelace", "", "", "GB")


def test_countries_are_all_of_iso_3166():
    assert len(COUNTRIES) == 249
    assert all(len(code) == 2 and code.isupper() for code in COUNTRIES)
    assert {"GB", "DE", "JP", "KW", "US"} <= set(COUNTRIES)


@pytest.mark.parametrize(
    ("body", "where", "sentence"),
    [
        ({"email": ""}, "email", "Enter your e-mail address."),
        ({"email": "ada"}, "email", "Enter an e-mail address in the form name@example.com."),
        ({"email": "a@b.example\nBcc: c@d.example"}, "email", None),
        ({"email": f"{'a' * 250}@example.com"}, "email", None),
        ({"email": 7}, "email", "Send text."),
        ({"name": "  "}, "name", "Enter your full name."),
        ({"name": None}, "name", "Enter your full name."),
        ({"name": "x" * 121}, "name", "Use at most 120 characters for your full name."),
        ({"name": "Ada\x00"}, "name", None),
        ({"name": "Ada\r\nLovelace"}, "name", "Use letters, digits and punctuation in one line."),
        ({"name": ["Ada"]}, "name", "Send text."),
        ({"address": "here"}, "address", None),
        ({"address": None}, "address", None),
        ({"again": "maybe"}, "again", None),
        ({"cart_version": 1}, "cart_version", "Send text."),
    ],
)
def test_each_field_is_checked_and_says_what_to_do(body, where, sentence):
    errors = errors_of(body)
    assert list(errors) == [where]
    if sentence:
        assert errors[where] == [sentence]


@pytest.mark.parametrize(
    ("part", "typed", "sentence"),
    [
        ("line1", "", "Enter the first line of the address."),
        ("city", "x" * 81, "Use at most 80 characters for a town or city."),
        ("postal_code", "", "Enter a postcode."),
        ("country", "", "Choose a country by its two letters, such as GB."),
        ("country", "gb", "Choose a country by its two letters, such as GB."),
        ("country", "XX", "Choose a country by its two letters, such as GB."),
        ("country", ["GB"], "Choose a country by its two letters, such as GB."),
    ],
)
def test_each_part_of_the_address_is_checked(part, typed, sentence):
    assert errors_of({"address": ADDRESS | {part: typed}}) == {"address": {part: [sentence]}}


CARD = "4242 4242 4242 4242"


@pytest.mark.parametrize(
    "number", [CARD, CARD.replace(" ", ""), CARD.replace(" ", "-"), "378282246310005", f"my card {CARD}!"]
)
@pytest.mark.parametrize("field", ["name", "line1", "line2", "city", "region", "email", "cart_version"])
def test_a_card_number_in_any_text_field_is_refused(field, number):
    if field == "email":
        number = number.replace(" ", "").strip("!") + "@example.com"
    body = {field: number} if field in ("name", "email", "cart_version") else {"address": ADDRESS | {field: number}}
    assert "card number" in json.dumps(errors_of(body))


def test_a_long_number_that_is_no_card_number_may_be_a_name():
    assert errors_of({"name": "1234567890123456"}) == {}
