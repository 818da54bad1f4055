"""The nudge: a courtesy that never raises and never costs more than half a second."""

import datetime
import socket
import threading
import time
from contextlib import suppress

import pytest
from celery import current_app

from shop import nudge as nudging
from shop.nudge import nudge
from shop.redis_pause import end_redis_pause, pause_redis, redis_paused


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

    return at


def nudge_in_time() -> None:
    """Without its time-outs a nudge waits for ever. Half a minute is what a busy machine may need."""
    nudging_thread = threading.Thread(target=nudge, args=("orders.send_mails",), daemon=True)
    nudging_thread.start()
    nudging_thread.join(30)
    assert not nudging_thread.is_alive()


def test_a_task_reaches_the_broker_by_name_with_its_ids(redis_server, broker):
    broker(redis_server.url(5))
    redis_server.flush()
    nudge("orders.send_mails", "abc")
    with current_app.connection_for_read(redis_server.url(5)) as connection:
        message = connection.SimpleQueue("celery").get(timeout=30)
        message.ack()
    assert message.headers["task"] == "orders.send_mails"
    assert message.payload[0] == ["abc"]
    assert not redis_paused()


@pytest.fixture
def black_hole():
    """Takes connections and answers nobody."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        listening.setblocking(False)
        yield listening


def callers(listening) -> int:
    """How many have connected since it was last asked."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            count += 1
    return count


def test_its_time_outs_stay_within_half_a_second():
    hurry = nudging._connection().transport_options
    assert hurry is not None
    assert hurry["socket_connect_timeout"] + hurry["socket_timeout"] <= 0.5
    assert (hurry["retry_on_timeout"], hurry["max_retries"]) == (False, 0)


def test_a_black_holed_broker_is_given_up_and_then_left_alone(black_hole, broker):
    broker(f"redis://127.0.0.1:{black_hole.getsockname()[1]}/0")
    nudge_in_time()
    assert redis_paused()
    assert callers(black_hole) > 0
    pause_redis(OSError())  # anew: it is not to end in the middle
    for _ in range(100):
        nudge("orders.send_mails")
    assert callers(black_hole) == 0


def test_a_broker_that_takes_no_connection_is_given_up(broker):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        port = listening.getsockname()[1]
        waiting = []
        for _ in range(4):  # the queue of the listening socket is full
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        broker(f"redis://127.0.0.1:{port}/0")
        nudge_in_time()
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
    nudge_in_time()
    assert redis_paused()


def test_after_a_restart_of_the_broker_the_next_nudge_arrives(redis_server, broker):
    broker(redis_server.url(5))
    redis_server.restart()
    nudge("orders.send_mails", "after")
    assert not redis_paused()
    with current_app.connection_for_read(redis_server.url(5)) as connection:
        message = connection.SimpleQueue("celery").get(timeout=30)
        message.ack()
    assert message.payload[0] == ["after"]


def test_a_frozen_redis_pauses_and_is_asked_again_after_the_pause(redis_server, broker):
    broker(redis_server.url(5))
    redis_server.pause()
    nudge_in_time()
    assert redis_paused()
    redis_server.resume()
    end_redis_pause()
    nudge("orders.send_mails")
    assert not redis_paused()


def test_a_pause_is_logged_once(caplog):
    pause_redis(OSError())
    pause_redis(OSError())
    assert redis_paused()
    assert len([record for record in caplog.records if "redis_paused" in record.getMessage()]) == 1


def test_a_pause_ends_by_itself(settings):
    settings.REDIS_PAUSE = datetime.timedelta(seconds=0.05)
    pause_redis(OSError())
    time.sleep(0.06)
    assert not redis_paused()
