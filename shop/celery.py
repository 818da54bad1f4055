"""Celery: does soon what the rows say is due. A lost task loses nothing, the beat finds the row (RULES R97-R99)."""

import os
from typing import Any

from celery import Celery

from shop.env import refuse_missing_secrets

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")


class Payonce(Celery):  # type: ignore[misc]  # it ships no types
    """Its worker and its beat end with one line where a secret is missing, before they have begun anything."""

    @property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        refuse_missing_secrets()
        return super().Worker

    @property
    def Beat(self) -> Any:  # noqa: N802 - Celery's name
        refuse_missing_secrets()
        return super().Beat


app = Payonce("payonce")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
