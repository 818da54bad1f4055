"""Celery's thin edge. Tasks take ids; the work they do is found in the rows, by the beat as well (RULES R97-R99)."""

import structlog
from celery import shared_task

from payments import accounts, cancellation, pay, retention
from payments.errors import GatewayError
from payments.models import Asker, Heartbeat
from payments.monitoring.heartbeats import beat
from payments.reconciliation import event_feed, inbox, invariants, recovery, run
from payments.row_lock import give_back_connections
from shop.nudge import nudge

log = structlog.get_logger(__name__)


@shared_task(name="payments.open_payment")
def open_payment(order_id: str) -> None:
    """Open the order's payment ahead of the click."""
    pay.open_ahead(order_id)
    give_back_connections()


@shared_task(name="payments.complete")
def complete_due() -> None:
    """One round of the completer."""
    _, changed = recovery.complete_due(Asker.COMPLETER)
    beat(Heartbeat.Name.COMPLETER)
    accounts.learn_if_due()
    if changed:
        nudge("orders.send_mails")
    give_back_connections()


@shared_task(name="payments.work_webhooks")
def work_webhooks(event_id: str | None = None) -> None:
    """Work on one stored event, or on all that are due."""
    if inbox.work_webhooks(event_id):
        nudge("orders.send_mails")
    give_back_connections()


@shared_task(name="payments.read_events")
def read_events() -> None:
    """Read Stripe's events since the last time, and work on those that no webhook brought."""
    try:
        event_feed.read_events()
    except GatewayError as error:
        log.warning("events_not_read", error=str(error))
    if inbox.work_webhooks():
        nudge("orders.send_mails")
    give_back_connections()


@shared_task(name="payments.sweep")
def sweep_due() -> None:
    """Go on comparing Stripe's book with our rows, where that is due."""
    try:
        run.sweep_due()
    except GatewayError as error:
        log.warning("not_swept", error=str(error))
    give_back_connections()


@shared_task(name="payments.check_books")
def check_books() -> None:
    """Ask our own rows whether every paid order is paid."""
    invariants.check_books()
    give_back_connections()


@shared_task(name="payments.expire_orders")
def expire_orders() -> None:
    """Close the orders whose hold is over."""
    cancellation.expire_due()
    give_back_connections()


@shared_task(name="payments.forget_keys")
def forget_keys() -> None:
    """Clear keys and stored answers whose time is over, and delete webhook events whose time is over."""
    retention.forget_keys()
    retention.delete_events()
    give_back_connections()
