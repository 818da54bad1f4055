"""Addresses of the staff desk, under /admin/desk/. Every view is a `staff_page`."""

from django.urls import path

from payments.desk import acts, charged_twice_page, dashboard, export, questions, refunds, runbook

app_name = "desk"

urlpatterns = [
    path("", dashboard.dashboard, name="dashboard"),
    path("charged-twice/", charged_twice_page.charged_twice, name="charged-twice"),
    path("export/", export.export_payments, name="export-payments"),
    path("export/<slug:name>/", export.export_figure, name="export-figure"),
    path("runbook/", runbook.runbook, name="runbook"),
    path("runbook/<slug:name>/", runbook.runbook_page, name="runbook-page"),
    # Ask Stripe now.
    path("ask/order/<slug:order_id>/", questions.ask_order, name="ask-order"),
    path("ask/orders/", questions.ask_selection, name="ask-selection"),
    path("ask/day/", questions.ask_day, name="ask-day"),
    # Money back.
    path("refund/<slug:payment_id>/", refunds.refund, name="refund"),
    path("refund-proposals/<int:pk>/", refunds.decide_refund, name="decide-refund"),
    path("breaks/<int:pk>/refund/", acts.refund_duplicate, name="refund-duplicate"),
    path("breaks/<int:pk>/refund-mismatch/", acts.refund_mismatch, name="refund-mismatch"),
    # An order that is not paid.
    path("cancel/<slug:order_id>/", acts.cancel_order, name="cancel-order"),
    path("cancel-at-stripe/<slug:order_id>/", acts.cancel_at_stripe_page, name="cancel-at-stripe"),
    # Breaks, webhooks, mails.
    path("breaks/<int:pk>/resolve/", acts.resolve_break_page, name="resolve-break"),
    path("breaks/<int:pk>/end/", acts.end_missing_page, name="end-missing"),
    path("breaks/<int:pk>/take/", acts.take_break, name="take-break"),
    path("webhooks/<slug:event_id>/replay/", acts.replay_event, name="replay-event"),
    path("mails/<int:pk>/again/", acts.send_mail_again, name="send-mail-again"),
]
