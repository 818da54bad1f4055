"""The ledger of the goods opens with what is there, and from then on a line and its movements say the same.

Run it while no server of the version before is up: that one moves stock and writes no movement, and the nightly check of
the books would name each product that it touched. Writers of orders wait while the opening is written, which is one
UPDATE and two INSERTs over the orders that are pending or paid.
"""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

# One moment for all three: nobody places or ends an order meanwhile, in the order in which everybody locks.
OPENING = """
LOCK TABLE orders_order, orders_orderline, shop_product IN SHARE ROW EXCLUSIVE MODE;
UPDATE orders_orderline line SET held = line.quantity
    FROM orders_order o WHERE o.id = line.order_id AND o.status IN ('pending', 'paid');
INSERT INTO shop_stockmovement
        (product_id, kind, stock_difference, held_difference, order_id, line_id, actor_name, note)
    SELECT id, 'opening', stock, 0, '', NULL, '', 'the ledger begins' FROM shop_product;
INSERT INTO shop_stockmovement
        (product_id, kind, stock_difference, held_difference, order_id, line_id, actor_name, note)
    SELECT product_id, 'opening', 0, held, order_id, id, '', 'the ledger begins' FROM orders_orderline WHERE held > 0;
SET CONSTRAINTS ALL IMMEDIATE;
"""
FORGOTTEN = """
LOCK TABLE orders_order, orders_orderline, shop_product IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE shop_stockmovement DISABLE TRIGGER stock_movements_are_append_only;
DELETE FROM shop_stockmovement;
ALTER TABLE shop_stockmovement ENABLE TRIGGER stock_movements_are_append_only;
UPDATE orders_orderline SET held = 0 WHERE held > 0;
"""

# Two transactions that move the goods of one line have met at its row before they come here, so whoever comes second
# sees what the first has written. The sum is over the few movements of one line.
MOVES_WITH_ITS_MOVEMENT = """
CREATE FUNCTION goods_move_with_their_movement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    line bigint;
    holds integer;
    moved bigint;
BEGIN
    IF TG_TABLE_NAME = 'orders_orderline' THEN line := NEW.id; ELSE line := NEW.line_id; END IF;
    SELECT held INTO holds FROM orders_orderline WHERE id = line;
    SELECT coalesce(sum(held_difference), 0) INTO moved FROM shop_stockmovement WHERE line_id = line;
    IF coalesce(holds, 0) <> moved THEN
        RAISE EXCEPTION 'order line % holds % and its movements say %', line, coalesce(holds, 0), moved
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'goods_move_with_their_movement';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER goods_move_with_their_movement AFTER INSERT OR UPDATE OF held ON orders_orderline
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION goods_move_with_their_movement();
CREATE CONSTRAINT TRIGGER goods_move_with_their_line AFTER INSERT ON shop_stockmovement
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.line_id IS NOT NULL)
    EXECUTE FUNCTION goods_move_with_their_movement();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0009_a_line_holds_all_or_nothing"),
        ("shop", "0006_stock_moves_are_a_ledger"),
    ]

    operations = [
        ValidateConstraint("orderline", "line_holds_all_or_nothing"),
        migrations.RunSQL(OPENING, FORGOTTEN),
        migrations.RunSQL(
            MOVES_WITH_ITS_MOVEMENT,
            "DROP TRIGGER goods_move_with_their_movement ON orders_orderline;"
            "DROP TRIGGER goods_move_with_their_line ON shop_stockmovement;"
            "DROP FUNCTION goods_move_with_their_movement();",
        ),
    ]
