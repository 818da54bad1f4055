"""The shop as a Django app. Its start-up checks are registered here."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        from shop import checks  # noqa: F401  (registers itself)
