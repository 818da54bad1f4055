"""A product's picture: `{% load pictures %}{% picture product %}`."""

from functools import lru_cache

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static

from shop.models import Product

register = template.Library()


@register.simple_tag
def picture(product: Product) -> str:
    """The address of static/img/products/<slug>.svg, or of a plain picture where nobody has drawn one yet."""
    return static(_file(product.slug))


@lru_cache(maxsize=1000)
def _file(slug: str) -> str:
    name = f"img/products/{slug}.svg"
    return name if finders.find(name) else "img/no-picture.svg"
