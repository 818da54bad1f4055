"""The API of orders: place one, read one. Paying and canceling are payments' (DESIGN section 8)."""

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders.ownership import own_order, shopper_who_places
from orders.place import How, Wish, place_order
from orders.serializers import OrderSerializer, PlaceOrderSerializer, contact_of, order_json
from shop.api import validated
from shop.cart import current_cart
from shop.idempotency import required_key
from shop.nudge import nudge

KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, required=True, description="1 to 255 of A-Z a-z 0-9 _ - . :"
)


class PlaceOrderView(APIView):
    """POST /api/orders/"""

    @extend_schema(
        operation_id="place_order",
        parameters=[KEY_PARAMETER],
        request=PlaceOrderSerializer,
        responses={
            201: OpenApiResponse(
                OrderSerializer,
                "The order: new, or the one this key placed before (Idempotent-Replayed), or the one that another tab "
                "placed from the same cart and that waits to be paid (Order-Placed-Before).",
            ),
            400: OpenApiResponse(description="validation-failed, idempotency-key-missing, idempotency-key-invalid"),
            409: OpenApiResponse(
                description="cart-changed, cart-empty, out-of-stock, order-open, payment-in-progress, "
                "order-already-paid, bought-just-now, amount-too-small, request-in-progress"
            ),
            422: OpenApiResponse(description="idempotency-key-reused"),
            503: OpenApiResponse(description="unavailable"),
        },
    )
    def post(self, request: Request) -> Response:
        key = required_key(request)
        sent = validated(PlaceOrderSerializer(data=request.data))
        placed = place_order(
            Wish(
                cart=current_cart(request),
                key=key,
                shopper=shopper_who_places(request),
                contact=contact_of(sent),
                cart_version=sent["cart_version"],
                again=sent["again"],
            )
        )
        if placed.how is How.NEW:
            nudge("payments.open_payment", placed.order.pk)
        order = order_json(placed.order)
        response = Response(
            order, status=201, headers={"Location": order["links"]["self"], "Cache-Control": "no-store"}
        )
        if placed.how is How.REPLAY:
            response["Idempotent-Replayed"] = "true"
        elif placed.how is How.SAME_CART:
            response["Order-Placed-Before"] = "true"
        return response


class OrderView(APIView):
    """GET /api/orders/{id}/"""

    @extend_schema(
        operation_id="read_order",
        responses={200: OrderSerializer, 404: OpenApiResponse(description="not-found: unknown, or another's")},
    )
    def get(self, request: Request, order_id: str) -> Response:
        return Response(order_json(own_order(request, order_id)), headers={"Cache-Control": "no-store"})
