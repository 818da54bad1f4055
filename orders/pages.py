"""Pages of placed orders: one order in every state, the shopper's orders, and the way back into the cart."""

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F, FilteredRelation, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from orders.attempts import NOT_LIVE, newest_attempt, took_other_amount
from orders.checkout import has_entries
from orders.countries import COUNTRIES
from orders.links import cancel_path, order_links, pay_path, start_over_path
from orders.models import Order
from orders.ownership import own_order, shopper_of
from orders.states import Shown, shown_state
from shop.cart import CartRefused, cart_for_change, set_quantity
from shop.models import Cart, Product
from shop.pages import SeeOther, personal, with_stripe

_ORDERS_PER_PAGE = 20
_NOT_PAID = (Shown.OPEN, Shown.DECLINED, Shown.CANCELED, Shown.EXPIRED)
# States that may change by themselves: the page's script asks (static/js/order.js).
_HEALING = (Shown.ASKING, Shown.ACTION, Shown.CLOSING)


@require_safe
@personal
def order_page(request: HttpRequest, order_id: str) -> HttpResponseBase:
    """The order as it is, whatever has happened to it. Reads only: no GET changes anything (SECURITY SE11)."""
    order = own_order(request, order_id)
    newest = newest_attempt(order)
    state = shown_state(order, newest)
    context = {
        "order": order,
        "lines": order.lines.all(),
        "country": COUNTRIES.get(order.country, order.country),
        "state": state,
        "payment_status": newest.payment_status if newest else "none",
        "payment": order.payments.order_by("-n").first(),
        "links": order_links(order),
        "pay_path": pay_path(order),
        "cancel_path": cancel_path(order),
        "start_over_path": start_over_path(order),
        "healing": state in _HEALING,
        "stripe_js_url": settings.STRIPE_JS_URL,
        "stripe_key": settings.STRIPE_PUBLISHABLE_KEY,
        "typed": has_entries(request),
        "undecided": newest is not None and newest.outcome not in NOT_LIVE,
        # Asked only where "you were not charged" would be said, and a press has been made.
        "other_amount": newest is not None and state in _NOT_PAID and took_other_amount(order),
    }
    page = render(request, f"orders/order_{state}.html", context)
    # Stripe.js shows the bank's question on this page, when it was left on another.
    return with_stripe(lambda _: page)(request) if state == Shown.ACTION else page


@require_POST
@personal
def put_back(request: HttpRequest, order_id: str) -> HttpResponse:
    """An order that ended unpaid: its goods are in the cart again, as far as they are still sold."""
    order = own_order(request, order_id, link_opens=False)
    if not order.is_closed:
        return SeeOther(reverse("order", args=[order.pk]))
    cart = cart_for_change(request)
    left_out = [line.name for line in order.lines.all() if not _put_line_back(cart, line.sku, line.quantity)]
    if left_out:
        messages.warning(request, f"We could not put everything back: {', '.join(left_out)}.")
    else:
        messages.success(request, "The goods are in your cart again.")
    return SeeOther(reverse("cart"))


def _put_line_back(cart: Cart, sku: str, quantity: int) -> bool:
    """At least as many as were ordered are in the cart; pressing twice adds nothing. Whether that could be done."""
    held = cart.items.filter(product__sku=sku).values_list("quantity", flat=True).first() or 0
    try:
        set_quantity(cart, sku, max(held, quantity))
    except (CartRefused, Product.DoesNotExist):
        return False
    return True


@require_safe
@personal
def my_orders(request: HttpRequest) -> HttpResponse:
    """The user's orders; a guest's are those of this browser's session."""
    live = FilteredRelation("attempts", condition=~Q(attempts__outcome__in=NOT_LIVE))
    orders = Order.objects.annotate(live=live, live_outcome=F("live__outcome")).filter(shopper_of(request).owns)
    page = Paginator(orders.order_by("-placed_at"), _ORDERS_PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "orders/my_orders.html", {"page": page})
