"""What the tests of payments share: short waits between tries, and addresses where nobody listens."""

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from payments.gateways import stripe
from payments.gateways.base import gateway
from shop.redis_pause import end_redis_pause
from shop.stack.ports import free_port


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many tries as ever, but no waiting between them; and no pause left over from another test's Redis."""
    monkeypatch.setattr(stripe, "_PAUSES", (0.01, 0.01, 0.01))
    end_redis_pause()
    yield
    end_redis_pause()


@pytest.fixture
def short_confirm(settings: Any) -> None:
    """A confirm gives up after a short while. What it proves does not depend on how long that is."""
    settings.CONFIRM_TIMEOUT = datetime.timedelta(seconds=0.4)


@pytest.fixture
def short_create(settings: Any) -> None:
    settings.CREATE_TIMEOUT = datetime.timedelta(seconds=0.4)


@pytest.fixture
def no_stripe(settings: Any) -> Iterator[Callable[[], None]]:
    """From now on nothing listens where Stripe was; call the fixture to have it back."""
    there = settings.STRIPE_API_BASE
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{free_port()}"
    gateway.cache_clear()

    def back() -> None:
        settings.STRIPE_API_BASE = there
        gateway.cache_clear()

    yield back
    back()
