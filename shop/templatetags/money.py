"""Money in templates: `{% load money %}{{ amount_minor|money:currency }}`."""

from django import template

from shop.money import money_text

register = template.Library()


@register.filter
def money(amount_minor: int, currency: str) -> str:
    """`2400|money:"GBP"` -> `£24.00`."""
    return money_text(amount_minor, currency)
