"""Celery: does soon what the rows say is due. A lost task loses nothing, the beat finds the row (RULES R97-R99)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("payonce")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
