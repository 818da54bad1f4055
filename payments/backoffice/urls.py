"""Addresses of the staff desk, under /admin/desk/. Every view is a `staff_page`."""

from django.urls import path

from payments.backoffice import runbook
from payments.backoffice.actions import ask_stripe, orders_and_breaks, refunds
from payments.backoffice.dashboard import export
from payments.backoffice.dashboard import page as dashboard
from payments.backoffice.inquiry import page as charged_twice_page

app_name = "desk"

urlpatterns = [
    path("", dashboard.dashboard, name="dashboard"),
    path("charged-twice/", charged_twice_page.charged_twice, name="charged-twice"),
    path("export/", export.export_payments, name="export-payments"),
    path("export/<slug:name>/", export.export_figure, name="export-figure"),
    path("runbook/", runbook.runbook, name="runbook"),
    path("runbook/<slug:name>/", runbook.runbook_page, name="runbook-page"),
    # Ask Stripe now.
    path("ask/order/<slug:order_id>/", ask_stripe.ask_order, name="ask-order"),
    path("ask/orders/", ask_stripe.ask_selection, name="ask-selection"),
    path("ask/day/", ask_stripe.ask_day, name="ask-day"),
    # Money back.
    path("refund/<slug:payment_id>/", refunds.refund, name="refund"),
    path("refund-proposals/<int:pk>/", refunds.decide_refund, name="decide-refund"),
    path("breaks/<int:pk>/refund/", orders_and_breaks.refund_duplicate, name="refund-duplicate"),
    path("breaks/<int:pk>/refund-mismatch/", orders_and_breaks.refund_mismatch, name="refund-mismatch"),
    # An order that is not paid.
    path("cancel/<slug:order_id>/", orders_and_breaks.cancel_order, name="cancel-order"),
    path("cancel-at-stripe/<slug:order_id>/", orders_and_breaks.cancel_at_stripe_page, name="cancel-at-stripe"),
    # Breaks, webhooks, mails.
    path("breaks/<int:pk>/resolve/", orders_and_breaks.resolve_break_page, name="resolve-break"),
    path("breaks/<int:pk>/end/", orders_and_breaks.end_missing_page, name="end-missing"),
    path("breaks/<int:pk>/take/", orders_and_breaks.take_break, name="take-break"),
    path("webhooks/<slug:event_id>/replay/", orders_and_breaks.replay_event, name="replay-event"),
    path("mails/<int:pk>/again/", orders_and_breaks.send_mail_again, name="send-mail-again"),
]
