"""Shoppers' personal data as staff may see it: whole with `orders.see_personal_data`, else masked (SECURITY SE48)."""

from typing import Protocol


class Viewer(Protocol):
    def has_perm(self, permission: str) -> bool: ...


def may_see_personal_data(viewer: Viewer) -> bool:
    return viewer.has_perm("orders.see_personal_data")


def email_for(viewer: Viewer, email: str) -> str:
    """The address, or its first letter and its domain: enough to tell two shoppers apart, not to write to them."""
    name, at, domain = email.partition("@")
    return email if may_see_personal_data(viewer) or not at else f"{name[:1]}…@{domain}"


def text_for(viewer: Viewer, text: str) -> str:
    """A name or a line of an address, or its first letter."""
    return text if may_see_personal_data(viewer) or not text else f"{text[:1]}…"
