"""/healthz/payments turns red when something stays undecided for too long, or when repair has stopped."""

import datetime
import importlib

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from payments import tasks
from payments.models import Attempt, Break, Heartbeat
from payments.monitoring.heartbeats import beat, beats
from tests.book import Book
from tests.orders.making import make_attempt, make_order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _forget_the_migrations_heartbeats() -> None:
    Heartbeat.objects.all().delete()


def test_a_shop_without_doubts_is_healthy(client: Client) -> None:
    make_attempt(make_order(), "succeeded")
    answer = client.get("/healthz/payments")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_an_attempt_undecided_for_twenty_minutes_is_red(client: Client) -> None:
    attempt = make_attempt(make_order(), "unknown")
    assert client.get("/healthz/payments").status_code == 200
    Attempt.objects.filter(pk=attempt.pk).update(claimed_at=timezone.now() - datetime.timedelta(minutes=20))
    answer = client.get("/healthz/payments")
    assert answer.status_code == 503
    assert answer.json()["oldest_undecided_seconds"] >= 1200


def test_an_open_break_is_red(client: Client) -> None:
    Break.objects.create(kind=Break.Kind.AMOUNT, subject="pi_1")
    answer = client.get("/healthz/payments")
    assert (answer.status_code, answer.json()["open_breaks"]) == (503, 1)
    assert answer.json()["runbook"] == ["open-break-amount"]


@pytest.mark.parametrize(("name", "minutes"), [("completer", 5), ("events", 5), ("sweep", 30), ("long_sweep", 36 * 60)])
def test_a_repair_that_stopped_is_red(client: Client, name: str, minutes: int) -> None:
    for one in Heartbeat.Name:
        beat(one)
    row = Heartbeat.objects.filter(name=name)
    row.update(beat_at=timezone.now() - datetime.timedelta(minutes=minutes - 1))
    answer = client.get("/healthz/payments")
    assert (answer.status_code, answer.json()["stopped"]) == (200, [])
    row.update(beat_at=timezone.now() - datetime.timedelta(minutes=minutes + 1))
    answer = client.get("/healthz/payments")
    assert (answer.status_code, answer.json()["stopped"]) == (503, [name])
    assert answer.json()["heartbeat_seconds"][name] >= 60 * minutes


def test_a_fresh_install_is_green_and_one_whose_worker_never_ran_is_not(client: Client) -> None:
    """The migration makes the first heartbeats."""
    migration = importlib.import_module("payments.migrations.0005_one_row_per_dispute")
    with connection.cursor() as cursor:
        cursor.execute(migration.FIRST_BEATS)
    assert {row.name for row in Heartbeat.objects.all()} == set(Heartbeat.Name.values)
    assert not any(one.has_beaten for one in beats().values())
    assert client.get("/healthz/payments").status_code == 200
    Heartbeat.objects.update(beat_at=timezone.now() - datetime.timedelta(minutes=6))
    assert client.get("/healthz/payments").json()["stopped"] == ["completer", "events"]


def test_the_tasks_leave_their_heartbeats(book: Book, client: Client) -> None:
    tasks.complete_due()
    tasks.read_events()
    tasks.sweep_due()
    ages = client.get("/healthz/payments").json()["heartbeat_seconds"]
    assert set(ages) == {"completer", "events", "sweep", "long_sweep"}
    assert max(ages.values()) <= 10
    assert all(one.has_beaten for one in beats().values())
