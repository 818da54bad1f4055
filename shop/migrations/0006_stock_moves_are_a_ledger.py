"""Every change of a product's stock is written down, and stays. What is there when this runs becomes the ledger's opening
in orders/migrations/0010, together with what orders hold."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

APPEND_ONLY = """
CREATE FUNCTION stock_movements_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stock movements are append-only: no % of movement %', TG_OP, OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER stock_movements_are_append_only BEFORE UPDATE OR DELETE ON shop_stockmovement
    FOR EACH ROW EXECUTE FUNCTION stock_movements_are_append_only();
CREATE TRIGGER stock_movements_are_not_truncated BEFORE TRUNCATE ON shop_stockmovement
    FOR EACH STATEMENT EXECUTE FUNCTION never_truncated();
"""


class Migration(migrations.Migration):
    dependencies = [("shop", "0005_staff_acts_are_found_by_subject")]

    operations = [
        migrations.CreateModel(
            name="StockMovement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("opening", "opening"),
                            ("placed", "placed"),
                            ("returned", "returned"),
                            ("taken", "taken again"),
                            ("sent", "sent"),
                            ("corrected", "corrected by staff"),
                        ],
                        max_length=10,
                    ),
                ),
                ("stock_difference", models.IntegerField(default=0)),
                ("held_difference", models.IntegerField(default=0)),
                ("order_id", models.CharField(blank=True, max_length=32)),
                ("line_id", models.BigIntegerField(blank=True, null=True)),
                ("actor_name", models.CharField(blank=True, max_length=80)),
                ("note", models.CharField(blank=True, max_length=400)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="movements", to="shop.product"
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("line_id__isnull", False)),
                        fields=["line_id"],
                        name="stock_movement_by_line",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("held_difference__gte", 0), ("kind", "opening"), ("stock_difference__gte", 0)),
                            models.Q(
                                ("held_difference__gt", 0),
                                ("kind__in", ["placed", "taken"]),
                                (
                                    "stock_difference",
                                    models.expressions.CombinedExpression(
                                        models.F("held_difference"), "*", models.Value(-1)
                                    ),
                                ),
                            ),
                            models.Q(
                                ("held_difference__lt", 0),
                                ("kind", "returned"),
                                (
                                    "stock_difference",
                                    models.expressions.CombinedExpression(
                                        models.F("held_difference"), "*", models.Value(-1)
                                    ),
                                ),
                            ),
                            models.Q(("held_difference__lt", 0), ("kind", "sent"), ("stock_difference", 0)),
                            models.Q(("held_difference", 0), ("kind", "corrected")),
                            _connector="OR",
                        ),
                        name="goods_move_as_their_kind_says",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("held_difference", 0), ("line_id__isnull", False), _connector="OR"),
                        name="goods_are_held_by_a_line",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER stock_movements_are_append_only ON shop_stockmovement;"
            "DROP TRIGGER stock_movements_are_not_truncated ON shop_stockmovement;"
            "DROP FUNCTION stock_movements_are_append_only();",
        ),
    ]
