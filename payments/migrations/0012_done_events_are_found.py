"""Events whose retention is over are found without reading the others."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("payments", "0011_staff_find_money_by_what_names_it")]

    operations = [
        migrations.AddIndex(
            "webhookevent",
            models.Index(fields=["done_at"], condition=~Q(state="stored"), name="webhook_event_done"),
        ),
    ]
