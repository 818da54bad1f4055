"""What the shop sells, what a shopper has picked, and what staff have done."""

import datetime
import hashlib
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from shop.ids import new_id
from shop.money import CURRENCY_CHOICES, money_text


class Product(models.Model):
    """One thing for sale. `price_minor` is the price of one in minor units, tax included."""

    sku = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=120, unique=True)
    summary = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    price_minor = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, choices=CURRENCY_CHOICES, default="GBP")
    stock = models.IntegerField(default=0)
    on_sale = models.BooleanField(default=True)
    position = models.PositiveIntegerField(default=0)

    MOST_STOCK = 1_000_000_000  # far from what the column holds: what unpaid orders give back always finds room

    # Not columns: who of staff adds the product, and why, for the movement that opens its stock.
    added_by, added_why = "", ""

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(stock__gte=0), name="stock_is_never_oversold"),
            models.CheckConstraint(condition=Q(price_minor__gt=0), name="price_is_positive"),
        ]
        permissions = [("correct_stock", "Can correct the stock by a difference")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.slug])

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A new product opens its ledger with the stock that it comes with, in one transaction."""
        is_new = self._state.adding
        with transaction.atomic(savepoint=False):
            super().save(*args, **kwargs)
            if is_new:
                StockMovement.objects.create(
                    product=self,
                    kind=StockMovement.Kind.OPENING,
                    stock_difference=self.stock,
                    actor_name=self.added_by[:80],
                    note=self.added_why[:400],
                )

    @property
    def price_text(self) -> str:
        return money_text(self.price_minor, self.currency)

    @classmethod
    def hold_stock(cls, product_id: int, quantity: int) -> bool:
        """Take `quantity` off the stock if that much is there; whether it was. One conditional UPDATE.

        The caller writes the movement, here and below."""
        return cls.objects.filter(pk=product_id, stock__gte=quantity).update(stock=F("stock") - quantity) == 1

    @classmethod
    def correct_stock(cls, product_id: int, difference: int) -> bool:
        """Staff's correction (shop/stock.py), unless it would be below 0 or above the most. One conditional UPDATE."""
        there = cls.objects.filter(pk=product_id, stock__gte=-difference, stock__lte=cls.MOST_STOCK - difference)
        return there.update(stock=F("stock") + difference) == 1

    @classmethod
    def return_stock(cls, product_id: int, quantity: int) -> None:
        """Put a hold back. The caller makes sure that it happens once: of a line that held it (orders/goods.py)."""
        cls.objects.filter(pk=product_id).update(stock=F("stock") + quantity)


class StockMovement(models.Model):
    """One change of a product's stock, or of what a line of an order holds of it, written in the transaction that made
    it: the ledger of the goods.

    Append-only: a trigger refuses UPDATE and DELETE, and another TRUNCATE. What has moved wrongly is corrected by one
    more movement. `order_id` and `line_id` are no foreign keys: orders know the shop, not the other way round.

    `stock_difference` is how many more pieces (fewer, below 0) are free to be bought, `held_difference` how many more
    the line holds. Goods only change places but for the first and the last: what has come in is what is in stock, held
    or gone.
    """

    class Kind(models.TextChoices):
        OPENING = "opening", "opening"  # what was there when the product was added, or the ledger begun
        PLACED = "placed", "placed"  # an order was placed, and its line holds them
        RETURNED = "returned", "returned"  # the order ended with its goods still here
        TAKEN = "taken", "taken again"  # an order that had returned them holds them again
        SENT = "sent", "sent"  # they left the house
        CORRECTED = "corrected", "corrected by staff"  # a delivery, a count, something broken: the note says

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements")
    kind = models.CharField(max_length=10, choices=Kind)
    stock_difference = models.IntegerField(default=0)
    held_difference = models.IntegerField(default=0)
    order_id = models.CharField(max_length=32, blank=True)
    line_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=80, blank=True)
    note = models.CharField(max_length=400, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="opening", stock_difference__gte=0, held_difference__gte=0)
                | Q(kind__in=["placed", "taken"], held_difference__gt=0, stock_difference=-F("held_difference"))
                | Q(kind="returned", held_difference__lt=0, stock_difference=-F("held_difference"))
                | Q(kind="sent", held_difference__lt=0, stock_difference=0)
                | Q(kind="corrected", held_difference=0),
                name="goods_move_as_their_kind_says",
            ),
            models.CheckConstraint(
                condition=Q(held_difference=0) | Q(line_id__isnull=False), name="goods_are_held_by_a_line"
            ),
        ]
        indexes = [
            models.Index(fields=["line_id"], condition=Q(line_id__isnull=False), name="stock_movement_by_line"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.stock_difference:+d} in stock, {self.held_difference:+d} held"


class Cart(models.Model):
    """A shopper's basket: a row with a random id that the session holds, and that survives log-in.

    `generation` counts purchases made from it: it is part of `version`, so that the same goods can be bought again
    from an emptied cart, while two tabs that place the same version get one order.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="carts"
    )
    # Set at log-in on the user's older cart: its goods are in that one now, and so is what an order of it bought.
    merged_into = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    generation = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user"], condition=Q(user__isnull=False), name="one_cart_per_user"),
        ]

    def __str__(self) -> str:
        return f"cart of {self.user}" if self.user_id else "guest's cart"

    @property
    def read_at(self) -> datetime.datetime:
        """When its row was locked, by the database's clock; only on rows from shop.cart.locked_cart."""
        return getattr(self, "read_at_now")  # type: ignore[no-any-return]  # noqa: B009 - an annotation

    def lines(self) -> "list[CartItem]":
        """What can be bought of the cart: items with their products, in product-id order, as stock is locked.

        A product that is no longer on sale drops out, which changes the cart's version.
        """
        return list(self.items.filter(product__on_sale=True).select_related("product").order_by("product_id"))


def cart_version(cart: Cart, lines: "list[CartItem]") -> str:
    """Digest of what the shopper sees: goods, quantities *and prices*. Placing names it (DESIGN section 4)."""
    parts = [str(cart.generation)]
    parts += [f"{i.product.sku}:{i.quantity}:{i.product.price_minor}:{i.product.currency}" for i in lines]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class CartItem(models.Model):
    """One product in a cart."""

    cart = models.ForeignKey(Cart, on_delete=models.CASCADE, related_name="items")
    product = models.ForeignKey(Product, on_delete=models.CASCADE, related_name="+")
    quantity = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cart", "product"], name="one_cart_item_per_product"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="cart_quantity_is_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"

    @property
    def total_minor(self) -> int:
        return self.quantity * self.product.price_minor


class StaffAct(models.Model):
    """One act of a member of staff, written in the transaction that did it (shop/acts.py).

    Append-only: a trigger refuses UPDATE and DELETE, through the ORM and through plain SQL (SECURITY SE50).

    `order_id` is no foreign key: orders know the shop, not the other way round.
    """

    at = models.DateTimeField(db_default=Now())
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    actor_name = models.CharField(max_length=80)
    act = models.CharField(max_length=32)
    subject = models.CharField(max_length=80)
    order_id = models.CharField(max_length=32, blank=True)
    form_key = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001 - NULLs do not collide
    address = models.GenericIPAddressField(null=True, blank=True)
    agent = models.CharField(max_length=200, blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    note = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["form_key"], name="one_act_per_form")]
        indexes = [
            models.Index(fields=["order_id", "at"], condition=~Q(order_id=""), name="staff_act_by_order"),
            models.Index(fields=["actor", "-at"], name="staff_act_by_actor"),
            models.Index(fields=["subject", "-id"], name="staff_act_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.act} {self.subject}"


class RecoveryCode(models.Model):
    """For a member of staff whose phone is lost: gets past the second factor once. Only its digest is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["digest"], name="one_row_per_recovery_code")]

    def __str__(self) -> str:
        return f"recovery code of {self.user}"
