"""The shop as a Django app, and Django's admin as the shop has it. Start-up checks are registered here."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class ShopConfig(AppConfig):
    name = "shop"
    default = True

    def ready(self) -> None:
        from shop import checks  # noqa: F401  (registers itself)


class AdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "shop.admin_site.PayonceAdmin"

    def ready(self) -> None:
        super().ready()
        from django.contrib import admin
        from django_otp.plugins.otp_totp.models import TOTPDevice

        admin.site.unregister(TOTPDevice)  # its pages show the secret; a person's phone is nobody else's to set up
