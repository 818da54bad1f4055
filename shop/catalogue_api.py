"""The API of products and cart (DESIGN section 8)."""

from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import get_token
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop.api import StrictSerializer, WholeNumber, django_request, validated
from shop.cart import LINE_MOST, CartRefused, cart_for_change, currency_of, current_cart, set_quantity, total_minor
from shop.models import Cart, Product, cart_version
from shop.problems import Problem
from shop.schema import problem_answers


class ProductAnswer(serializers.Serializer[Any]):
    sku = serializers.CharField()
    name = serializers.CharField()
    slug = serializers.CharField()
    price = serializers.IntegerField(help_text="Price of one in minor units, tax included.")
    currency = serializers.CharField(help_text="ISO 4217, upper case.")
    stock = serializers.IntegerField()


class CartItemAnswer(serializers.Serializer[Any]):
    sku = serializers.CharField()
    quantity = serializers.IntegerField()
    price = serializers.IntegerField(help_text="Price of one in minor units, tax included.")


class CartAnswer(serializers.Serializer[Any]):
    items = CartItemAnswer(many=True)
    total = serializers.IntegerField(help_text="In minor units; delivery is free.")
    currency = serializers.CharField()
    version = serializers.CharField(help_text="Name it when you place the order: it says what you saw.")


class CartItemChange(StrictSerializer):
    quantity = WholeNumber(min_value=0, max_value=LINE_MOST, help_text="0 takes the product out of the cart.")


class ProductsView(APIView):
    @extend_schema(
        operation_id="list_products", responses={200: ProductAnswer(many=True)} | problem_answers("unavailable")
    )
    def get(self, request: Request) -> Response:
        """Everything on sale."""
        fields = ("sku", "name", "slug", "price_minor", "currency", "stock")
        return Response(
            [
                {"sku": sku, "name": name, "slug": slug, "price": price, "currency": currency, "stock": stock}
                for sku, name, slug, price, currency, stock in Product.objects.filter(on_sale=True).values_list(*fields)
            ]
        )


class CartView(APIView):
    @extend_schema(operation_id="show_cart", responses={200: CartAnswer} | problem_answers("unavailable"))
    def get(self, request: Request) -> Response:
        """The session's cart. Sets the csrftoken cookie: send it back as X-CSRFToken with every change."""
        get_token(django_request(request))
        return _cart_answer(current_cart(django_request(request)))


class CartItemView(APIView):
    @extend_schema(
        operation_id="set_cart_item",
        request=CartItemChange,
        responses={200: CartAnswer}
        | problem_answers(
            "validation-failed", "forbidden", "not-found", "body-too-large", "unsupported-media-type", "unavailable"
        ),
    )
    def put(self, request: Request, sku: str) -> Response:
        """Have exactly this many of a product in the cart. Whether so many are in stock is asked at placement."""
        change = validated(CartItemChange(data=request.data))
        if not Product.objects.filter(sku=sku).exists():
            raise Problem("not-found", "No product on sale has this sku.")
        return _cart_answer(_change(django_request(request), sku, change["quantity"]))


def _change(request: HttpRequest, sku: str, quantity: int) -> Cart | None:
    cart = cart_for_change(request) if quantity else current_cart(request)
    if cart is None:  # nothing to take out of
        return None
    try:
        set_quantity(cart, sku, quantity)
    except Product.DoesNotExist:
        raise Problem("not-found", "No product on sale has this sku.") from None
    except CartRefused as refusal:
        raise Problem("validation-failed", str(refusal), extra={"errors": {"quantity": [str(refusal)]}}) from None
    return cart


def _cart_answer(cart: Cart | None) -> Response:
    lines = cart.lines() if cart else []
    answer = {
        "items": [
            {"sku": line.product.sku, "quantity": line.quantity, "price": line.product.price_minor} for line in lines
        ],
        "total": total_minor(lines),
        "currency": currency_of(lines),
        "version": cart_version(cart or Cart(), lines),
    }
    return Response(answer, headers={"Cache-Control": "no-store"})
