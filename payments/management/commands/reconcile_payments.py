"""manage.py reconcile_payments: the completer from cron or by hand; the same work as Celery's beat."""

import json
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseError

from payments.close import expire_due
from payments.complete import complete_attempt, complete_due, due_attempts
from payments.errors import GatewayError
from payments.events import read_events
from payments.heartbeats import beat
from payments.management.breaks import open_breaks
from payments.management.moments import moment
from payments.models import Asker, Attempt, Heartbeat
from payments.webhooks import work_webhooks


class Command(BaseCommand):
    help = "Find out about payments that are not decided, and finish what dead processes left."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--order", help="only this order")
        parser.add_argument("--since", help="only attempts claimed since this moment (ISO 8601)")
        parser.add_argument("--until", help="only attempts claimed before this moment (ISO 8601)")
        parser.add_argument("--dry-run", action="store_true", help="say what is due, change nothing")
        parser.add_argument("--json", action="store_true", help="JSON alone on standard output")
        parser.add_argument("--loop", action="store_true", help="run every 30 seconds until stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        while True:
            code = self._round(options)
            if not options["loop"]:
                sys.exit(code)
            time.sleep(30)

    def _round(self, options: dict[str, Any]) -> int:
        """One round: its exit code. 0 clean, 1 open breaks remain, 2 could not check."""
        try:
            checked, changed = self._work(options)
            breaks = open_breaks()
        except DatabaseError as error:
            self.stderr.write(f"could not check: {type(error).__name__}: the database does not answer")
            return 2
        except GatewayError as error:
            self.stderr.write(f"could not check: Stripe does not answer: {error}")
            return 2
        if options["json"]:
            self.stdout.write(json.dumps({"checked": checked, "changed": changed, "breaks": breaks}))
        else:
            self.stdout.write(f"{checked} checked, {changed} changed, {len(breaks)} open breaks")
        return 1 if breaks else 0

    def _work(self, options: dict[str, Any]) -> tuple[int, int]:
        narrowed = options["order"] or options["since"] or options["until"]
        if options["dry_run"]:
            return len(self._chosen(options) if narrowed else due_attempts()), 0
        if not narrowed:
            events = work_webhooks()
            checked, changed = complete_due(Asker.COMPLETER)
            beat(Heartbeat.Name.COMPLETER)
            checked += events + expire_due()
            read_events()
            work_webhooks()
            return checked, changed
        changed = 0
        chosen = self._chosen(options)
        for one in chosen:
            before = Attempt.objects.filter(pk=one).values_list("phase", "outcome").first()
            attempt = complete_attempt(one, Asker.COMPLETER)
            changed += attempt is not None and (attempt.phase, attempt.outcome) != before
        return len(chosen), changed

    def _chosen(self, options: dict[str, Any]) -> list[str]:
        attempts = Attempt.objects.exclude(phase=Attempt.Phase.FINISHED)
        if options["order"]:
            attempts = attempts.filter(order_id=options["order"])
        if options["since"]:
            attempts = attempts.filter(claimed_at__gte=moment("--since", options["since"]))
        if options["until"]:
            attempts = attempts.filter(claimed_at__lt=moment("--until", options["until"]))
        return list(attempts.order_by("claimed_at").values_list("pk", flat=True))
