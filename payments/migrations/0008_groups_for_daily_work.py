"""Groups for daily work, so that nobody needs to be a superuser for it (SECURITY SE48; docs/staff.md, "Who may do what").

A group that is there already is left as it is: what an administrator has changed, stays changed.
"""

from django.contrib.auth.management import create_permissions
from django.db import migrations

SEES = [
    "orders.view_order",
    "orders.view_orderline",
    "orders.view_orderlink",
    "orders.view_mail",
    "payments.view_payment",
    "payments.view_attempt",
    "payments.view_refund",
    "payments.view_refundproposal",
    "payments.view_paymentevent",
    "payments.view_webhookevent",
    "payments.view_break",
    "payments.view_dispute",
    "payments.view_duplicatesstopped",
    "shop.view_product",
]
GROUPS = {
    "clerk": [
        *SEES,
        "orders.see_personal_data",
        "orders.fulfil_order",
        "orders.cancel_order",
        "orders.send_mail_again",
        "orders.revoke_links",
        "shop.add_product",
        "shop.change_product",
        "shop.correct_stock",
    ],
    "finance": [
        *SEES,
        "payments.refund_payment",
        "payments.resolve_break",
        "payments.export_payment",
        "shop.view_staffact",
    ],
    "on-call": [
        *SEES,
        "payments.reconcile_payment",
        "payments.replay_webhookevent",
        "payments.resolve_break",
        "shop.view_staffact",
    ],
}


def make_groups(apps, schema_editor):
    permissions = _permissions(apps)
    for name, wanted in GROUPS.items():
        group, is_new = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        if is_new:
            group.permissions.set([permissions[one] for one in wanted])


def take_groups_away(apps, schema_editor):
    """Only those that are as we made them, and that nobody is in."""
    for group in apps.get_model("auth", "Group").objects.filter(name__in=GROUPS, user=None):
        labels = {f"{app}.{name}" for app, name in group.permissions.values_list("content_type__app_label", "codename")}
        if labels == set(GROUPS[group.name]):
            group.delete()


def _permissions(apps):
    """By "app.codename". Django makes them after the last migration, which is too late on a fresh database."""
    for label in ("shop", "orders", "payments"):
        app = apps.get_app_config(label)
        app.models_module = True  # an app of a migration says that it has no models
        create_permissions(app, verbosity=0, apps=apps)
        app.models_module = None
    rows = apps.get_model("auth", "Permission").objects.select_related("content_type")
    return {f"{row.content_type.app_label}.{row.codename}": row for row in rows}


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("shop", "0002_staff_acts_are_append_only"),
        ("orders", "0003_an_order_is_found_by_its_email"),
        ("payments", "0007_a_second_person_approves_a_refund"),
    ]

    operations = [migrations.RunPython(make_groups, take_groups_away)]
