from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0003_an_order_is_found_by_its_email"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="mail",
            index=models.Index(condition=models.Q(("state", "sending")), fields=["sending_at"], name="mail_in_doubt"),
        ),
    ]
