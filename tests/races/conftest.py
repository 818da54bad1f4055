"""Each race is run with Redis and without: the lock is a courtesy, and nothing may rest on it (RULES R68)."""

from collections.abc import Iterator

import pytest

from shop.redis_pause import end_redis_pause, pause_redis
from tests.races.crowd import wide_pool

__all__ = ["wide_pool"]


@pytest.fixture(params=["redis", "no redis"])
def redis_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Without: as after a failure, and the pause does not end."""
    if request.param == "no redis":
        settings.REDIS_PAUSE *= 1000
        pause_redis(ConnectionError("no Redis in this test"))
    yield
    end_redis_pause()


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost answer is lost at once: no second try of the same call within the press."""
    monkeypatch.setattr("payments.gateways.stripe._PAUSES", ())
