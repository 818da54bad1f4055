"""`manage.py forget_second_factor USERNAME`: for a member of staff who has lost both phone and recovery codes."""

from typing import Any

import structlog
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop.second_factor import forget

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Forget somebody's phone and recovery codes. Make sure first that it is really they who ask."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}.")
        phones = forget(user)
        log.warning("second_factor_forgotten", user=user.pk, phones=phones)
        self.stdout.write(
            f"forget_second_factor: {phones} phones of {username!r} forgotten."
            " The next log-in asks to set one up; a new password now would not hurt."
        )
