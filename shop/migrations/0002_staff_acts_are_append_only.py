"""What staff did is written down once, and stays."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

APPEND_ONLY = """
CREATE FUNCTION staff_acts_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'staff acts are append-only: no % of act %', TG_OP, OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER staff_acts_are_append_only BEFORE UPDATE OR DELETE ON shop_staffact
    FOR EACH ROW EXECUTE FUNCTION staff_acts_are_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0001_stock_is_never_oversold"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="product",
            options={
                "ordering": ["position", "id"],
                "permissions": [("correct_stock", "Can correct the stock by a difference")],
            },
        ),
        migrations.CreateModel(
            name="StaffAct",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor_name", models.CharField(max_length=80)),
                ("act", models.CharField(max_length=32)),
                ("subject", models.CharField(max_length=80)),
                ("order_id", models.CharField(blank=True, max_length=32)),
                ("form_key", models.CharField(blank=True, max_length=80, null=True)),
                ("address", models.GenericIPAddressField(blank=True, null=True)),
                ("agent", models.CharField(blank=True, max_length=200)),
                ("before", models.JSONField(default=dict)),
                ("after", models.JSONField(default=dict)),
                ("note", models.CharField(blank=True, max_length=400)),
                (
                    "actor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("order_id", ""), _negated=True),
                        fields=["order_id", "at"],
                        name="staff_act_by_order",
                    ),
                    models.Index(fields=["actor", "-at"], name="staff_act_by_actor"),
                ],
                "constraints": [models.UniqueConstraint(fields=("form_key",), name="one_act_per_form")],
            },
        ),
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER staff_acts_are_append_only ON shop_staffact; DROP FUNCTION staff_acts_are_append_only();",
        ),
    ]
