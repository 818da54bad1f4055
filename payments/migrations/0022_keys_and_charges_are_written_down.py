"""Fill what 0021 added, in statements over whole tables: the very keys that the code until now computed when it sent.

A charge that no row names is derived from what is there: of a payment from its row, of a second charge from its break.
Of another amount than the order's, whose charge only a break's evidence or the press names, from either of them.
"""

from typing import Any

from django.conf import settings
from django.db import migrations

# A payment's own charge; then money that no payment counts: first what a break prepared to give back.
CHARGES = """
INSERT INTO payments_charge (id, gateway, intent_id, captured_minor, currency, card_brand, card_last4, order_id)
SELECT charge_id, gateway, COALESCE(intent_id, ''), captured_minor, currency, card_brand, card_last4, order_id
FROM payments_payment WHERE charge_id IS NOT NULL AND captured_minor > 0
ON CONFLICT DO NOTHING;

INSERT INTO payments_charge (id, gateway, intent_id, captured_minor, currency, card_brand, card_last4, order_id)
SELECT DISTINCT ON (charge) charge, 'stripe', intent, amount_minor, currency, '', last4, order_id FROM (
    SELECT evidence #>> '{prepared_refund,params,charge}' AS charge, COALESCE(evidence ->> 'intent', '') AS intent,
        amount_minor, currency, COALESCE(evidence ->> 'last4', '') AS last4, order_id, found_at
    FROM payments_break
    WHERE evidence #>> '{prepared_refund,params,charge}' IS NOT NULL AND order_id IS NOT NULL AND amount_minor > 0
) AS prepared ORDER BY charge, found_at DESC
ON CONFLICT DO NOTHING;

UPDATE payments_break SET charge_id = payments_charge.id FROM payments_charge
WHERE payments_charge.id = payments_break.evidence #>> '{prepared_refund,params,charge}'
    AND payments_charge.order_id = payments_break.order_id;
"""

# Refunds of a payment that counts none of its money: of its press's charge, else of one that only its intent names.
STRAY_CHARGES = """
INSERT INTO payments_charge (id, gateway, intent_id, captured_minor, currency, card_brand, card_last4, order_id)
SELECT COALESCE(
        (SELECT attempt.charge_id FROM payments_attempt AS attempt WHERE attempt.payment_id = payment.id
            AND attempt.reason = 'other-amount' AND attempt.charge_id IS NOT NULL LIMIT 1),
        'of:' || COALESCE(payment.intent_id, payment.id)),
    payment.gateway, COALESCE(payment.intent_id, ''), SUM(refund.amount_minor), MAX(refund.currency), '', '',
    payment.order_id
FROM payments_payment AS payment JOIN payments_refund AS refund ON refund.payment_id = payment.id
WHERE (payment.charge_id IS NULL OR payment.captured_minor = 0) AND NOT EXISTS (
    SELECT FROM payments_charge AS known WHERE known.intent_id = payment.intent_id AND known.intent_id <> '')
GROUP BY payment.id
ON CONFLICT DO NOTHING;
"""

REFUNDS = """
UPDATE payments_refund SET charge_id = COALESCE(
    (SELECT known.id FROM payments_charge AS known WHERE known.id = payment.charge_id),
    (SELECT known.id FROM payments_charge AS known
        WHERE known.order_id = payment.order_id
            AND known.intent_id = COALESCE(payment.intent_id, '') LIMIT 1))
FROM payments_payment AS payment WHERE payment.id = payments_refund.payment_id;

UPDATE payments_refund SET
    gateway_key = %(env)s || ':refund:' || payments_refund.id,
    sent_at = payments_refund.created_at,
    params = jsonb_build_object(
        'charge', payments_refund.charge_id, 'amount', payments_refund.amount_minor, 'reason', payments_refund.reason,
        'metadata', jsonb_build_object('order', payment.order_id, 'payment', payment.id,
            'refund', payments_refund.id, 'env', %(env)s::text))
FROM payments_payment AS payment
WHERE payment.id = payments_refund.payment_id AND payments_refund.idempotency_key NOT LIKE 'gateway:%%';
"""

KEYS = """
UPDATE payments_payment SET cancel_key = %(env)s || ':cancel:' || id || ':' || cancels;
UPDATE payments_attempt SET confirm_key = %(env)s || ':confirm:' || id WHERE origin = 'shopper';
UPDATE payments_refundproposal SET refund_key = 'proposal:' || id;
"""


def fill(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(CHARGES)
        cursor.execute(STRAY_CHARGES)
        cursor.execute(REFUNDS, {"env": settings.PAYMENT_ENV})
        cursor.execute(KEYS, {"env": settings.PAYMENT_ENV})
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):
    dependencies = [("payments", "0021_a_refund_names_its_charge_and_key")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
