"""When to look again at an attempt that is not decided: the ladder, kept in the row (RULES, constants)."""

import datetime

from django.conf import settings
from django.utils import timezone

from payments.models import Attempt, Outcome


def next_look(attempt: Attempt) -> datetime.datetime:
    """The moment of the next look: `attempt.looks` rungs up, then daily. A look that could not reach Stripe does not
    count as one, so an outage never pushes the truth into tomorrow.

    Whatever the ladder says, a look comes when something must be decided: CONFIRM_AGAIN after the click for an unknown
    outcome, ACTION_LIFE for a challenge that nobody finishes.
    """
    now = timezone.now()
    ladder = settings.LOOK_LADDER
    due = now + (ladder[attempt.looks] if attempt.looks < len(ladder) else datetime.timedelta(days=1))
    wait = settings.ACTION_LIFE if attempt.outcome == Outcome.REQUIRES_ACTION else settings.CONFIRM_AGAIN
    decision = attempt.claimed_at + wait
    return min(due, decision) if now < decision else due
