"""The shopper's cart: which one a request means, how it changes, how two become one, and what leaves it when paid.

A user's cart is found by the user, a guest's by the id in the session; no request can name a cart. Every change locks
the cart's row first, and so does placing an order, so an order never sees half a change.
"""

from collections.abc import Mapping, Sequence

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Case, F, QuerySet, Sum, When
from django.http import HttpRequest

from shop.database_clock import DatabaseClock
from shop.models import Cart, CartItem, Product
from shop.money import LARGEST_MINOR, money_text

LINE_MOST = 99  # of one product
LINES_MOST = 50  # different products
EMPTY_CART_CURRENCY = "GBP"
_SESSION_CART = "cart"


class CartRefused(Exception):
    """The cart cannot be changed like this, and is as it was. The text is for the shopper."""


# --- Which cart -----------------------------------------------------------------------------------------------------


def current_cart(request: HttpRequest) -> Cart | None:
    """The request's cart, if there is one. Reads only: no row and no session comes of looking."""
    return _visible(request).first() if _may_have_cart(request) else None


def cart_for_change(request: HttpRequest) -> Cart:
    """The request's cart, made now if there is none."""
    if request.user.is_authenticated:
        return current_cart(request) or _new_cart_of(request.user.pk)
    if cart := current_cart(request):
        return cart
    cart = Cart.objects.create()
    request.session[_SESSION_CART] = cart.pk
    return cart


def item_count(request: HttpRequest) -> int:
    """How many things are in the cart: one query, and none for a session without a cart."""
    if not _may_have_cart(request):
        return 0
    carts = _visible(request).values("pk")
    goods = CartItem.objects.filter(cart__in=carts, product__on_sale=True)
    return int(goods.aggregate(count=Sum("quantity"))["count"] or 0)


def total_minor(lines: Sequence[CartItem]) -> int:
    """What the lines cost, in minor units of their one currency, tax included."""
    return sum(line.total_minor for line in lines)


def currency_of(lines: Sequence[CartItem]) -> str:
    """The lines' one currency; an empty cart has the shop's own."""
    return lines[0].product.currency if lines else EMPTY_CART_CURRENCY


# --- Changing it ----------------------------------------------------------------------------------------------------


def set_quantity(cart: Cart, sku: str, quantity: int) -> None:
    """Have exactly `quantity` of a product in the cart; 0 takes it out, also when it is no longer sold.

    Raises:
        Product.DoesNotExist: no product on sale has this sku.
        CartRefused: a limit, or another currency than the cart's.
    """
    product = Product.objects.get(sku=sku)
    with transaction.atomic():
        locked = locked_cart(cart.pk)
        if quantity == 0:
            locked.items.filter(product=product).delete()
        else:
            _put(locked, product, quantity)


def add(cart: Cart, sku: str, quantity: int) -> int:
    """Put `quantity` more of a product into the cart, and say how many are in it now. Raises as `set_quantity`."""
    product = Product.objects.get(sku=sku)
    with transaction.atomic():
        locked = locked_cart(cart.pk)
        held = locked.items.filter(product=product).values_list("quantity", flat=True).first() or 0
        _put(locked, product, held + quantity)
    return held + quantity


def locked_cart(cart_id: str) -> Cart:
    """The cart with its row locked; where a log-in merged it into another, that one. Inside a transaction only. Its
    `read_at` is the moment by the database's clock.

    Raises:
        Cart.DoesNotExist: there is none with this id.
    """
    carts = Cart.objects.annotate(read_at_now=DatabaseClock()).select_for_update(no_key=True)
    cart = carts.get(pk=cart_id)
    while cart.merged_into_id:
        cart = carts.get(pk=cart.merged_into_id)
    return cart


def _put(cart: Cart, product: Product, quantity: int) -> None:
    if not product.on_sale:
        raise Product.DoesNotExist
    others = list(cart.items.exclude(product=product).select_related("product"))
    _refuse_beyond_limits(others, product, quantity)
    CartItem.objects.update_or_create(cart=cart, product=product, defaults={"quantity": quantity})


def _refuse_beyond_limits(others: Sequence[CartItem], product: Product, quantity: int) -> None:
    if not 1 <= quantity <= LINE_MOST:
        raise CartRefused(f"You can order up to {LINE_MOST} of {product.name} at once.")
    if len(others) >= LINES_MOST:
        raise CartRefused(f"A cart holds up to {LINES_MOST} different products. Please order these first.")
    if others and currency_of(others) != product.currency:
        raise CartRefused(
            f"{product.name} is sold in {product.currency} and your cart is in {currency_of(others)}."
            " One order has one currency: please order these first."
        )
    if total_minor(others) + quantity * product.price_minor > LARGEST_MINOR:
        most = money_text(LARGEST_MINOR, product.currency)
        raise CartRefused(f"One order can cost up to {most}. Please order these first.")


# --- Paid: what was bought leaves -----------------------------------------------------------------------------------


def take_out(cart_id: str | None, bought: Mapping[int, int]) -> None:
    """Take what was paid for (product id: quantity) out of the cart, and count the purchase.

    Called inside the transaction that settles the order, with the order's row locked: the cart's row is the last lock.
    Whoever holds the cart then reads it without these goods (FAILURES 11), while what was added meanwhile in another
    tab stays. The new generation makes a new version, so the same goods can be ordered again.
    """
    if cart_id is None:
        return
    try:
        cart = locked_cart(cart_id)
    except Cart.DoesNotExist:  # its user was erased; nobody can order from it any more
        return
    paid_for = Case(*(When(product_id=product_id, then=quantity) for product_id, quantity in bought.items()), default=0)
    cart.items.filter(quantity__lte=paid_for).delete()
    cart.items.filter(product_id__in=bought).update(quantity=F("quantity") - paid_for)
    Cart.objects.filter(pk=cart.pk).update(generation=F("generation") + 1)


# --- Log-in: two carts become one -----------------------------------------------------------------------------------


def merge_at_log_in(request: HttpRequest, user: AbstractBaseUser, guest_id: str) -> None:
    """The guest's cart becomes the user's, and the goods of the user's older cart join it.

    The session's cart keeps its row, because orders placed a moment ago name it. Of a product that is in both the
    larger quantity counts: adding them up would order twice what was wanted (FAILURES 86). Log-ins of one user queue
    up on the user's row, so two at once leave one cart.
    """
    cart_id = request.session.pop(_SESSION_CART, None)
    if cart_id is None:
        return
    with transaction.atomic():
        _lock_user(user.pk)
        mine = Cart.objects.select_for_update(no_key=True).filter(pk=cart_id, user=None, merged_into=None).first()
        if mine is None:  # another tab has just logged in
            return
        older = Cart.objects.select_for_update(no_key=True).filter(user_id=user.pk).first()
        joined = 0
        if older is not None:
            joined = _join(mine, older)
            Cart.objects.filter(pk=older.pk).update(user=None, merged_into=mine)
        Cart.objects.filter(pk=mine.pk).update(user_id=user.pk)
    if joined:
        messages.info(
            request,
            "Your saved cart has joined this one. Please look it over before you order.",
        )


def _join(mine: Cart, older: Cart) -> int:
    """Move the older cart's goods over, as far as limits and currency allow; how many lines of mine that changed."""
    lines = {item.product_id: item for item in mine.items.select_related("product")}
    changed = 0
    for item in older.items.select_related("product").order_by("pk"):
        held = lines.get(item.product_id)
        if held and held.quantity >= item.quantity:
            continue
        others = [line for product_id, line in lines.items() if product_id != item.product_id]
        try:
            _refuse_beyond_limits(others, item.product, item.quantity)
        except CartRefused:
            continue
        CartItem.objects.update_or_create(cart=mine, product=item.product, defaults={"quantity": item.quantity})
        lines[item.product_id] = item
        changed += 1
    older.items.all().delete()
    return changed


def _may_have_cart(request: HttpRequest) -> bool:
    return request.user.is_authenticated or _SESSION_CART in request.session


def _visible(request: HttpRequest) -> QuerySet[Cart]:
    """The query for the request's cart. A guest's must still be nobody's: after log-in the id alone opens nothing."""
    if request.user.is_authenticated:
        return Cart.objects.filter(user=request.user)
    return Cart.objects.filter(pk=request.session[_SESSION_CART], user=None, merged_into=None)


def _new_cart_of(user_id: int) -> Cart:
    with transaction.atomic():
        _lock_user(user_id)
        return Cart.objects.get_or_create(user_id=user_id)[0]


def _lock_user(user_id: int) -> None:
    get_user_model().objects.select_for_update(no_key=True).filter(pk=user_id).values_list("pk").get()
