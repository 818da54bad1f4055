"""manage.py forget_keys: clear keys and stored answers whose time is over, and delete webhook events that were done
long ago; the same work as Celery's beat."""

from typing import Any

from django.core.management.base import BaseCommand

from payments.retention import delete_events, forget_keys, past_retention


class Command(BaseCommand):
    help = "Clear idempotency keys and stored answers past KEY_RETENTION; delete done events past their retention."

    def handle(self, *args: Any, **options: Any) -> None:
        cleared, deleted = forget_keys(), delete_events()
        said = (
            f"{cleared} cleared, {past_retention().count()} kept because they have not ended, {deleted} events deleted"
        )
        self.stdout.write(said)
