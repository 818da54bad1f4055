"""The tests' settings for servers that are to die at a named point; see failpoints.py."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES as _DATABASES
from tests.settings import MIDDLEWARE as _MIDDLEWARE

DATABASES = {"default": _DATABASES["default"] | {"ENGINE": "tests.crashes.failing_postgresql"}}
MIDDLEWARE = ["tests.crashes.failpoints.Edge", *_MIDDLEWARE]
REDIS_LOCK = "tests.crashes.failpoints.failing_lock"
PAYMENT_GATEWAY = "tests.crashes.failpoints.FailingGateway"
BREAKER_FAILURES = 1_000_000  # so many answers are lost here that it would open; tests/payments/test_breaker.py has it
