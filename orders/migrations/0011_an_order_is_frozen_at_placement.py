"""An order's total and currency, and what its lines count and cost, are what the shopper agreed to: they never change,
through the ORM, the admin or plain SQL. A payment asks for that total. Other columns may change."""

from django.db import migrations

FROZEN = """
CREATE FUNCTION order_is_frozen_at_placement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what an order counts and costs is final: no change in row % of %', OLD.id, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER order_total_is_frozen BEFORE UPDATE OF total_minor, currency ON orders_order
    FOR EACH ROW
    WHEN ((OLD.total_minor, OLD.currency) IS DISTINCT FROM (NEW.total_minor, NEW.currency))
    EXECUTE FUNCTION order_is_frozen_at_placement();
CREATE TRIGGER order_line_is_frozen BEFORE UPDATE OF quantity, price_minor, total_minor ON orders_orderline
    FOR EACH ROW
    WHEN ((OLD.quantity, OLD.price_minor, OLD.total_minor)
        IS DISTINCT FROM (NEW.quantity, NEW.price_minor, NEW.total_minor))
    EXECUTE FUNCTION order_is_frozen_at_placement();
"""


class Migration(migrations.Migration):
    dependencies = [("orders", "0010_goods_move_with_their_movement")]

    operations = [
        migrations.RunSQL(
            FROZEN,
            "DROP TRIGGER order_total_is_frozen ON orders_order;"
            "DROP TRIGGER order_line_is_frozen ON orders_orderline;"
            "DROP FUNCTION order_is_frozen_at_placement();",
        ),
    ]
