"""/healthz/payments: is anything undecided for too long, and does repair run? Not for the load balancer."""

import datetime

from django.db import Error as DatabaseError
from django.db.models import Min
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from payments.heartbeats import ages, late
from payments.models import Attempt, Break, WebhookEvent

UNDECIDED_AT_MOST = datetime.timedelta(minutes=15)
WEBHOOK_LAG_AT_MOST = datetime.timedelta(minutes=15)


@require_safe
def payments_health(request: HttpRequest) -> JsonResponse:
    """200 while the truth arrives in time, else 503; ages in seconds. A challenge that a shopper left counts only
    from when it should have been given up."""
    try:
        undecided = Attempt.objects.filter(outcome__in=["", "unknown", "processing"]).exclude(phase="finished")
        oldest = undecided.aggregate(oldest=Min("claimed_at"))["oldest"]
        waiting = WebhookEvent.objects.filter(state=WebhookEvent.State.STORED).aggregate(oldest=Min("received_at"))
        breaks = Break.objects.filter(resolved_at=None).count()
        heartbeats = ages()
    except DatabaseError:
        return JsonResponse({"status": "database down"}, status=503)
    now = timezone.now()
    age = now - oldest if oldest else datetime.timedelta(0)
    lag = now - waiting["oldest"] if waiting["oldest"] else datetime.timedelta(0)
    stopped = late(heartbeats)
    fine = age <= UNDECIDED_AT_MOST and lag <= WEBHOOK_LAG_AT_MOST and breaks == 0 and not stopped
    body = {
        "status": "ok" if fine else "look",
        "oldest_undecided_seconds": int(age.total_seconds()),
        "webhook_lag_seconds": int(lag.total_seconds()),
        "open_breaks": breaks,
        "heartbeat_seconds": {name: int(one.total_seconds()) for name, one in heartbeats.items()},
        "stopped": stopped,
    }
    return JsonResponse(body, status=200 if fine else 503)
