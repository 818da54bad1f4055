"""TRUNCATE fires no trigger of rows: it gets one of its own (SECURITY SE50)."""

from django.db import migrations

NOT_TRUNCATED = """
CREATE FUNCTION never_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: no TRUNCATE', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER staff_acts_are_not_truncated BEFORE TRUNCATE ON shop_staffact
    FOR EACH STATEMENT EXECUTE FUNCTION never_truncated();
"""


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_recovery_codes_are_kept_as_digests")]

    operations = [
        migrations.RunSQL(
            NOT_TRUNCATED,
            "DROP TRIGGER staff_acts_are_not_truncated ON shop_staffact; DROP FUNCTION never_truncated();",
        )
    ]
