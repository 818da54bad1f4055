"""Servers whose own clocks differ place and expire orders by one clock."""

from django.db import migrations, models

import shop.database_clock


class Migration(migrations.Migration):
    dependencies = [("orders", "0012_a_mail_in_doubt_is_sent_once_more")]

    operations = [
        migrations.AlterField(
            "order",
            "placed_at",
            models.DateTimeField(db_default=shop.database_clock.DatabaseClock(), editable=False),
        ),
    ]
