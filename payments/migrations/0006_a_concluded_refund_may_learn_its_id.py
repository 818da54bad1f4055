"""A refund that was concluded to have failed, because Stripe's list did not show it, may still learn Stripe's id."""

from django.db import migrations

WAS = "frozen := ARRAY['payment_id', 'amount_minor', 'currency', 'reason', 'refund_id'];"
IS = (
    "frozen := ARRAY['payment_id', 'amount_minor', 'currency', 'reason'];"
    " IF was->>'refund_id' IS NOT NULL THEN frozen := frozen || 'refund_id'::text; END IF;"
)


def _rewrite(old: str, new: str) -> str:
    """Replace one line of the trigger's function, which 0002 made."""
    quoted_old, quoted_new = (text.replace("'", "''") for text in (old, new))
    return f"""
DO $do$
BEGIN
    EXECUTE replace(pg_get_functiondef('final_money_is_frozen'::regproc), '{quoted_old}', '{quoted_new}');
END $do$;
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0005_one_row_per_dispute")]

    operations = [migrations.RunSQL(_rewrite(WAS, IS), _rewrite(IS, WAS))]
