"""What this process has counted, shown at /metrics. A duplicate costs no write: it is only counted (RULES R19)."""

from prometheus_client import Counter

_duplicates = Counter("payonce_duplicates_prevented", "Requests that a layer stopped from being done twice", ["layer"])
_reused_keys = Counter("payonce_idempotency_key_reused", "Keys that came again with another body (RULES R14)")


def count_duplicate(layer: int) -> None:
    """One request that this layer (2: key, 3: database, 4: Redis lock) stopped."""
    _duplicates.labels(layer=str(layer)).inc()


def count_reused_key() -> None:
    _reused_keys.inc()
