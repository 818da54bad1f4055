"""The environment: where every setting that differs between machines comes from (DESIGN section 9)."""

import os
import re
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
    "PAYMENT_ENV": "a name of this shop that no other on its Stripe account has, such as shop-example-live",
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


def wrong_payment_env(name: str) -> str:
    """Why PAYMENT_ENV cannot be this; empty if it can. It begins every key that we send to Stripe and is in all that we
    make there: two shops on one account that share it would take each other's money for their own."""
    if name in ("live", "prod", "production"):
        return f"PAYMENT_ENV={name} is what any other shop on the account may be called: {SECRETS['PAYMENT_ENV']}"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", name):
        return "PAYMENT_ENV is 1 to 40 letters, figures, dots, dashes and underscores"
    return ""


def refuse_missing_secrets() -> None:
    """End the process with one line that says what to set. Called by the servers, never by settings."""
    text = ""
    if missing := missing_secrets():
        text = "payonce: set " + "; ".join(f"{name} ({SECRETS[name]})" for name in missing)
    elif wrong := wrong_payment_env(env.str("PAYMENT_ENV")):
        text = f"payonce: {wrong}"
    if text:
        sys.stderr.write(f"{text}\n")  # at once, so that lines of several workers do not mix
        sys.stderr.flush()
        sys.exit(WILL_NEVER_START)
