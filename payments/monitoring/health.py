"""/healthz/payments: is anything undecided for too long, and does repair run? Not for the load balancer."""

from django.db import Error as DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from payments.monitoring.alarms import read_vitals
from payments.monitoring.heartbeats import ages


@require_safe
def payments_health(request: HttpRequest) -> JsonResponse:
    """200 while the truth arrives in time, else 503; ages in seconds. `runbook` names the pages that say what to do."""
    try:
        vitals = read_vitals()
    except DatabaseError:
        return JsonResponse({"status": "database down"}, status=503)
    alarms = vitals.alarms()
    body = {
        "status": "look" if alarms else "ok",
        "oldest_undecided_seconds": int(vitals.undecided_for.total_seconds()),
        "webhook_lag_seconds": int(vitals.webhook_lag.total_seconds()),
        "open_breaks": vitals.open_breaks,
        "heartbeat_seconds": {name: int(age.total_seconds()) for name, age in ages(vitals.beats, vitals.now).items()},
        "stopped": vitals.stopped,
        "runbook": [alarm.name for alarm in alarms],
    }
    return JsonResponse(body, status=503 if alarms else 200)
