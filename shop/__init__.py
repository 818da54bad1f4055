"""Wiring and storefront: settings, products, cart, account, and the idempotency kit (layer 2)."""

from shop.celery import app as celery_app

__all__ = ["celery_app"]
