"""The pages that touch money: the pay page, the way back from the bank, and the two form posts without a script."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from orders.countries import COUNTRIES
from orders.links import cancel_path, pay_path
from orders.ownership import own_order
from payments import responses
from payments.cancellation import Wish, close_order
from payments.models import Asker
from payments.status import may_press
from shop.nudge import nudge
from shop.pages import SeeOther, personal, with_stripe
from shop.problems import Problem


@require_safe
@personal
@ensure_csrf_cookie
@with_stripe  # type: ignore[arg-type]  # its hints forget the path's arguments
def pay(request: HttpRequest, order_id: str) -> HttpResponse:
    """The page that takes the card. An order that may not be pressed now is shown on its own page instead."""
    order = own_order(request, order_id)
    if not may_press(order):
        return redirect(order)
    context = {
        "order": order,
        "lines": order.lines.all(),
        "country": COUNTRIES.get(order.country, order.country),
        "pay_path": pay_path(order),
        "cancel_path": cancel_path(order),
        "reasons": {reason: responses.reason_text(reason) for reason in responses.REASONS},
        "stripe_js_url": settings.STRIPE_JS_URL,
        "stripe_key": settings.STRIPE_PUBLISHABLE_KEY,
        "return_url": f"{settings.BASE_URL}/orders/{order.pk}/return/",
    }
    return render(request, "payments/pay.html", context)


@require_safe
def returned(request: HttpRequest, order_id: str) -> HttpResponse:
    """Back from the bank: a clean address at once, for the query string holds the intent's secret (SECURITY SE12).

    It renders nothing and changes nothing: the order page's script asks for the true state.
    """
    return SeeOther(f"/orders/{order_id}/")


@require_POST
def cancel(request: HttpRequest, order_id: str) -> HttpResponse:
    """The order page's and checkout's form: give the order up, then back to the order."""
    return _close(request, order_id, Wish.CANCEL)


@require_POST
def start_over(request: HttpRequest, order_id: str) -> HttpResponse:
    """The order page's form: give an unfinished payment up and pay again."""
    return _close(request, order_id, Wish.START_OVER)


def _close(request: HttpRequest, order_id: str, wish: Wish) -> HttpResponse:
    order = own_order(request, order_id, link_opens=wish is not Wish.CANCEL)
    try:
        order = close_order(order.pk, wish, by="shopper", asked_by=Asker.SHOPPER)
    except Problem:
        return SeeOther(f"/orders/{order.pk}/")  # the page shows what is so
    nudge("orders.send_mails")
    return SeeOther(f"/orders/{order.pk}/pay/" if may_press(order) else f"/orders/{order.pk}/")
