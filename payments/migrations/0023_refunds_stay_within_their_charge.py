"""What 0021 and 0022 wrote holds from now on, through the ORM and through plain SQL.

The sum of a charge's refunds is kept under the order's lock (refund.py); the trigger keeps it once more, whoever
inserts. It lets in what Stripe's book shows already (`refund_id` is given): that is a fact, whatever it adds up to.
"""

import django.db.models.deletion
from django.db import migrations, models

import payments.models

CAP = """
CREATE FUNCTION refunds_stay_within_their_charge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken bigint;
    given bigint;
BEGIN
    SELECT captured_minor INTO taken FROM payments_charge WHERE id = NEW.charge_id FOR NO KEY UPDATE;
    SELECT COALESCE(SUM(amount_minor), 0) INTO given FROM payments_refund
        WHERE charge_id = NEW.charge_id AND id <> NEW.id AND outcome NOT IN ('failed', 'canceled');
    IF given + NEW.amount_minor > taken THEN
        RAISE EXCEPTION 'refunds of charge % would be % of %', NEW.charge_id, given + NEW.amount_minor, taken
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refunds_stay_within_their_charge';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refunds_stay_within_their_charge BEFORE INSERT ON payments_refund
    FOR EACH ROW WHEN (NEW.refund_id IS NULL) EXECUTE FUNCTION refunds_stay_within_their_charge();
"""

KEPT = """
CREATE FUNCTION charges_are_never_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'charges are never deleted: %', OLD.id USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER charges_are_never_deleted BEFORE DELETE ON payments_charge
    FOR EACH ROW EXECUTE FUNCTION charges_are_never_deleted();
"""

# A payment that has succeeded may be credited with another charge, of the same order and of equal amount, when its own
# has gone back whole while that one stands.
WAS = "'captured_minor', 'intent_id', 'charge_id',"
IS = "'captured_minor', 'intent_id',"
BEFORE_FROZEN = "    IF is_final THEN"
CREDIT = """    IF TG_TABLE_NAME = 'payments_payment' AND is_final AND was->>'charge_id' IS DISTINCT FROM now_is->>'charge_id'
        AND NOT EXISTS (
            SELECT FROM payments_charge AS other
            WHERE other.id = now_is->>'charge_id' AND other.order_id = now_is->>'order_id'
                AND other.captured_minor::text = now_is->>'captured_minor' AND other.currency = now_is->>'currency'
        ) THEN
        RAISE EXCEPTION 'payments_payment.charge_id of % is final', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
"""


def _rewrite(old: str, new: str) -> str:
    """Replace a piece of the trigger's function, which 0002 made."""
    quoted_old, quoted_new = (text.replace("'", "''") for text in (old, new))
    return f"""
DO $do$
DECLARE
    was text := pg_get_functiondef('final_money_is_frozen'::regproc);
    becomes text := replace(was, '{quoted_old}', '{quoted_new}');
BEGIN
    ASSERT was <> becomes, 'final_money_is_frozen is not as it was left';
    EXECUTE becomes;
END $do$;
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0022_keys_and_charges_are_written_down")]

    operations = [
        migrations.AlterField(
            "refund",
            "charge",
            models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="payments.charge"
            ),
        ),
        migrations.AlterField(
            "refundproposal",
            "refund_key",
            models.CharField(default=payments.models.new_proposal_key, editable=False, max_length=64, unique=True),
        ),
        migrations.AddConstraint(
            "attempt",
            models.UniqueConstraint(
                condition=models.Q(("confirm_key", ""), _negated=True),
                fields=("confirm_key",),
                name="one_attempt_per_confirm_key",
            ),
        ),
        migrations.AddConstraint(
            "refund",
            models.UniqueConstraint(
                condition=models.Q(("gateway_key", ""), _negated=True),
                fields=("gateway_key",),
                name="one_refund_per_gateway_key",
            ),
        ),
        migrations.RunSQL(
            CAP,
            "DROP TRIGGER refunds_stay_within_their_charge ON payments_refund;"
            "DROP FUNCTION refunds_stay_within_their_charge();",
        ),
        migrations.RunSQL(
            _rewrite(WAS, IS) + _rewrite(BEFORE_FROZEN, CREDIT + BEFORE_FROZEN),
            _rewrite(CREDIT + BEFORE_FROZEN, BEFORE_FROZEN) + _rewrite(IS, WAS),
        ),
        migrations.RunSQL(
            KEPT,
            "DROP TRIGGER charges_are_never_deleted ON payments_charge; DROP FUNCTION charges_are_never_deleted();",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER money_is_not_truncated BEFORE TRUNCATE ON payments_charge"
            " FOR EACH STATEMENT EXECUTE FUNCTION never_truncated();",
            "DROP TRIGGER money_is_not_truncated ON payments_charge;",
        ),
    ]
