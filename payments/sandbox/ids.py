"""Ids that look like Stripe's."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def random_text(length: int) -> str:
    return "".join([_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length)])


def new_id(prefix: str) -> str:
    """`pi_3...`, `ch_3...`: payments carry a 3, everything else a 1, then 23 characters."""
    generation = "3" if prefix in ("pi", "ch", "evt", "txn", "re") else "1"
    return f"{prefix}_{generation}{random_text(23)}"


def new_request_id() -> str:
    return f"req_{random_text(14)}"


def new_client_secret(intent_id: str) -> str:
    return f"{intent_id}_secret_{random_text(25)}"
