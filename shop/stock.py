"""Stock as staff correct it: by a difference, with a reason, never by a set, for a shopper may be buying meanwhile."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery, Sum

from shop.acts import Act, Snapshot, StaleForm, witnessed
from shop.models import Product, StaffAct, StockMovement

CORRECT = "correct stock"


@dataclass
class BelowZero(Exception):
    """The difference would take more than there is. Nothing was done."""

    stock: int


def correct_stock(product_id: int, difference: int, act: Act, last_seen: int | None) -> None:
    """stock + difference, its movement and its audit row, in one transaction. Sales move the stock meanwhile, and
    nothing of theirs is lost. But another correction since `last_seen` may be of the very same goods: then nothing is
    done.

    Raises:
        BelowZero: with what is there. DoneAlready, StaleForm: of the act.
    """
    with transaction.atomic(durable=True):
        product = Product.objects.select_for_update(no_key=True).get(pk=product_id)
        with witnessed(act):
            if last_correction_id(product) != last_seen:
                raise StaleForm(act.subject)
            if not Product.correct_stock(product_id, difference):
                raise BelowZero(product.stock)
            StockMovement.objects.create(
                product=product,
                kind=StockMovement.Kind.CORRECTED,
                stock_difference=difference,
                actor_name=act.who.name,
                note=act.note[:400],
            )


def subject_of(product: Product) -> str:
    """How the audit names it: the sku never changes."""
    return f"product {product.sku}"


def stock_snapshot(product_id: int) -> Snapshot:
    product = Product.objects.get(pk=product_id)
    return {"stock": product.stock, "held_for_orders": held_for_orders(product)}


# Orders know the shop and not the other way round, so what they hold is read by the reverse relation.


def held_for_orders(product: Product) -> int:
    """How many are off the stock and still in the house: for orders that wait for their money or their parcel."""
    held = product.order_lines.filter(held__gt=0).aggregate(total=Sum("held"))["total"]
    return int(held or 0)


def with_held(products: QuerySet[Product]) -> QuerySet[Product]:
    """Each with `held`, for a list: None where nothing is."""
    of_one = Product.objects.filter(pk=OuterRef("pk"), order_lines__held__gt=0).order_by()
    held = of_one.values("pk").annotate(total=Sum("order_lines__held")).values("total")
    return products.annotate(held=Subquery(held))


def last_correction(product: Product) -> StaffAct | None:
    return StaffAct.objects.filter(subject=subject_of(product), act=CORRECT).order_by("-id").first()


def last_correction_id(product: Product) -> int | None:
    last = last_correction(product)
    return last.pk if last else None
