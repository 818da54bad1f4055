"""manage.py expire_orders: close the orders whose hold is over, from cron or by hand."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from payments.cancellation import expire_due


class Command(BaseCommand):
    help = "Close unpaid orders whose hold is over: cancel at Stripe first, then put the goods back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="JSON alone on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        closed = expire_due()
        answer = {"checked": closed, "changed": closed, "breaks": []}
        self.stdout.write(json.dumps(answer) if options["json"] else f"{closed} orders closed")
