"""The nudge: a courtesy that never raises and never costs more than half a second."""

import socket
import time

import pytest
from celery import current_app

from shop import nudge as nudging
from shop.nudge import nudge
from shop.redis_pause import end_redis_pause, pause_redis, redis_paused

HALF_A_SECOND = 0.5


@pytest.fixture(autouse=True)
def fresh():
    end_redis_pause()
    nudging._connection.cache_clear()
    yield
    end_redis_pause()
    nudging._connection.cache_clear()


@pytest.fixture
def broker(monkeypatch):
    """Where this process publishes to."""

    def at(url: str) -> None:
        monkeypatch.setattr(current_app.conf, "broker_url", url)
        monkeypatch.setattr(current_app.conf, "broker_write_url", url)
        current_app.amqp  # noqa: B018 - imported before time is measured, as in a running server
        nudge("warm-up")
        end_redis_pause()

    return at


def seconds_of(act) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def test_a_task_reaches_the_broker_by_name_with_its_ids(redis_server, broker):
    broker(redis_server.url(5))
    redis_server.flush()
    nudge("orders.send_mails", "abc")
    with current_app.connection_for_read(redis_server.url(5)) as connection:
        message = connection.SimpleQueue("celery").get(timeout=2)
        message.ack()
    assert message.headers["task"] == "orders.send_mails"
    assert message.payload[0] == ["abc"]
    assert not redis_paused()


@pytest.fixture
def black_hole():
    """Takes connections and answers nobody."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def nudge_often():
    for _ in range(100):
        nudge("orders.send_mails")


def test_a_black_holed_broker_costs_less_than_half_a_second_and_then_nothing(black_hole, broker):
    broker(black_hole)
    assert seconds_of(lambda: nudge("orders.send_mails")) < HALF_A_SECOND
    assert redis_paused()
    assert seconds_of(nudge_often) < 0.05


def test_a_broker_that_takes_no_connection_costs_less_than_half_a_second(broker):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        waiting = []
        for _ in range(4):  # the queue of the listening socket is full
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        broker(f"redis://127.0.0.1:{port}/0")
        assert seconds_of(lambda: nudge("orders.send_mails")) < HALF_A_SECOND
        for client in waiting:
            client.close()
    assert redis_paused()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://no-such-host.invalid:6379/0"])
def test_a_dead_broker_costs_nothing_and_raises_nothing(url, broker, monkeypatch):
    if "invalid" in url:

        def unknown(*args, **kwargs):
            raise socket.gaierror

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    broker(url)
    assert seconds_of(lambda: nudge("orders.send_mails")) < 0.1
    assert redis_paused()


def test_after_a_restart_of_the_broker_the_next_nudge_arrives(redis_server, broker):
    broker(redis_server.url(5))
    redis_server.restart()
    nudge("orders.send_mails", "after")
    assert not redis_paused()
    with current_app.connection_for_read(redis_server.url(5)) as connection:
        message = connection.SimpleQueue("celery").get(timeout=2)
        message.ack()
    assert message.payload[0] == ["after"]


def test_a_frozen_redis_pauses_and_is_asked_again_after_the_pause(redis_server, broker):
    broker(redis_server.url(5))
    redis_server.pause()
    assert seconds_of(lambda: nudge("orders.send_mails")) < HALF_A_SECOND
    assert redis_paused()
    redis_server.resume()
    end_redis_pause()
    nudge("orders.send_mails")
    assert not redis_paused()


def test_the_pause_ends_by_itself_and_is_logged_once(settings, caplog):
    import datetime

    settings.REDIS_PAUSE = datetime.timedelta(seconds=0.05)
    pause_redis(OSError())
    pause_redis(OSError())
    assert redis_paused()
    assert len([record for record in caplog.records if "redis_paused" in record.getMessage()]) == 1
    time.sleep(0.06)
    assert not redis_paused()
