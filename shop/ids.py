"""Ids shown outside, and keys: random, and long enough to be secrets (SECURITY SE4)."""

import secrets

# No 0/O, 1/I/L, U: read aloud on the phone, typed from paper.
_REFERENCE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> str:
    """A public id: 24 random bytes (192 bits) as 32 URL-safe characters. None begins with a dash: on a command line it
    would be read as an option."""
    while (made := secrets.token_urlsafe(24)).startswith("-"):
        pass
    return made


def new_pay_key() -> str:
    """The key of an order's next press of Pay: `PAY_` and 128 random bits (RULES R2)."""
    return "PAY_" + secrets.token_urlsafe(16)


def new_reference() -> str:
    """A human reference such as `7KQ4-F2MX`. It opens nothing: it is for the phone, not a secret."""
    letters = "".join(secrets.choice(_REFERENCE_LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"
