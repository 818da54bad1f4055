"""A closing that Stripe does not end is asked about by the ladder, not in each round for ever."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0009_what_staff_look_at_is_indexed")]

    operations = [
        migrations.AddField("payment", "looks", models.PositiveIntegerField(default=0)),
        migrations.AddField("payment", "next_look_at", models.DateTimeField(blank=True, null=True)),
    ]
