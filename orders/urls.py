"""Addresses of orders: pages and API."""

from django.urls import path

from orders import api

urlpatterns = [
    path("api/orders/", api.PlaceOrderView.as_view(), name="api-orders"),
    path("api/orders/<str:order_id>/", api.OrderView.as_view(), name="api-order"),
]
