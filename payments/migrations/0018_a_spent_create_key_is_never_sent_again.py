"""Stripe knows a payment's create key and our rows do not know the call: so it is kept, for the key would be taken for
a new one a day later."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0017_products_that_were_doubled_are_named")]

    operations = [
        migrations.AddField("payment", "key_spent_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddIndex(
            "payment",
            models.Index(
                fields=["key_spent_at"],
                condition=models.Q(phase="opening", key_spent_at__isnull=False),
                name="payment_to_be_sought",
            ),
        ),
    ]
