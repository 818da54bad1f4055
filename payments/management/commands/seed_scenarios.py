"""manage.py seed_scenarios: seven situations that staff meet, in the running development shop, with the ways to them.

Only where the settings say DEBUG and Stripe is the sandbox: it presses Pay, spoils answers and opens disputes.
"""

import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments.management.outside import Unexpected
from payments.management.scenarios import SCENARIOS, Scene, Seeded


class Command(BaseCommand):
    help = "Make the situations of the runbook in the running shop (development and sandbox only); say where they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", choices=list(SCENARIOS), action="append", help="this one alone; may be repeated")
        parser.add_argument("--json", action="store_true", help="JSON alone on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        scene = Scene()
        _refuse_elsewhere(scene)
        seeded: list[Seeded] = []
        try:
            for name in options["only"] or SCENARIOS:
                made = SCENARIOS[name](scene)
                seeded += made
                if not options["json"]:
                    self.stdout.write("\n".join(line for one in made for line in [*one.as_lines(), ""]))
        except (Unexpected, OSError) as error:
            raise CommandError(f"{name}: {error}") from error
        finally:
            scene.end()
        if options["json"]:
            self.stdout.write(json.dumps([one.as_json() for one in seeded]))


def _refuse_elsewhere(scene: Scene) -> None:
    if not settings.DEBUG:
        raise CommandError("seed_scenarios is for development: it presses Pay and opens disputes (DEBUG is off)")
    host = urlsplit(settings.STRIPE_API_BASE or "").hostname
    if host not in ("127.0.0.1", "localhost", "::1") or not scene.bank.is_sandbox():
        raise CommandError("seed_scenarios needs the Stripe sandbox, and STRIPE_API_BASE does not answer as one")
