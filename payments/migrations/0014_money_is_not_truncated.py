"""TRUNCATE fires no trigger of rows: the tables of money get one of their own (SECURITY SE50)."""

from django.db import migrations

TABLES = ["payments_payment", "payments_attempt", "payments_refund", "payments_paymentevent"]


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0013_a_lease_says_who_holds_it"),
        ("shop", "0004_staff_acts_are_not_truncated"),  # makes the function
    ]

    operations = [
        migrations.RunSQL(
            f"CREATE TRIGGER money_is_not_truncated BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION never_truncated();",
            f"DROP TRIGGER money_is_not_truncated ON {table};",
        )
        for table in TABLES
    ]
