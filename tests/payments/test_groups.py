"""The groups that come with the shop: daily work needs no superuser (SECURITY SE48)."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.migrations.loader import MigrationLoader

pytestmark = pytest.mark.django_db(transaction=True)

MIGRATION = "0008_groups_for_daily_work"
migration: Any = import_module(f"payments.migrations.{MIGRATION}")
SHIPPED: dict[str, list[str]] = migration.GROUPS

# Each act on money or personal data, and the groups that may do it.
ACTS = {
    "orders.see_personal_data": {"clerk"},
    "orders.fulfil_order": {"clerk"},
    "orders.cancel_order": {"clerk"},
    "orders.send_mail_again": {"clerk"},
    "orders.revoke_links": {"clerk"},
    "shop.change_product": {"clerk"},
    "shop.correct_stock": {"clerk"},
    "payments.refund_payment": {"finance"},
    "payments.export_payment": {"finance"},
    "payments.resolve_break": {"finance", "on-call"},
    "payments.reconcile_payment": {"on-call"},
    "payments.replay_webhookevent": {"on-call"},
    "shop.view_staffact": {"finance", "on-call"},
}


def permissions_of(group: Group) -> set[str]:
    return {f"{app}.{name}" for app, name in group.permissions.values_list("content_type__app_label", "codename")}


def make() -> None:
    """What the migration does, and nothing else: no later migration is undone, and Django makes no permissions."""
    migration.make_groups(MigrationLoader(connection).project_state(("payments", MIGRATION)).apps, None)


def take_away() -> None:
    migration.take_groups_away(MigrationLoader(connection).project_state(("payments", MIGRATION)).apps, None)


@pytest.fixture
def as_shipped() -> Iterator[None]:
    """Whatever a test does to the groups, the next one finds them as they come."""
    yield
    Group.objects.all().delete()
    make()


def test_the_groups_come_with_the_shop_and_outlive_a_test() -> None:
    assert {group.name: permissions_of(group) for group in Group.objects.all()} == {
        name: set(wanted) for name, wanted in SHIPPED.items()
    }


@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_for_its_groups_and_for_nobody_else(act: str) -> None:
    allowed = set()
    for group in Group.objects.all():
        user = User.objects.create_user(group.name, is_staff=True)
        user.groups.add(group)
        if user.has_perm(act):
            allowed.add(group.name)
    assert allowed == ACTS[act]


def test_no_group_may_delete_or_change_money_or_make_staff() -> None:
    for name, wanted in SHIPPED.items():
        assert not [one for one in wanted if ".delete_" in one or one.startswith("auth.")], name
        changing = {one for one in wanted if ".add_" in one or ".change_" in one}
        assert changing <= {"shop.add_product", "shop.change_product"}, name


def test_the_groups_are_made_where_there_are_no_permissions_yet(as_shipped: None) -> None:
    take_away()
    assert not Group.objects.exists()
    Permission.objects.filter(content_type__app_label__in=["shop", "orders", "payments"]).delete()
    make()
    assert permissions_of(Group.objects.get(name="finance")) == set(SHIPPED["finance"])
    refund = Permission.objects.get(codename="refund_payment")
    assert refund.name == "Can give money back"


def test_what_an_administrator_changed_stays_changed(as_shipped: None) -> None:
    clerk, finance = Group.objects.get(name="clerk"), Group.objects.get(name="finance")
    clerk.permissions.remove(Permission.objects.get(codename="see_personal_data"))
    User.objects.create_user("fiona").groups.add(finance)
    take_away()
    assert set(Group.objects.values_list("name", flat=True)) == {"clerk", "finance"}
    make()
    assert "orders.see_personal_data" not in permissions_of(Group.objects.get(name="clerk"))
    assert Group.objects.get(name="finance").user_set.get().username == "fiona"
    assert permissions_of(Group.objects.get(name="on-call")) == set(SHIPPED["on-call"])
