"""/livez, /readyz, /metrics."""

import pytest

from shop import health
from tests.shop.making import product


@pytest.fixture(autouse=True)
def _nothing_seen():
    health._seen_migrated.cache_clear()
    yield
    health._seen_migrated.cache_clear()


def test_livez_asks_nobody(client):
    assert client.get("/livez").json() == {"alive": True}  # a query would fail: this test has no database


@pytest.mark.django_db
def test_readyz_waits_for_migrations_and_for_something_to_sell(client, monkeypatch):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["waiting_for"] == ["there are no products: run manage.py seed_shop"]

    product()
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"ready": True, "waiting_for": []})

    health._seen_migrated.cache_clear()
    monkeypatch.setattr("shop.health.MigrationExecutor.migration_plan", lambda *_: ["one"])
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "manage.py migrate" in response.json()["waiting_for"][0]


@pytest.mark.django_db
def test_once_migrated_readyz_costs_one_statement(client, django_assert_num_queries):
    product()
    client.get("/readyz")
    with django_assert_num_queries(1):
        client.get("/readyz")


def test_metrics_are_prometheus_text(client):
    response = client.get("/metrics")
    assert response["Content-Type"].startswith("text/plain")
    assert b"python_info" in response.content
