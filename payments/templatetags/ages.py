"""How long ago: `{% load ages %}{{ attempt.claimed_at|ago:board.now }}`."""

import datetime

from django import template
from django.utils.html import format_html

from payments.monitoring.alarms import age_text
from shop.money import CURRENCIES, money_text

register = template.Library()


@register.filter
def ago(at: datetime.datetime, now: datetime.datetime) -> str:
    """`2 h 5 min`, with the exact moment in UTC as its title."""
    return _time(at, age_text(now - at))


@register.filter
def last_look(at: datetime.datetime | None, now: datetime.datetime) -> str:
    """When something was last checked; None: never."""
    return format_html("{}, {} ago", moment(at), ago(at, now)) if at else "never yet"


@register.filter
def in_time(at: datetime.datetime, now: datetime.datetime) -> str:
    """`3 min`, of a moment to come."""
    return _time(at, age_text(at - now))


@register.filter
def lasting(lasted: datetime.timedelta) -> str:
    """`3 min`."""
    return age_text(lasted)


@register.filter
def moment(at: datetime.datetime) -> str:
    """`2026-11-24 14:00:00 UTC`."""
    return f"{at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def sum_of_money(amount_minor: int | None, currency: str) -> str:
    """As `money`, but also of what Stripe's book may hold: no amount, or a currency that we do not sell in."""
    if amount_minor is None:
        return "not known"
    return money_text(amount_minor, currency) if currency in CURRENCIES else f"{amount_minor:,} minor units {currency}"


def _time(at: datetime.datetime, text: str) -> str:
    utc = at.astimezone(datetime.UTC)
    return format_html('<time datetime="{}" title="{}">{}</time>', utc.isoformat(), moment(at), text)
