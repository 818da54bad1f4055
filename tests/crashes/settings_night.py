"""The tests' settings with repair fifteen times as often, for a night that fits into a test."""

from datetime import timedelta
from typing import Any

from tests.settings import *  # noqa: F403
from tests.settings import CELERY_BEAT_SCHEDULE as _SCHEDULE
from tests.settings import LOOK_LADDER as _LADDER

SCALE = 15
LOOK_LADDER = [rung / SCALE for rung in _LADDER]
_schedule: dict[str, dict[str, Any]] = _SCHEDULE
CELERY_BEAT_SCHEDULE = {
    name: entry | {"schedule": entry["schedule"] / SCALE}
    for name, entry in _schedule.items()
    if isinstance(entry["schedule"], float)  # what comes once a day does not come in a night of minutes
}
LOOK_INTERVAL = timedelta(seconds=3) / SCALE
