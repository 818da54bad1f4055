"""How long keys and stored answers are kept: KEY_RETENTION after the end, and never less than 72 h (RULES R9, R10).

After that a key that comes again is a new request, and still cannot charge a paid order. Webhook events that are done
are kept for WEBHOOK_EVENT_RETENTION, longer than Stripe can show them again; then their rows go.
"""

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Concat
from django.utils import timezone

from orders.models import Order
from payments.models import FINAL, Attempt, WebhookEvent

_FORGOTTEN = "forgotten:"


def forget_keys(batch: int = 1000) -> int:
    """Clear key, fingerprint and stored answer of what ended longer ago than KEY_RETENTION; how many rows that were.

    In batches, beside other work (SKIP LOCKED). Deletes no row, and never touches one that has not ended.
    """
    forgotten = 0
    while cleared := _forget_attempts(batch) + _forget_orders(batch):
        forgotten += cleared
    return forgotten


def _forget_attempts(batch: int) -> int:
    ended = timezone.now() - settings.KEY_RETENTION
    with transaction.atomic(durable=True):
        old = Attempt.objects.filter(outcome__in=FINAL, answer_status__isnull=False, finished_at__lt=ended)
        chosen = list(
            old.select_for_update(skip_locked=True, no_key=True)
            .order_by("finished_at")
            .values_list("pk", flat=True)[:batch]
        )
        return Attempt.objects.filter(pk__in=chosen).update(
            idempotency_key=Concat(Value(_FORGOTTEN), F("pk")), fingerprint="", answer_status=None, answer_body=None
        )


def _forget_orders(batch: int) -> int:
    ended = timezone.now() - settings.KEY_RETENTION
    with transaction.atomic(durable=True):
        old = Order.objects.exclude(status=Order.Status.PENDING).exclude(fingerprint="").filter(placed_at__lt=ended)
        free = old.select_for_update(skip_locked=True, no_key=True).order_by("placed_at")
        chosen = list(free.values_list("pk", flat=True)[:batch])
        return Order.objects.filter(pk__in=chosen).update(
            idempotency_key=Concat(Value(_FORGOTTEN), F("pk")), fingerprint=""
        )


def delete_events(batch: int = 1000) -> int:
    """Delete webhook events that were done, or foreign, longer ago than WEBHOOK_EVENT_RETENTION; how many.

    In batches, beside other work (SKIP LOCKED). Never one that is stored and not done: that one is work.
    """
    deleted = 0
    while gone := _delete_events(batch):
        deleted += gone
    return deleted


def _delete_events(batch: int) -> int:
    done = timezone.now() - settings.WEBHOOK_EVENT_RETENTION
    with transaction.atomic(durable=True):
        old = WebhookEvent.objects.exclude(state=WebhookEvent.State.STORED).filter(done_at__lt=done)
        chosen = list(old.select_for_update(skip_locked=True).order_by("done_at").values_list("pk", flat=True)[:batch])
        return WebhookEvent.objects.filter(pk__in=chosen).delete()[0]


def past_retention() -> QuerySet[Attempt]:
    """Attempts past retention that may not be forgotten, because they have not ended: staff look at these."""
    undecided = Attempt.objects.exclude(phase=Attempt.Phase.FINISHED)
    return undecided.filter(claimed_at__lt=timezone.now() - settings.KEY_RETENTION)
