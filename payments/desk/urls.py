"""Addresses of the staff desk, under /admin/desk/. Every view is a `staff_page`."""

from django.urls import path

from payments.desk import dashboard, runbook

app_name = "desk"

urlpatterns = [
    path("", dashboard.dashboard, name="dashboard"),
    path("runbook/", runbook.runbook, name="runbook"),
    path("runbook/<slug:name>/", runbook.runbook_page, name="runbook-page"),
]
