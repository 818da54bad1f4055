"""Addresses of all money routes."""

from django.urls import path, re_path

from payments import pages, views, webhooks
from payments.monitoring import health

urlpatterns = [
    path("orders/<str:order_id>/pay/", pages.pay, name="pay"),
    path("orders/<str:order_id>/return/", pages.returned, name="return-from-bank"),
    path("orders/<str:order_id>/cancel/", pages.cancel, name="cancel-order"),
    path("orders/<str:order_id>/start-over/", pages.start_over, name="start-over"),
    path("api/orders/<str:order_id>/payments/", views.PayView.as_view(), name="api-payments"),
    path("api/orders/<str:order_id>/payment-status/", views.PaymentStatusView.as_view(), name="api-payment-status"),
    path("api/orders/<str:order_id>/start-over/", views.StartOverView.as_view(), name="api-start-over"),
    path("api/orders/<str:order_id>/cancel/", views.CancelView.as_view(), name="api-cancel"),
    path("api/payments/<str:payment_id>/refunds/", views.RefundView.as_view(), name="api-refunds"),
    # With and without the slash: a redirect would lose the event (RULES R85).
    re_path(r"^webhooks/stripe/?$", webhooks.stripe_webhook, name="stripe-webhook"),
    path("healthz/payments", health.payments_health, name="payments-health"),
]
