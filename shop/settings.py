"""Settings, read top to bottom. They import without any secret; the servers refuse to start without them (shop.env)."""

import secrets
from datetime import timedelta
from typing import Any

import django_stubs_ext
import structlog
from celery.schedules import crontab
from redis.backoff import NoBackoff
from redis.retry import Retry

from shop.env import BASE_DIR, env

django_stubs_ext.monkeypatch()

# --- What runs ------------------------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"] if DEBUG else [])
PORT = env.int("PORT", 8000)
BASE_URL = env.str("BASE_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
SECURE = BASE_URL.startswith("https://")

INSTALLED_APPS = [
    "shop.apps.AdminConfig",  # Django's admin, with a second factor
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "shop",
    "orders",
    "payments",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "shop.middleware.DatabaseDownMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "shop.middleware.RequestLog",
    "axes.middleware.AxesMiddleware",  # turns a locked log-in into shop.log_in_limits.locked_out's answer
]

# Errors of views and middleware reach shop.middleware.DatabaseDownMiddleware, in development as in production.
DEBUG_PROPAGATE_EXCEPTIONS = True

ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
# The API answers its slash variants itself: a redirect would drop a POST's body.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.pages.cart_in_header",
            ],
        },
    },
]

# --- PostgreSQL -----------------------------------------------------------------------------------------------------

DATABASES: dict[str, Any] = {
    "default": env.db_url("DATABASE_URL", default="postgresql://payonce@127.0.0.1:5432/payonce"),
}
DATABASES["default"] |= {
    "ENGINE": "django.db.backends.postgresql",
    # With the native pool, closing a connection gives it back; it must not be kept per thread as well.
    "CONN_MAX_AGE": 0,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {
        # A request that gets no connection within 2 s answers 503, nothing charged (DESIGN section 7).
        # After an outage the pool must not sleep on (its back-off grows to minutes): a lost connection is tried again
        # for 1 s, then by the next request that needs one.
        "pool": {"min_size": 1, "max_size": env.int("DATABASE_POOL", 8), "timeout": 2, "reconnect_timeout": 1},
        "connect_timeout": 2,
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: a courtesy. Every use has short time-outs, no retries, and a way on without it (RULES R71) --------------

REDIS_URL = env.str("REDIS_URL", "redis://127.0.0.1:6379/0")
_NO_RETRY = Retry(NoBackoff(), 0)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.25,
            "SOCKET_TIMEOUT": 0.5,
            "CONNECTION_POOL_KWARGS": {"retry": _NO_RETRY, "retry_on_timeout": False},
        },
    }
}
REDIS_PAUSE = timedelta(seconds=5)  # after a failure this process asks no Redis for so long

# --- Sessions, users, cookies: in PostgreSQL, so that nothing a shopper does needs Redis ----------------------------

SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_NAME = "__Host-sessionid" if SECURE else "sessionid"
SESSION_COOKIE_SAMESITE = "Lax"  # Strict would lose the session on the way back from the bank (FAILURES 76)
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_NAME = "__Host-csrftoken" if SECURE else "csrftoken"
CSRF_TRUSTED_ORIGINS = [BASE_URL]
CSRF_FAILURE_VIEW = "shop.pages.csrf_failure"
SECURE_SSL_REDIRECT = SECURE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", False) else None
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin-allow-popups"
X_FRAME_OPTIONS = "DENY"
# /livez and /readyz are asked over plain http by the machine next door.
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = "/account/log-in/"
LOGIN_REDIRECT_URL = "/account/orders/"
PASSWORD_RESET_TIMEOUT = 3600  # seconds
# Called with (request, user, guest_id) just before the session becomes the user's.
AT_LOG_IN = ["shop.cart.merge_at_log_in", "orders.ownership.adopt_orders"]

# Wrong passwords, counted in PostgreSQL (shop/log_in_limits.py): so many of an account from an address, and of an
# address in all, then 429 until AXES_COOLOFF_TIME after the last one. Never of an account alone: a stranger would lock
# its owner out.
AXES_HANDLER = "shop.log_in_limits.LogInLimits"
AXES_FAILURE_LIMIT = 5
LOG_IN_FAILURES_OF_ADDRESS = 50  # a whole office or mobile network may share one
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "shop.log_in_limits.account_tried"
AXES_CLIENT_IP_CALLABLE = "shop.log_in_limits.network_that_tries"
AXES_LOCKOUT_CALLABLE = "shop.log_in_limits.locked_out"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# Staff need a second factor in the admin (shop/second_factor.py, SECURITY SE47).
STAFF_SECOND_FACTOR = env.bool("STAFF_SECOND_FACTOR") if env.str("STAFF_SECOND_FACTOR", "") else not DEBUG
OTP_TOTP_ISSUER = "Payonce"

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- Language, static files, mail -----------------------------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = ["shop.formats"]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / ".state" / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

_EMAIL = env.email_url("EMAIL_URL", default="consolemail://")
EMAIL_BACKEND = _EMAIL["EMAIL_BACKEND"].replace("django.core.mail.backends.smtp", "shop.smtp")
EMAIL_HOST = _EMAIL["EMAIL_HOST"]
EMAIL_PORT = _EMAIL["EMAIL_PORT"] or 25
EMAIL_HOST_USER = _EMAIL["EMAIL_HOST_USER"] or ""
EMAIL_HOST_PASSWORD = _EMAIL["EMAIL_HOST_PASSWORD"] or ""
EMAIL_FILE_PATH = _EMAIL["EMAIL_FILE_PATH"] or None
EMAIL_USE_TLS = bool(_EMAIL.get("EMAIL_USE_TLS", False))
EMAIL_USE_SSL = bool(_EMAIL.get("EMAIL_USE_SSL", False))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = "Payonce <orders@payonce.example>"

# --- Stripe ---------------------------------------------------------------------------------------------------------

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", "")
STRIPE_PUBLISHABLE_KEY = env.str("STRIPE_PUBLISHABLE_KEY", "")
STRIPE_WEBHOOK_SECRETS: list[str] = env.list("STRIPE_WEBHOOK_SECRET", default=[])  # several while a secret is rolled
STRIPE_API_BASE = env.str("STRIPE_API_BASE", "https://api.stripe.com").rstrip("/")
STRIPE_JS_URL = env.str("STRIPE_JS_URL", "https://js.stripe.com/clover/stripe.js")
# A payment's page for staff, by the id of its intent or charge; the sandbox has a page of its own for each.
STRIPE_PAYMENT_PAGE = (
    f"https://dashboard.stripe.com/{'' if '_live_' in STRIPE_SECRET_KEY else 'test/'}payments/{{id}}"
    if STRIPE_API_BASE == "https://api.stripe.com"
    else f"{STRIPE_API_BASE}/payments/{{id}}"
)
STRIPE_API_VERSION = "2026-10-28.endive"
PAYMENT_ENV = env.str("PAYMENT_ENV", "dev" if DEBUG else "")  # begins every gateway key, and is in every metadata

# --- Time: one table, checked at start by payments.checks (RULES R91) -----------------------------------------------

CREATE_TIMEOUT = timedelta(seconds=5)  # Stripe: creating an intent asks no bank
CONFIRM_TIMEOUT = timedelta(seconds=20)  # card calls need more than 5 s
LOOK_TIMEOUT = timedelta(seconds=5)  # reading an intent
SEEK_TIMEOUT = timedelta(seconds=8)  # all pages of a search for one lost intent; with a create within OPEN_LEASE
LIST_TIMEOUT = timedelta(seconds=20)  # a page of a hundred objects
PRESS_BUDGET = timedelta(seconds=28)  # all calls of one press, all tries
LEASE = timedelta(seconds=60)  # longer than any holder can live
OPEN_LEASE = timedelta(seconds=20)  # opening is one create call
REDIS_LOCK_TTL = timedelta(seconds=60)
OPEN_WAIT = timedelta(seconds=5)  # how long a press waits for a payment that another process is opening
CONFIRM_AGAIN = timedelta(minutes=10)  # after the click: replay the confirm; later cancel the intent instead
ORDER_HOLD = timedelta(minutes=30)  # after placement or the last definite decline
ORDER_HOLD_MOST = timedelta(hours=2)
ACTION_LIFE = timedelta(minutes=30)  # a 3-D Secure challenge nobody finished; then start-over by us
BUY_AGAIN = timedelta(minutes=30)  # ask before the same purchase again
LOOK_INTERVAL = timedelta(seconds=3)  # POST payment-status asks Stripe once per so long and order
GATEWAY_KEY_SAFE_AGE = timedelta(hours=23)  # Stripe forgets keys after 24 h
KEY_RETENTION = timedelta(days=7)
WEBHOOK_TOLERANCE = timedelta(seconds=300)
WEBHOOK_EVENT_RETENTION = timedelta(days=35)
LOOK_LADDER = [timedelta(seconds=s) for s in (10, 30, 60, 120, 300, 900, 3600, 6 * 3600)]  # then daily, to day 7
SWEEP_MIN_AGE = LEASE + timedelta(seconds=60)  # what is younger may still be under way: no break
SWEEP_REQUESTS_PER_SECOND = 20  # Stripe allows 25 in a sandbox and 100 live, and shoppers come first
EVENTS_OVERLAP = timedelta(minutes=5)  # Stripe's events are read again from so long before the newest one
REFUND_DUPLICATES = env.bool("REFUND_DUPLICATES", False)  # a double charge is refunded by the sweep; else by staff
# Minor units that one person may give back of one payment; above it a second one approves. None: no second person.
REFUND_NEEDS_SECOND_PERSON_MINOR: int | None = env.int("REFUND_NEEDS_SECOND_PERSON_MINOR", None if DEBUG else 50_000)
# Presses in a row that Stripe did not answer; then 503 at once (payments/gateways/circuit_breaker.py).
BREAKER_FAILURES = 10
BREAKER_PAUSE = timedelta(seconds=10)
DECLINES_PER_ORDER = 10  # definite declines of one order within an hour; then 429 throttled

# Layers 4 and 5 by dotted path, so that tests, storm and demo can put something else in their place (DESIGN section 3).
REDIS_LOCK = "payments.redis_lock.redis_lock"
PAYMENT_GATEWAY = "payments.gateways.stripe.StripeGateway"

# Duplicates that a layer stopped are counted in the process and written in batches; "" keeps none (RULES R19).
DUPLICATES_KEPT_BY = "payments.monitoring.blocked_requests.keep"
DUPLICATES_FLUSH = timedelta(seconds=5)

# --- Celery: never needed for a right answer, only for a fast one ---------------------------------------------------

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_TIME_LIMIT = 45
CELERY_TASK_SOFT_TIME_LIMIT = 40
CELERY_WORKER_POOL = "prefork"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_PUBLISH_RETRY = False  # a dead broker must not hold up a shopper
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600}
CELERY_BEAT_SCHEDULE = {
    "complete": {"task": "payments.complete", "schedule": 30.0},
    "work-webhooks": {"task": "payments.work_webhooks", "schedule": 30.0},
    "read-events": {"task": "payments.read_events", "schedule": 60.0},
    "sweep": {"task": "payments.sweep", "schedule": 60.0},  # goes on with what is due: payments.sweep.PLANS
    "check-books": {"task": "payments.check_books", "schedule": crontab(hour=3, minute=17)},
    "expire-orders": {"task": "payments.expire_orders", "schedule": 60.0},
    "send-mails": {"task": "orders.send_mails", "schedule": 30.0},
    "forget-keys": {"task": "payments.forget_keys", "schedule": 3600.0},
}

# --- API ------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["shop.api.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["shop.api.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "shop.api.answer_with_problem",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Payonce",
    "DESCRIPTION": "A shop whose checkout charges once. See /api/docs/.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
API_BODY_MOST = 16 * 1024  # bytes; 413 above

# --- Content Security Policy: no inline script or style anywhere (SECURITY SE21) ------------------------------------

_STRIPE_ORIGIN = "/".join(STRIPE_JS_URL.split("/")[:3])
_REAL_STRIPE = _STRIPE_ORIGIN == "https://js.stripe.com"
STRIPE_CSP: dict[str, list[str]] = {  # added on pages that take a card (shop.pages.with_stripe)
    "script-src": [_STRIPE_ORIGIN, *(["https://*.js.stripe.com"] if _REAL_STRIPE else [])],
    "frame-src": [
        _STRIPE_ORIGIN,
        *(["https://*.js.stripe.com", "https://hooks.stripe.com"] if _REAL_STRIPE else []),
    ],
    "connect-src": ["https://api.stripe.com" if _REAL_STRIPE else _STRIPE_ORIGIN],
}
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    }
}

# --- Logs: one JSON line an event, UTC ------------------------------------------------------------------------------

_BEFORE: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _BEFORE,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {name: {"level": "WARNING"} for name in ("stripe", "django.server", "axes")},
}
# A line knows its request; who asked is in the rows. Asking for the user would cost every request two reads.
DJANGO_STRUCTLOG_USER_ID_FIELD = ""
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_BEFORE,
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)

if DEBUG and not SECRET_KEY:
    # `manage.py check` and friends before the first `make run`; nothing signed with it outlives the process.
    SECRET_KEY = secrets.token_urlsafe(48)
