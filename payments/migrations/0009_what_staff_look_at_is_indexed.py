from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0004_mails_in_doubt_are_found"),
        ("payments", "0008_groups_for_daily_work"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="heartbeat",
            name="has_beaten",
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["pressed_at"], name="attempt_by_time"),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("phase", "finished"), _negated=True),
                fields=["claimed_at"],
                name="undecided_attempt_by_age",
            ),
        ),
        migrations.AddIndex(
            model_name="break",
            index=models.Index(
                condition=models.Q(("resolved_at__isnull", True)), fields=["found_at"], name="open_break_by_age"
            ),
        ),
        migrations.AddIndex(
            model_name="paymentevent",
            index=models.Index(
                condition=models.Q(("kind", "settled"), ("to_state", "unknown")),
                fields=["at"],
                name="event_became_unknown",
            ),
        ),
        migrations.AddIndex(
            model_name="refund",
            index=models.Index(
                condition=models.Q(("outcome__in", ["failed", "canceled"])),
                fields=["finished_at"],
                name="refund_not_given_by_time",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("state", "stored")), fields=["received_at"], name="webhook_event_by_age"
            ),
        ),
    ]
