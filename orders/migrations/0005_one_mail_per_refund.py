"""Each refund of an order is told of once, not only the first (docs/adr/0010)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0004_mails_in_doubt_are_found")]

    operations = [
        migrations.AddField("mail", "subject", models.CharField(blank=True, max_length=32, default=""), False),
        migrations.RemoveConstraint("mail", "one_mail_per_order_and_kind"),
        migrations.AddConstraint(
            "mail",
            models.UniqueConstraint(fields=["order", "kind", "subject"], name="one_mail_per_order_kind_and_subject"),
        ),
    ]
