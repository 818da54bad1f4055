"""manage.py reconcile_payments: the completer from cron or by hand; the same work as Celery's beat."""

import json
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error as DatabaseError

from payments.cancellation import due_to_expire, expire_due
from payments.errors import GatewayError
from payments.management.breaks import open_breaks
from payments.management.moments import moment
from payments.models import Asker, Heartbeat
from payments.monitoring.heartbeats import beat
from payments.reconciliation.event_feed import read_events
from payments.reconciliation.inbox import due_events, work_webhooks
from payments.reconciliation.on_demand import Chosen, finish_chosen, open_events, open_work
from payments.reconciliation.recovery import Work, complete_due, due_work

_MOST_COUNTED = 100_000  # of each kind


class Command(BaseCommand):
    help = "Find out about payments that are not decided, and finish what dead processes left."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--order", help="only what is open of this order")
        parser.add_argument("--since", help="only what began since this moment (ISO 8601)")
        parser.add_argument("--until", help="only what began before this moment (ISO 8601)")
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
            due, checked, changed = self._work(options)
            breaks = open_breaks()
        except DatabaseError as error:
            self.stderr.write(f"could not check: {type(error).__name__}: the database does not answer")
            return 2
        except GatewayError as error:
            self.stderr.write(f"could not check: Stripe does not answer: {error}")
            return 2
        if options["json"]:
            said = {"checked": checked, "changed": changed, "breaks": breaks, "due": due}
            self.stdout.write(json.dumps(said))
        else:
            parts = ", ".join(f"{count} {name}" for name, count in due.items())
            self.stdout.write(f"{checked} checked ({parts}), {changed} changed, {len(breaks)} open breaks")
        return 1 if breaks else 0

    def _work(self, options: dict[str, Any]) -> tuple[dict[str, int], int, int]:
        """What was due, how many were checked, how many changed."""
        if options["order"] or options["since"] or options["until"]:
            return _some(_chosen(options), dry_run=options["dry_run"])
        due = _counts(due_work(_MOST_COUNTED), due_events()) | {"expiries": due_to_expire().count()}
        if options["dry_run"]:
            return due, sum(due.values()), 0
        events = work_webhooks()
        checked, changed = complete_due(Asker.COMPLETER)
        beat(Heartbeat.Name.COMPLETER)
        checked += events + expire_due()
        read_events()
        work_webhooks()
        return due, checked, changed


def _some(chosen: Chosen, *, dry_run: bool) -> tuple[dict[str, int], int, int]:
    changed = 0
    if dry_run:
        work, events = open_work(chosen), open_events(chosen)
    else:
        work, events, changed = finish_chosen(chosen, Asker.COMPLETER)
    due = _counts(work, len(events))
    return due, sum(due.values()), changed


def _counts(work: Work, events: int) -> dict[str, int]:
    return {
        "attempts": len(work.attempts),
        "closings": len(work.closings),
        "payments": len(work.payments),
        "refunds": len(work.refunds),
        "events": events,
    }


def _chosen(options: dict[str, Any]) -> Chosen:
    return Chosen(
        order_id=options["order"] or "",
        since=moment("--since", options["since"]) if options["since"] else None,
        until=moment("--until", options["until"]) if options["until"] else None,
    )
