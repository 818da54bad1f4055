"""manage.py sweep_payments: compare Stripe's book with our rows, and these with each other, from cron or by hand; the
same work as Celery's beat.

Safe to kill at any line, and to run beside itself: every write is one that a second run makes again or finds made.
"""

import datetime
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.utils import timezone

from payments.errors import GatewayError
from payments.management.breaks import break_json, open_breaks
from payments.management.moments import moment
from payments.monitoring.heartbeats import beat
from payments.reconciliation.invariants import check_books
from payments.reconciliation.run import PLANS, Swept, sweep


class Command(BaseCommand):
    help = "Compare Stripe's payments, charges, refunds and disputes with ours; what differs is a break for staff."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=float, default=2, help="what was created in the last so many hours (2)")
        parser.add_argument("--since", help="instead: what was created since this moment (ISO 8601)")
        parser.add_argument("--until", help="and before this moment (ISO 8601)")
        parser.add_argument("--dry-run", action="store_true", help="say what differs, write nothing, repair nothing")
        parser.add_argument("--json", action="store_true", help="JSON alone on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exits 0 clean, 1 open breaks remain, 2 could not check."""
        since, until = _window(options)
        try:
            round_ = sweep(since, until, dry_run=options["dry_run"], tell=self.stderr.write)
            books = check_books(dry_run=options["dry_run"])
            found = [*round_.found, *books.found]
            breaks = [break_json(one.as_break()) for one in found] if options["dry_run"] else open_breaks()
            _keep_heartbeats(round_, since, until)
        except DatabaseError as error:
            self.stderr.write(f"could not check: {type(error).__name__}: the database does not answer")
            sys.exit(2)
        except GatewayError as error:
            self.stderr.write(f"could not check: Stripe does not answer: {error}")
            sys.exit(2)
        changed = round_.changed + books.changed
        if options["json"]:
            self.stdout.write(json.dumps({"checked": round_.checked, "changed": changed, "breaks": breaks}))
        else:
            self.stdout.write(f"{round_.checked} checked, {changed} changed, {len(breaks)} open breaks")
        self.stderr.write(f"{round_.pace.requests} requests, {round_.put_off} put off")
        sys.exit(1 if breaks else 2 if round_.put_off else 0)


def _window(options: dict[str, Any]) -> tuple[datetime.datetime, datetime.datetime | None]:
    if options["hours"] <= 0:
        raise CommandError("--hours: more than none", returncode=2)
    since = timezone.now() - datetime.timedelta(hours=options["hours"])
    if options["since"]:
        since = moment("--since", options["since"])
    until = moment("--until", options["until"]) if options["until"] else None
    if until is not None and until <= since:
        raise CommandError("--until: after --since", returncode=2)
    return since, until


def _keep_heartbeats(round_: Swept, since: datetime.datetime, until: datetime.datetime | None) -> None:
    """A shop that runs this from cron needs no beat: a sweep as long as a plan's counts as its round."""
    if round_.dry_run or until is not None:
        return
    for plan in PLANS:
        if timezone.now() - since >= plan.length:
            beat(plan.name)
