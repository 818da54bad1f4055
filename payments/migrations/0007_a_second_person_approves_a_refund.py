import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0003_an_order_is_found_by_its_email"),
        ("payments", "0006_a_concluded_refund_may_learn_its_id"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="DuplicatesStopped",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("layer", models.PositiveSmallIntegerField()),
                ("day", models.DateField()),
                ("count", models.PositiveIntegerField(default=0)),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("last_key", models.CharField(blank=True, max_length=255)),
            ],
        ),
        migrations.CreateModel(
            name="RefundProposal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount_minor", models.PositiveBigIntegerField()),
                (
                    "currency",
                    models.CharField(
                        choices=[
                            ("GBP", "GBP"),
                            ("EUR", "EUR"),
                            ("USD", "USD"),
                            ("CHF", "CHF"),
                            ("SEK", "SEK"),
                            ("JPY", "JPY"),
                            ("KRW", "KRW"),
                            ("KWD", "KWD"),
                            ("BHD", "BHD"),
                        ],
                        max_length=3,
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("duplicate", "Duplicate"),
                            ("fraudulent", "Fraudulent"),
                            ("requested_by_customer", "Requested By Customer"),
                        ],
                        max_length=24,
                    ),
                ),
                ("note", models.CharField(max_length=400)),
                ("proposed_at", models.DateTimeField(auto_now_add=True)),
                (
                    "decision",
                    models.CharField(
                        blank=True, choices=[("approved", "Approved"), ("refused", "Refused")], max_length=8
                    ),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-proposed_at"],
            },
        ),
        migrations.AlterModelOptions(
            name="break",
            options={
                "ordering": ["-found_at"],
                "permissions": [("resolve_break", "Can take a break on, and resolve it")],
            },
        ),
        migrations.AlterModelOptions(
            name="payment",
            options={
                "ordering": ["-created_at"],
                "permissions": [
                    ("reconcile_payment", "Can ask Stripe now, and end what stays unknown"),
                    ("export_payment", "Can export payments as CSV"),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="webhookevent",
            options={
                "ordering": ["-received_at"],
                "permissions": [("replay_webhookevent", "Can work on a stored webhook event again")],
            },
        ),
        migrations.RemoveIndex(
            model_name="payment",
            name="payment_by_last_four",
        ),
        migrations.AddField(
            model_name="break",
            name="accepted",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="break",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["idempotency_key"], name="attempt_by_key"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["-created_at"], name="payment_by_time"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(
                condition=models.Q(("card_last4", ""), _negated=True),
                fields=["card_last4", "-created_at"],
                name="payment_by_last_four",
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["amount_minor", "-created_at"], name="payment_by_amount"),
        ),
        migrations.AddField(
            model_name="duplicatesstopped",
            name="order",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="duplicates_stopped", to="orders.order"
            ),
        ),
        migrations.AddField(
            model_name="refundproposal",
            name="decided_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="refundproposal",
            name="payment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="refund_proposals", to="payments.payment"
            ),
        ),
        migrations.AddField(
            model_name="refundproposal",
            name="proposed_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddIndex(
            model_name="duplicatesstopped",
            index=models.Index(fields=["day", "layer"], name="duplicates_by_day"),
        ),
        migrations.AddConstraint(
            model_name="duplicatesstopped",
            constraint=models.UniqueConstraint(
                fields=("order", "layer", "day"), name="one_count_per_order_layer_and_day"
            ),
        ),
        migrations.AddConstraint(
            model_name="refundproposal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("decision", "")), fields=("payment",), name="one_open_refund_proposal_per_payment"
            ),
        ),
        migrations.AddConstraint(
            model_name="refundproposal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decision", "approved"), _negated=True),
                    models.Q(
                        ("decided_by__isnull", False), models.Q(("decided_by", models.F("proposed_by")), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="a_second_person_approves_a_refund",
            ),
        ),
    ]
