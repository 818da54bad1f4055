"""The development environment: what `make run` sets for its children and writes down for `manage.py`."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path


class Kept:
    """Generated secrets that stay the same from run to run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._values: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def get(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._values:
            self._values[name] = make()
            _write_private(self._file, json.dumps(self._values, indent=1) + "\n")
        return self._values[name]


def development_environment(
    state: Path, given: Mapping[str, str], *, database_url: str, redis_url: str, broker_url: str, sandbox_port: int
) -> dict[str, str]:
    """Every variable of the contract that development needs. What is `given` wins."""
    kept = Kept(state / "kept.json")
    port = given.get("PORT") or "8000"
    generated = {
        "DEBUG": "1",
        "SECRET_KEY": kept.get("SECRET_KEY", lambda: secrets.token_urlsafe(48)),
        "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
        "PORT": port,
        "BASE_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CELERY_BROKER_URL": broker_url,
        # django-environ takes off one slash of the path.
        "EMAIL_URL": f"filemail:///{state / 'mail'}",
        "PAYMENT_ENV": "dev",
        "STRIPE_SECRET_KEY": kept.get("STRIPE_SECRET_KEY", lambda: f"sk_test_{secrets.token_hex(16)}"),
        "STRIPE_PUBLISHABLE_KEY": kept.get("STRIPE_PUBLISHABLE_KEY", lambda: f"pk_test_{secrets.token_hex(16)}"),
        "STRIPE_WEBHOOK_SECRET": kept.get("STRIPE_WEBHOOK_SECRET", lambda: f"whsec_{secrets.token_hex(16)}"),
        "STAFF_USERNAME": "staff",
        "STAFF_PASSWORD": kept.get("STAFF_PASSWORD", lambda: secrets.token_urlsafe(9)),
    }
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    if not given.get("STRIPE_API_BASE"):
        generated |= {"STRIPE_API_BASE": sandbox, "STRIPE_JS_URL": f"{sandbox}/stripe.js"}
    names = [*generated, "STRIPE_API_BASE", "STRIPE_JS_URL"]
    return generated | {name: given[name] for name in names if given.get(name)}


def write_environment(file: Path, values: Mapping[str, str]) -> None:
    lines = ["# Written by `make run`; manage.py reads it. Real environment variables win."]
    lines += [f"{name}={value}" for name, value in values.items()]
    _write_private(file, "\n".join(lines) + "\n")


def _write_private(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text)
    new.replace(file)
