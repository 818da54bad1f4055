"""When to look again at an attempt that is not decided: the ladder, kept in the row (RULES, constants)."""

import datetime

from django.conf import settings

from payments.models import Attempt, Outcome


def next_look(attempt: Attempt, now: datetime.datetime) -> datetime.datetime:
    """The moment of the next look: `attempt.looks` rungs up from `now` (database clock), then daily. A look that could
    not reach Stripe does not count as one, so an outage never pushes the truth into tomorrow.

    Whatever the ladder says, a look comes when something must be decided: CONFIRM_AGAIN after the click for an unknown
    outcome, ACTION_LIFE for a challenge that nobody finishes.
    """
    due = now + rung(attempt.looks)
    wait = settings.ACTION_LIFE if attempt.outcome == Outcome.REQUIRES_ACTION else settings.CONFIRM_AGAIN
    decision = attempt.claimed_at + wait
    return min(due, decision) if now < decision else due


def rung(looks: int) -> datetime.timedelta:
    """How long to wait after so many looks."""
    ladder: list[datetime.timedelta] = settings.LOOK_LADDER
    return ladder[looks] if looks < len(ladder) else datetime.timedelta(days=1)
