"""Webhooks: verified, stored, answered; worked on afterwards. An event is a hint, never a fact (RULES R78-R85)."""

import structlog
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from payments.gateways.base import Event, gateway
from payments.models import WebhookEvent
from payments.reconciliation.inbox import store_events
from shop.nudge import nudge
from shop.problems import Problem, problem_response

log = structlog.get_logger(__name__)

LARGEST_EVENT = 1024 * 1024  # bytes


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """Store the event in one transaction, then answer 200. No call to Stripe and no money is moved in here.

    400 for a signature that does not hold (no row is written), 413 for a body that is too large, 503 while the
    database is down, so that Stripe sends it again. Redis or Celery being down changes nothing: the row is the queue.
    """
    if int(request.META.get("CONTENT_LENGTH") or 0) > LARGEST_EVENT:
        return problem_response(request, Problem("body-too-large", "An event has at most 1 MiB."))
    try:
        event = gateway().read_event(request.body, request.headers.get("Stripe-Signature", ""))
    except ValueError as error:
        log.warning("webhook_refused", error=str(error))
        return problem_response(request, Problem("validation-failed", "The signature does not hold."))
    try:
        new = _store(event)
    except DatabaseError as error:
        log.warning("webhook_not_stored", event_id=event.id, error=type(error).__name__)
        return problem_response(request, Problem("unavailable", "Please send it again."))
    if new:
        nudge("payments.work_webhooks", event.id)
    return HttpResponse(status=200)


def _store(event: Event) -> bool:
    """Whether it is new: a duplicate is answered 200 and changes nothing."""
    store_events([event])
    # With ignore_conflicts the row gets no id back, so ask whether the stored one is ours.
    stored = WebhookEvent.objects.get(gateway="stripe", event_id=event.id)
    return stored.state == WebhookEvent.State.STORED and stored.tries == 0
