"""Who holds a lease, so that the story can say whose lease was taken over."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0012_done_events_are_found"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="held_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=10),
        ),
        migrations.AddField(
            model_name="payment",
            name="held_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=10),
        ),
        migrations.AddField(
            model_name="refund",
            name="held_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=10),
        ),
    ]
