"""manage.py forget_keys: clear keys and stored answers whose time is over; the same work as Celery's beat."""

from typing import Any

from django.core.management.base import BaseCommand

from payments.retention import forget_keys, kept_too_long


class Command(BaseCommand):
    help = "Clear idempotency keys and stored answers past KEY_RETENTION. Deletes no row."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{forget_keys()} cleared, {kept_too_long()} kept because they have not ended")
