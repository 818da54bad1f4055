import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# By the beginning of an e-mail or a name, in any case: LIKE 'x%' finds it whatever the database's collation.
BY_PREFIX = """
CREATE INDEX order_by_email_prefix ON orders_order (upper(email) text_pattern_ops);
CREATE INDEX order_by_name_prefix ON orders_order (upper(name) text_pattern_ops);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0006_an_order_is_found_by_its_key"),
        ("shop", "0002_staff_acts_are_append_only"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="orderline",
            name="product",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="order_lines", to="shop.product"
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["status", "-placed_at"], name="order_by_status"),
        ),
        migrations.RunSQL(BY_PREFIX, "DROP INDEX order_by_email_prefix; DROP INDEX order_by_name_prefix;"),
    ]
