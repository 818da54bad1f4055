"""The stock of a product is checked as money is. And those products are named whose stock may have been doubled before:
an order's goods went back on sale with its refund, the refund failed late, the goods were sold meanwhile, and refunding
the order again put them on sale a second time. The rows do not say whether it came to that, so a person counts."""

from django.db import migrations, models
from django.db.models import Q

KINDS = [
    ("missing_local", "Stripe has money that our rows do not explain"),
    ("missing_gateway", "A payment of ours is not in Stripe's book"),
    ("amount", "Stripe has another amount than we have"),
    ("status", "Stripe and our rows disagree about a payment"),
    ("double_charge", "An order was charged twice"),
    ("orphan_refund", "Money went back that our rows do not know"),
    ("stock", "The stock of a product does not add up"),
]
BY = "migration"


def name_them(apps, schema_editor):
    suspects: dict[str, list[str]] = {}
    for order in suspect_orders(apps):
        for line in order.lines.all():
            suspects.setdefault(line.sku, []).append(f"{order.number}, {line.quantity}")
    for sku, orders in sorted(suspects.items()):
        said = f"{sku}: its stock may be too high. Count the shelf. Refunds failed late of: {'; '.join(orders)}"
        print(f"\n    {said}", end="")  # noqa: T201 - who migrates reads it
        open_break(apps, sku, orders)


def suspect_orders(apps):
    """Paid or refunded, never fulfilled, with a refund that failed after it had succeeded, and with refunds that came to
    all of the money if those that failed are counted: so the goods had gone back on sale before one failed."""
    failed_late = apps.get_model("payments", "PaymentEvent").objects.filter(
        kind="refund", from_state="succeeded", to_state__in=["failed", "canceled"]
    )
    orders = apps.get_model("orders", "Order").objects.filter(
        pk__in=failed_late.values("order"), status__in=["paid", "refunded"], fulfilled_at=None
    )
    for order in orders.order_by("placed_at").iterator(500):
        if any(once_whole(payment) for payment in order.payments.filter(captured_minor__gt=0)):
            yield order


def once_whole(payment):
    """A refund that Stripe never had has no id, and never counted."""
    given = Q(outcome="succeeded") | Q(outcome__in=["failed", "canceled"], refund_id__isnull=False)
    amounts = payment.refunds.filter(given).values_list("amount_minor", flat=True)
    return sum(amounts) >= payment.captured_minor


def open_break(apps, sku, orders):
    proposal = (
        f"{sku}: its stock may be too high since before its movements were written down. Count the shelf: there should be"
        " what is free to be bought and what is held for orders. If not, correct the stock by the difference. Then"
        " resolve this break."
    )
    evidence = {"found_by": BY, "proposal": proposal, "orders": orders}
    breaks = apps.get_model("payments", "Break").objects
    breaks.bulk_create([breaks.model(kind="stock", subject=sku, evidence=evidence)], ignore_conflicts=True)


def take_back(apps, schema_editor):
    """The version before does not know this kind."""
    apps.get_model("payments", "Break").objects.filter(kind="stock").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0010_goods_move_with_their_movement"),
        ("payments", "0016_a_break_has_one_name"),
    ]

    operations = [
        migrations.AlterField("break", "kind", models.CharField(choices=KINDS, max_length=16)),
        migrations.RunPython(name_them, take_back),
    ]
