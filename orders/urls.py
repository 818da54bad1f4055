"""Addresses of orders: pages and API."""

from django.urls import path

from orders import api, checkout, link_pages, pages

urlpatterns = [
    path("checkout/", checkout.checkout, name="checkout"),
    path("orders/link/", link_pages.exchange, name="exchange-link"),
    path("orders/link/<str:token>/", link_pages.mail_link, name="mail-link"),
    path("orders/<str:order_id>/", pages.order_page, name="order"),
    path("orders/<str:order_id>/put-back/", pages.put_back, name="put-back"),
    path("account/orders/", pages.my_orders, name="my-orders"),
    path("api/orders/", api.PlaceOrderView.as_view(), name="api-orders"),
    path("api/orders/<str:order_id>/", api.OrderView.as_view(), name="api-order"),
]
