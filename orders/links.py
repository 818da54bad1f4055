"""Where an order can be met. Paths, not view names: payments' routes must not be imported from here."""

from orders.models import Order


def order_links(order: Order) -> dict[str, str]:
    """The `links` of an order in JSON (DESIGN section 8)."""
    api = f"/api/orders/{order.pk}/"
    return {
        "self": api,
        "page": f"/orders/{order.pk}/",
        "payments": f"{api}payments/",
        "status": f"{api}payment-status/",
        "cancel": f"{api}cancel/",
    }


def pay_path(order: Order) -> str:
    """The page that takes the card."""
    return f"/orders/{order.pk}/pay/"


def cancel_path(order: Order) -> str:
    """The form post that gives the order up; it answers 303 to the order page."""
    return f"/orders/{order.pk}/cancel/"


def start_over_path(order: Order) -> str:
    """The form post that gives an unfinished press up and keeps the order; it answers 303 to the pay page."""
    return f"/orders/{order.pk}/start-over/"
