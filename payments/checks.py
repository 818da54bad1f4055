"""System checks: an unsafe configuration does not start (RULES R91). Each has an id and a hint."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from shop.env import wrong_payment_env

TEN_SECONDS = timedelta(seconds=10)


@register()
def times_fit_together(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A lease must outlive every holder, a key our retries, and the broker our longest wait."""
    rules = [
        (
            settings.PRESS_BUDGET + TEN_SECONDS < settings.LEASE,
            "PRESS_BUDGET + 10 s must be less than LEASE: a press must end before its lease does.",
            "payments.E001",
        ),
        (
            settings.LEASE <= settings.REDIS_LOCK_TTL,
            "LEASE must be at most REDIS_LOCK_TTL: a lock that runs out first turns waiting into work.",
            "payments.E002",
        ),
        (
            timedelta(seconds=settings.CELERY_TASK_TIME_LIMIT) < settings.LEASE,
            "CELERY_TASK_TIME_LIMIT must be less than LEASE: a worker must be dead before its lease ends.",
            "payments.E003",
        ),
        (
            settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] > 600,
            "The broker's visibility_timeout must exceed 10 minutes, our longest countdown.",
            "payments.E004",
        ),
        (
            timedelta(hours=72) <= settings.KEY_RETENTION,
            "KEY_RETENTION must be at least 72 h: Stripe retries a webhook for three days.",
            "payments.E005",
        ),
        (
            timedelta(hours=24) > settings.GATEWAY_KEY_SAFE_AGE,
            "GATEWAY_KEY_SAFE_AGE must be less than 24 h: after that Stripe takes an old key for a new request.",
            "payments.E006",
        ),
        (
            settings.CREATE_TIMEOUT + settings.CONFIRM_TIMEOUT <= settings.PRESS_BUDGET,
            "CREATE_TIMEOUT and CONFIRM_TIMEOUT must fit into PRESS_BUDGET.",
            "payments.E007",
        ),
        (
            settings.CREATE_TIMEOUT + max(TEN_SECONDS, settings.SEEK_TIMEOUT) < settings.OPEN_LEASE,
            "OPEN_LEASE must exceed CREATE_TIMEOUT by 10 s, and by SEEK_TIMEOUT.",
            "payments.E008",
        ),
        (
            timedelta(days=30) < settings.WEBHOOK_EVENT_RETENTION,
            "WEBHOOK_EVENT_RETENTION must exceed 30 days: for so long Stripe shows an event again.",
            "payments.E013",
        ),
    ]
    return [Error(text, hint="See 'Time' in shop/settings.py.", id=check) for holds, text, check in rules if not holds]


@register()
def money_is_read_from_the_primary(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A replica that lags shows an unpaid order to somebody who has just paid it (RULES R20, FAILURES 29)."""
    if not settings.DATABASE_ROUTERS:
        return []
    hint = "Remove DATABASE_ROUTERS, or prove that no money query leaves the primary, and silence this check."
    return [Error("A database router may read money from a replica.", hint=hint, id="payments.E009")]


@register()
def stripe_is_meant(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A live key never meets DEBUG or the sandbox, and production never the sandbox (SECURITY SE20)."""
    errors: list[CheckMessage] = []
    live = settings.STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
    real = settings.STRIPE_API_BASE == "https://api.stripe.com"
    if live and settings.DEBUG:
        errors.append(Error("A live Stripe key with DEBUG on.", hint="Use a test key.", id="payments.E010"))
    if live and not real:
        errors.append(
            Error("A live Stripe key with another STRIPE_API_BASE.", hint="Unset STRIPE_API_BASE.", id="payments.E011")
        )
    if not settings.DEBUG and settings.STRIPE_API_BASE.startswith("http://") and not _loopback():
        errors.append(
            Error("STRIPE_API_BASE is plain http.", hint="Use https, or loopback for tests.", id="payments.E012")
        )
    return errors


@register(deploy=True)
def the_shop_has_a_name_of_its_own(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What is made at Stripe is known again by it, and keys are ours by it (shop.env says what it may be)."""
    wrong = "" if settings.DEBUG else wrong_payment_env(settings.PAYMENT_ENV)
    return (
        [Error(f"{wrong}.", hint="Set PAYMENT_ENV, and never change it lightly.", id="payments.E014")] if wrong else []
    )


def _loopback() -> bool:
    host = settings.STRIPE_API_BASE.split("/")[2].rsplit(":", 1)[0]
    return host in ("127.0.0.1", "localhost", "[::1]")
