"""`manage.py send_mails`: what the beat does, for cron and for a day without Celery."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orders.mail import send_due_mails


class Command(BaseCommand):
    help = "Send the mails that orders owe. Safe to run beside Celery, and twice at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--order", help="the id of one order; without it, all that are due")

    def handle(self, *args: Any, **options: Any) -> None:
        sent = send_due_mails(options["order"])
        self.stdout.write(f"{sent} sent.")
