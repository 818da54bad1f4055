from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0004_staff_acts_are_not_truncated"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="staffact",
            index=models.Index(fields=["subject", "-id"], name="staff_act_by_subject"),
        ),
    ]
