from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

# Those that were left in doubt under the promise that nobody sends them again: staff decide, as they did until now.
LEFT_IN_DOUBT = """
UPDATE orders_mail SET state = 'stuck', doubts = 1
WHERE state = 'sending' AND sending_at < now() - interval '1 hour'
"""
# To code that knows no `stuck`: in doubt as it was, or due.
NOT_STUCK = """
UPDATE orders_mail SET state = CASE WHEN sending_at IS NULL THEN 'due' ELSE 'sending' END WHERE state = 'stuck'
"""


class Migration(migrations.Migration):
    atomic = False  # for the index

    dependencies = [("orders", "0011_an_order_is_frozen_at_placement")]

    operations = [
        migrations.AddField(
            model_name="mail",
            name="doubts",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="mail",
            name="state",
            field=models.CharField(
                choices=[
                    ("due", "Due"),
                    ("sending", "Sending"),
                    ("sent", "Sent"),
                    ("dropped", "Dropped"),
                    ("stuck", "Stuck"),
                ],
                default="due",
                max_length=8,
            ),
        ),
        AddIndexConcurrently(
            model_name="mail",
            index=models.Index(condition=models.Q(("state", "stuck")), fields=["due_at"], name="mail_stuck"),
        ),
        migrations.RunSQL(LEFT_IN_DOUBT, NOT_STUCK),
    ]
