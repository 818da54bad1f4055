"""Addresses of the staff desk, under /admin/desk/. Every view is a `staff_page`."""

from django.urls import URLPattern

app_name = "desk"

urlpatterns: list[URLPattern] = []
