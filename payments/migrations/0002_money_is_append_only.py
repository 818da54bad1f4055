"""Two triggers that hold through the ORM, the admin and plain SQL alike (DESIGN section 4, SECURITY SE50)."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION payment_events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payment events are append-only: no % of event %', TG_OP, OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER payment_events_are_append_only BEFORE UPDATE OR DELETE ON payments_paymentevent
    FOR EACH ROW EXECUTE FUNCTION payment_events_are_append_only();
"""

# Of an attempt or refund that has ended, the outcome, the amounts and the answer stay; the answer may be cleared when
# its retention is over. Of a payment that has ended, phase, intent and captured amount stay; refunds may still grow.
FROZEN = """
CREATE FUNCTION final_money_is_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := to_jsonb(OLD);
    now_is jsonb;
    frozen text[];
    is_final boolean;
    one text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION '% rows are never deleted', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    now_is := to_jsonb(NEW);
    IF TG_TABLE_NAME = 'payments_payment' THEN
        is_final := was->>'phase' IN ('succeeded', 'canceled', 'abandoned');
        frozen := ARRAY['order_id', 'n', 'phase', 'amount_minor', 'currency', 'captured_minor', 'intent_id', 'charge_id',
                        'idempotency_key', 'create_params'];
    ELSIF TG_TABLE_NAME = 'payments_attempt' THEN
        is_final := was->>'outcome' IN ('succeeded', 'declined', 'failed', 'canceled');
        frozen := ARRAY['order_id', 'payment_id', 'number', 'phase', 'outcome', 'confirm_params', 'charge_id'];
        IF is_final AND NEW.answer_body IS NOT NULL AND NEW.answer_body IS DISTINCT FROM OLD.answer_body THEN
            RAISE EXCEPTION 'the stored answer of attempt % is final', OLD.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSE
        is_final := was->>'outcome' IN ('succeeded', 'failed', 'canceled');
        frozen := ARRAY['payment_id', 'amount_minor', 'currency', 'reason', 'refund_id'];
    END IF;
    IF is_final THEN
        FOREACH one IN ARRAY frozen LOOP
            IF was->one IS DISTINCT FROM now_is->one THEN
                RAISE EXCEPTION '%.% of % is final', TG_TABLE_NAME, one, OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END LOOP;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER final_payment_is_frozen BEFORE UPDATE OR DELETE ON payments_payment
    FOR EACH ROW EXECUTE FUNCTION final_money_is_frozen();
CREATE TRIGGER final_attempt_is_frozen BEFORE UPDATE OR DELETE ON payments_attempt
    FOR EACH ROW EXECUTE FUNCTION final_money_is_frozen();
CREATE TRIGGER final_refund_is_frozen BEFORE UPDATE OR DELETE ON payments_refund
    FOR EACH ROW EXECUTE FUNCTION final_money_is_frozen();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_one_live_attempt_per_order")]

    operations = [
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER payment_events_are_append_only ON payments_paymentevent;"
            "DROP FUNCTION payment_events_are_append_only();",
        ),
        migrations.RunSQL(
            FROZEN,
            "DROP TRIGGER final_payment_is_frozen ON payments_payment;"
            "DROP TRIGGER final_attempt_is_frozen ON payments_attempt;"
            "DROP TRIGGER final_refund_is_frozen ON payments_refund;"
            "DROP FUNCTION final_money_is_frozen();",
        ),
    ]
