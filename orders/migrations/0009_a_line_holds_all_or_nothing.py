"""Whether a line holds its goods becomes a fact in its row. The rows get it in 0010; the constraint is validated there,
so that nobody waits for it here."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("orders", "0008_a_mail_has_one_name")]

    operations = [
        migrations.AddField("orderline", "held", models.PositiveIntegerField(db_default=0, default=0)),
        AddConstraintNotValid(
            "orderline",
            models.CheckConstraint(condition=Q(held=0) | Q(held=F("quantity")), name="line_holds_all_or_nothing"),
        ),
        migrations.AddIndex(
            "orderline", models.Index(fields=["product"], condition=Q(held__gt=0), name="order_line_that_holds")
        ),
    ]
