"""manage.py replay_webhooks: work on stored webhook events again. Harmless: an event is a hint to look (RULES R80)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from payments.management.moments import moment
from payments.models import WebhookEvent
from payments.reconciliation.inbox import work_webhooks


class Command(BaseCommand):
    help = "Work on stored webhook events again: one, or those received in a window."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--event", help="Stripe's event id, evt_...")
        parser.add_argument("--since", help="received since this moment (ISO 8601)")
        parser.add_argument("--until", help="received before this moment (ISO 8601)")
        parser.add_argument("--dry-run", action="store_true", help="say how many, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        events = _chosen(options)
        count = events.count()
        if options["dry_run"]:
            self.stdout.write(f"{count} events would be worked on again")
            return
        events.update(state=WebhookEvent.State.STORED, next_try_at=timezone.now(), tries=0)
        done = 0
        while worked := work_webhooks():
            done += worked
        self.stdout.write(f"{count} events, {done} done")


def _chosen(options: dict[str, Any]) -> Any:
    if not (options["event"] or options["since"] or options["until"]):
        raise CommandError("Say which: --event, or --since and --until.")
    events = WebhookEvent.objects.all()
    if options["event"]:
        events = events.filter(event_id=options["event"])
        if not events.exists():
            raise CommandError(f"There is no stored event {options['event']}.")
    if options["since"]:
        events = events.filter(received_at__gte=moment("--since", options["since"]))
    if options["until"]:
        events = events.filter(received_at__lt=moment("--until", options["until"]))
    return events
