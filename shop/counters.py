"""What this process has counted, shown at /metrics. A duplicate costs no write: it is only counted (RULES R19)."""

from django.conf import settings
from django.utils.module_loading import import_string
from prometheus_client import Counter

_duplicates = Counter("payonce_duplicates_prevented", "Requests that a layer stopped from being done twice", ["layer"])
_reused_keys = Counter("payonce_idempotency_key_reused", "Keys that came again with another body (RULES R14)")


def count_duplicate(layer: int, order_id: str, key: str) -> None:
    """One request about this order that this layer (2: key, 3: database, 4: Redis lock, 5: gateway) stopped.

    Counted here, and told to whoever keeps it for the order's story; neither reads nor writes a row.
    """
    _duplicates.labels(layer=str(layer)).inc()
    if settings.DUPLICATES_KEPT_BY:
        import_string(settings.DUPLICATES_KEPT_BY)(layer, order_id, key)


def count_reused_key() -> None:
    _reused_keys.inc()
