"""A break as the commands' JSON shows it (DESIGN section 9)."""

from typing import Any

from django.utils import timezone

from payments.models import Break


def open_breaks(most: int = 1000) -> list[dict[str, Any]]:
    """Those that nobody has resolved yet, newest first."""
    return [break_json(found) for found in Break.objects.filter(resolved_at=None)[:most]]


def break_json(found: Break) -> dict[str, Any]:
    """`intent`: the intent that it is about, or where there is none the charge, refund or dispute."""
    age = timezone.now() - (found.found_at if found.pk else timezone.now())  # a dry run's has no row
    return {
        "kind": found.kind,
        "order": found.order_id,
        "payment": found.payment_id,
        "intent": found.evidence.get("intent") or found.subject,
        "amount": found.amount_minor,
        "currency": found.currency,
        "age_seconds": max(0, int(age.total_seconds())),
    }
