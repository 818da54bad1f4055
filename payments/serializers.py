"""What the money routes accept, and what their answers look like in the schema."""

from rest_framework import serializers

from payments.models import Refund
from shop.api import StrictSerializer, WholeNumber


class PaySerializer(StrictSerializer):
    """A press of Pay. `amount` is what the shopper saw, in minor units: it must equal the order's total."""

    payment_token = serializers.RegexField(
        r"^(pm|ctoken)_[A-Za-z0-9_]{1,100}$",
        error_messages={"invalid": "Send a Stripe PaymentMethod (pm_...) or ConfirmationToken (ctoken_...)."},
    )
    amount = WholeNumber(min_value=1, max_value=99_999_999)
    currency = serializers.RegexField(r"^[A-Z]{3}$", error_messages={"invalid": "Send an ISO currency, as GBP."})


class RefundSerializer(StrictSerializer):
    """A refund of a part or of all; `amount` in minor units."""

    amount = WholeNumber(min_value=1, max_value=99_999_999)
    reason = serializers.ChoiceField(Refund.Reason.choices)


class NothingSerializer(StrictSerializer):
    """An empty body."""


class NextActionSerializer(serializers.Serializer[object]):
    type = serializers.ChoiceField(["redirect_to_url", "use_stripe_sdk"])
    url = serializers.URLField(allow_null=True)
    client_secret = serializers.CharField()


class PressAnswerSerializer(serializers.Serializer[object]):
    """201 and 202 of a press."""

    id = serializers.CharField()
    payment = serializers.CharField()
    order = serializers.CharField()
    status = serializers.CharField()
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    receipt_url = serializers.CharField(allow_null=True)
    next_action = NextActionSerializer(allow_null=True)


class PaymentStatusSerializer(serializers.Serializer[object]):
    """The live state."""

    order_status = serializers.CharField()
    payment_status = serializers.CharField()
    payment = serializers.CharField(allow_null=True)
    pay_key = serializers.CharField(allow_null=True)
    next_action = NextActionSerializer(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    receipt_url = serializers.CharField(allow_null=True)


class RefundAnswerSerializer(serializers.Serializer[object]):
    """201 and 202 of a refund."""

    id = serializers.CharField()
    payment = serializers.CharField()
    order = serializers.CharField()
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    reason = serializers.CharField()
    status = serializers.CharField()
