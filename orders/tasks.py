"""Celery's edge of orders. The beat runs each task; a nudge only makes it sooner."""

from celery import shared_task

from orders.mail import send_due_mails


@shared_task(name="orders.send_mails")
def send_mails(order_id: str | None = None) -> None:
    """Send the mails that are due: all, or one order's."""
    send_due_mails(order_id)
