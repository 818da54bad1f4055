"""Each payment keeps the account of Stripe's that its intent is created in, and each key that was used its account."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0018_a_spent_create_key_is_never_sent_again")]

    operations = [
        migrations.CreateModel(
            name="KeyAccount",
            fields=[
                ("key_digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("account_id", models.CharField(max_length=40)),
                ("livemode", models.BooleanField()),
                ("seen_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            "payment", "account", models.CharField(blank=True, db_default="", default="", max_length=50)
        ),
        migrations.AddIndex(
            "payment",
            models.Index(
                fields=["account"],
                condition=models.Q(phase__in=["opening", "open", "closing"]),
                name="open_payment_by_account",
            ),
        ),
    ]
