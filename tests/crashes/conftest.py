"""Servers that die: the sandbox too can be killed and started again from its book."""

from collections.abc import Iterator

import pytest

from payments.gateways import stripe
from shop.redis_pause import end_redis_pause
from tests.services import Sandbox, services


class StripeProcess:
    """This process's sandbox, to kill and to start again on the same port and book."""

    def kill(self) -> None:
        services().sandbox.child.kill()

    def start(self) -> None:
        if services().sandbox.child.poll() is not None:
            services()._sandbox = Sandbox(services().folder / "sandbox", services().env)


@pytest.fixture
def stripe_process() -> Iterator[StripeProcess]:
    running = StripeProcess()
    yield running
    running.start()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many tries as ever, but no waiting between them; and no pause left over from another test's Redis."""
    monkeypatch.setattr(stripe, "_PAUSES", (0.01, 0.01, 0.01))
    end_redis_pause()
    yield
    end_redis_pause()
