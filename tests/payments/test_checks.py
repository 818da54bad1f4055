"""An unsafe configuration does not start: each rule of payments/checks.py broken, each id seen (RULES R91)."""

import datetime
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from payments import checks

SECOND, HOUR = datetime.timedelta(seconds=1), datetime.timedelta(hours=1)

# What is set, and the one complaint it causes. LEASE and its neighbours pull on each other: those are set together.
BROKEN: dict[str, dict[str, Any]] = {
    "payments.E001": {"PRESS_BUDGET": 50 * SECOND},
    "payments.E002": {"REDIS_LOCK_TTL": 59 * SECOND},
    "payments.E003": {"CELERY_TASK_TIME_LIMIT": 60},
    "payments.E004": {"CELERY_BROKER_TRANSPORT_OPTIONS": {"visibility_timeout": 600}},
    "payments.E005": {"KEY_RETENTION": 71 * HOUR},
    "payments.E006": {"GATEWAY_KEY_SAFE_AGE": 24 * HOUR},
    "payments.E007": {"CONFIRM_TIMEOUT": 24 * SECOND},
    "payments.E008": {"OPEN_LEASE": 15 * SECOND},
    "payments.E013": {"WEBHOOK_EVENT_RETENTION": 30 * 24 * HOUR},
    "payments.E010": {"STRIPE_SECRET_KEY": "sk_live_x", "STRIPE_API_BASE": "https://api.stripe.com", "DEBUG": True},
    "payments.E011": {"STRIPE_SECRET_KEY": "rk_live_x", "STRIPE_API_BASE": "https://127.0.0.1", "DEBUG": False},
    "payments.E012": {"STRIPE_API_BASE": "http://stripe.example:8001", "DEBUG": False},
}


def ids() -> list[str | None]:
    found = [*checks.times_fit_together(None), *checks.stripe_is_meant(None)]
    assert all(message.hint for message in found)
    return [message.id for message in found]


def test_ours_are_safe() -> None:
    assert ids() == []
    assert [message for message in run_checks() if (message.id or "").startswith("payments.")] == []


@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_rule_is_refused_by_its_id(settings: Any, check: str) -> None:
    for name, value in BROKEN[check].items():
        setattr(settings, name, value)
    assert ids() == [check]
    with pytest.raises(SystemCheckError, match=check):
        call_command("check")


@pytest.mark.parametrize("name", ["", "live", "prod", "a:b"])
def test_a_name_that_another_shop_may_have_is_refused_where_it_is_deployed(settings: Any, name: str) -> None:
    settings.PAYMENT_ENV = name
    assert [one.id for one in checks.the_shop_has_a_name_of_its_own(None)] == ["payments.E014"]
    with pytest.raises(SystemCheckError, match=r"payments\.E014"):
        call_command("check", "--deploy")
    settings.DEBUG = True
    assert checks.the_shop_has_a_name_of_its_own(None) == []


def test_the_edges_are_allowed(settings: Any) -> None:
    settings.PRESS_BUDGET = 49 * SECOND
    settings.REDIS_LOCK_TTL = settings.LEASE
    settings.CELERY_TASK_TIME_LIMIT = 59
    settings.KEY_RETENTION = 72 * HOUR
    settings.GATEWAY_KEY_SAFE_AGE = 24 * HOUR - SECOND
    settings.STRIPE_API_BASE, settings.DEBUG = "http://127.0.0.1:8001", False
    assert ids() == []
