import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0002_a_link_is_known_only_by_its_hash"),
        ("shop", "0002_staff_acts_are_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="mail",
            options={"permissions": [("send_mail_again", "Can send a mail of an order again")]},
        ),
        migrations.AlterModelOptions(
            name="order",
            options={
                "ordering": ["-placed_at"],
                "permissions": [
                    ("cancel_order", "Can cancel an order that is not paid"),
                    ("fulfil_order", "Can mark a paid order as fulfilled"),
                    ("see_personal_data", "Can see shoppers' names, e-mails and addresses"),
                ],
            },
        ),
        migrations.RemoveIndex(
            model_name="order",
            name="order_by_email",
        ),
        migrations.AddField(
            model_name="order",
            name="fulfilled_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                django.db.models.functions.text.Upper("email"),
                models.OrderBy(models.F("placed_at"), descending=True),
                name="order_by_email_any_case",
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["-placed_at"], name="order_by_time"),
        ),
    ]
