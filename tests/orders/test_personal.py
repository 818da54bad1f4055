"""Who may see a shopper's name and address, and what the others see."""

import pytest

from orders.personal import email_for, text_for


class Clerk:
    def __init__(self, *permissions: str) -> None:
        self.permissions = permissions

    def has_perm(self, permission: str) -> bool:
        return permission in self.permissions


def test_with_the_permission_all_is_seen() -> None:
    clerk = Clerk("orders.see_personal_data")
    assert email_for(clerk, "ada@example.com") == "ada@example.com"
    assert text_for(clerk, "Ada Lovelace") == "Ada Lovelace"


@pytest.mark.parametrize("permission", ["orders.view_order", "payments.refund_payment"])
def test_without_it_a_shopper_can_be_told_apart_and_not_written_to(permission: str) -> None:
    clerk = Clerk(permission)
    assert email_for(clerk, "ada@example.com") == "a…@example.com"
    assert text_for(clerk, "Ada Lovelace") == "A…"
    assert text_for(clerk, "") == ""
