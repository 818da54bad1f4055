"""/healthz/payments turns red when something stays undecided for too long."""

import datetime

import pytest
from django.test import Client
from django.utils import timezone

from payments.models import Attempt, Break
from tests.orders.making import make_attempt, make_order

pytestmark = pytest.mark.django_db(transaction=True)


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
