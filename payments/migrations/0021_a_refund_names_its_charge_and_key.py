"""The columns; 0022 fills them, and 0023 makes them hold."""

import django.db.models.deletion
from django.db import migrations, models

import payments.models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0008_a_mail_has_one_name"),
        ("payments", "0019_a_payment_keeps_its_account"),
    ]

    operations = [
        migrations.CreateModel(
            name="Charge",
            fields=[
                ("id", models.CharField(max_length=80, primary_key=True, serialize=False)),
                ("gateway", models.CharField(default="stripe", max_length=20)),
                ("intent_id", models.CharField(blank=True, max_length=80)),
                ("captured_minor", models.PositiveBigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("card_brand", models.CharField(blank=True, max_length=20)),
                ("card_last4", models.CharField(blank=True, max_length=4)),
                ("noticed_at", models.DateTimeField(db_default=payments.models.DatabaseClock())),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="charges", to="orders.order"
                    ),
                ),
            ],
            options={
                "ordering": ["noticed_at"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("captured_minor__gt", 0)), name="charge_amount_is_positive"
                    )
                ],
            },
        ),
        migrations.AddField(
            "payment", "cancel_key", models.CharField(max_length=255, default=""), preserve_default=False
        ),
        migrations.AddField(
            "attempt", "confirm_key", models.CharField(blank=True, max_length=255, default=""), preserve_default=False
        ),
        migrations.AddField(
            "refund",
            "charge",
            models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="payments.charge"
            ),
        ),
        migrations.AddField(
            "refund", "gateway_key", models.CharField(blank=True, max_length=255, default=""), preserve_default=False
        ),
        migrations.AddField("refund", "params", models.JSONField(blank=True, default=dict)),
        migrations.AddField("refund", "stored_errors", models.PositiveIntegerField(default=0)),
        migrations.AddField("refund", "sent_at", models.DateTimeField(blank=True, null=True)),
        migrations.AlterField(
            "refund", "id", models.CharField(editable=False, max_length=32, primary_key=True, serialize=False)
        ),
        migrations.AddField(
            "break",
            "charge",
            models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="breaks",
                to="payments.charge",
            ),
        ),
        migrations.AddField(
            "refundproposal", "refund_key", models.CharField(editable=False, max_length=64, null=True, unique=True)
        ),
    ]
