"""/metrics says how many requests each layer stopped; counting writes nothing."""

import pytest
from django.test import Client

from tests.book import Book
from tests.payments.paying import placed_order, press

pytestmark = pytest.mark.django_db(transaction=True)


def _counted(name: str) -> float:
    lines = Client().get("/metrics").content.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_a_replay_a_rival_and_a_reused_key_are_counted(book: Book) -> None:
    layer_2 = 'payonce_duplicates_prevented_total{layer="2"}'
    layer_3 = 'payonce_duplicates_prevented_total{layer="3"}'
    reused = "payonce_idempotency_key_reused_total"
    before = [_counted(name) for name in (layer_2, layer_3, reused)]
    order, client = placed_order()
    key = order.pay_key
    press(client, order, key, token="pm_card_threeDSecure2Required")
    press(client, order, "another-key")
    press(client, order, key, token="pm_card_visa")
    paid, paid_client = placed_order()
    key = paid.pay_key
    press(paid_client, paid, key)
    press(paid_client, paid, key)
    after = [_counted(name) for name in (layer_2, layer_3, reused)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]


def test_json_nested_too_deeply_is_a_clear_error(book: Book) -> None:
    order, client = placed_order()
    answer = client.post(
        f"/api/orders/{order.pk}/payments/",
        "[" * 8000 + "]" * 8000,
        content_type="application/json",
        headers={"Idempotency-Key": "k"},
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/validation-failed")
