"""An order in JSON, and what a request to place one must look like (DESIGN section 8)."""

import re
import unicodedata
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from orders.countries import COUNTRIES
from orders.links import order_links
from orders.models import Order
from orders.place import Contact
from shop.api import StrictSerializer

# 13 to 19 digits, perhaps in groups: as long as a card number (SECURITY SE27).
_LONG_NUMBER = re.compile(r"(?<!\d)\d(?:[ \-.]?\d){12,18}(?!\d)", re.ASCII)


def looks_like_card_number(text: str) -> bool:
    """Whether a card number may be in the text: 13 to 19 digits that pass the Luhn check."""
    text = unicodedata.normalize("NFKC", text)
    return any(_passes_luhn(re.sub(r"\D", "", match[0])) for match in _LONG_NUMBER.finditer(text))


def _passes_luhn(digits: str) -> bool:
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(int(digit) for digit in digits[-1::-2]) + sum(n - 9 if n > 9 else n for n in doubled)) % 10 == 0


class Text(serializers.CharField):
    """One line of text a person typed: a JSON string, no control characters, no card number."""

    def __init__(self, asks: str, most: int, **options: Any) -> None:
        messages: dict[str, Any] = {
            "required": f"Enter {asks}.",
            "blank": f"Enter {asks}.",
            "null": f"Enter {asks}.",
            "max_length": f"Use at most {most} characters for {asks}.",
        }
        super().__init__(max_length=most, error_messages=messages, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Send text.")
        text = super().to_internal_value(data)
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
            raise serializers.ValidationError("Use letters, digits and punctuation in one line.")
        if self._may_be_typed(text) and looks_like_card_number(text):
            raise serializers.ValidationError("This looks like a card number. Card details go only into the card form.")
        return text

    def _may_be_typed(self, text: str) -> bool:
        return True


class Digest(Text):
    """Made by us: one in two hundred has digits in a row that would pass for a card number."""

    def _may_be_typed(self, text: str) -> bool:
        return re.fullmatch(r"[0-9a-f]{32}", text) is None


class Email(Text, serializers.EmailField):
    default_error_messages = {"invalid": "Enter an e-mail address in the form name@example.com."}


class AddressSerializer(StrictSerializer):
    line1 = Text("the first line of the address", 120)
    line2 = Text("the second line of the address", 120, required=False, allow_blank=True, default="")
    city = Text("a town or city", 80)
    region = Text("a county, state or region", 80, required=False, allow_blank=True, default="")
    postal_code = Text("a postcode", 20)
    country = serializers.ChoiceField(
        choices=list(COUNTRIES),
        error_messages={
            "required": "Choose a country.",
            "null": "Choose a country.",
            "invalid_choice": "Choose a country by its two letters, such as GB.",
        },
    )


class PlaceOrderSerializer(StrictSerializer):
    """The body of POST /api/orders/."""

    email = Email("your e-mail address", 254)
    name = Text("your full name", 120)
    address = AddressSerializer(error_messages={"required": "Enter a delivery address."})
    cart_version = Digest("the version of the cart you saw", 64, help_text="`version` of GET /api/cart/")
    again = serializers.BooleanField(
        required=False, default=False, help_text="Buy the same goods again within 30 minutes, after bought-just-now."
    )


def contact_of(validated: dict[str, Any]) -> Contact:
    """Who and where, of a validated PlaceOrderSerializer."""
    return Contact(email=validated["email"], name=validated["name"], **validated["address"])


class OrderLineSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField()
    name = serializers.CharField()
    quantity = serializers.IntegerField()
    price = serializers.IntegerField(source="price_minor", help_text="of one, in minor units")
    total = serializers.IntegerField(source="total_minor")


class LinksSerializer(serializers.Serializer[Any]):
    self = serializers.CharField()
    page = serializers.CharField()
    payments = serializers.CharField()
    status = serializers.CharField()
    cancel = serializers.CharField()


class OrderSerializer(serializers.Serializer[Order]):
    """An order as its shopper sees it. Nothing internal (SECURITY SE3)."""

    id = serializers.CharField()
    number = serializers.CharField()
    status = serializers.ChoiceField(choices=Order.Status.choices)
    total = serializers.IntegerField(source="total_minor", help_text="in minor units, tax and delivery included")
    currency = serializers.CharField()
    email = serializers.CharField()
    lines = OrderLineSerializer(many=True)
    pay_key = serializers.CharField(help_text="the Idempotency-Key of the next press of Pay")
    expires = serializers.DateTimeField(source="expires_at", help_text="until when the goods are held")
    links = serializers.SerializerMethodField()

    @extend_schema_field(LinksSerializer)
    def get_links(self, order: Order) -> dict[str, str]:
        return order_links(order)


def order_json(order: Order) -> dict[str, Any]:
    """The order as DESIGN section 8 shows it."""
    return dict(OrderSerializer(order).data)
