"""The environment: where every setting that differs between machines comes from (DESIGN section 9)."""

import os
import sys
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = Path(os.environ.get("PAYONCE_STATE", BASE_DIR / ".state"))
DEVELOPMENT_FILE = STATE_DIR / "env"

env = environ.FileAwareEnv()

# Production refuses to start without these; the text says what each is.
SECRETS = {
    "SECRET_KEY": "a long random string that signs sessions",
    "DATABASE_URL": "postgresql://user:password@host:5432/name",
    "STRIPE_SECRET_KEY": "Stripe's secret key, sk_...",
    "STRIPE_PUBLISHABLE_KEY": "Stripe's publishable key, pk_...",
    "STRIPE_WEBHOOK_SECRET": "the signing secret of the webhook endpoint, whsec_... (several: separate by commas)",
}


def read_development_file() -> None:
    """Take over what `make run` wrote into the state folder. Real variables win; DEBUG=0 ignores the file."""
    if os.environ.get("DEBUG", "1").lower() in ("0", "false", "no", "off", ""):
        return
    if DEVELOPMENT_FILE.exists():
        env.read_env(DEVELOPMENT_FILE, overwrite=False)


def missing_secrets() -> list[str]:
    """Names of the required variables that are not set (nor given as NAME_FILE)."""
    return [name for name in SECRETS if not os.environ.get(name) and not os.environ.get(f"{name}_FILE")]


# What gunicorn calls WORKER_BOOT_ERROR: its master ends as well. After any other exit code of a worker it starts the
# next one, for ever.
WILL_NEVER_START = 3


def refuse_missing_secrets() -> None:
    """End the process with one line that says what to set. Called by the servers, never by settings."""
    if missing := missing_secrets():
        text = "payonce: set " + "; ".join(f"{name} ({SECRETS[name]})" for name in missing)
        sys.stderr.write(f"{text}\n")  # at once, so that lines of several workers do not mix
        sys.stderr.flush()
        sys.exit(WILL_NEVER_START)
