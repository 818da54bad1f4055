"""Wrong passwords: who guesses has to wait, and the account's owner elsewhere does not (SECURITY SE36)."""

import re
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.shop.making import PASSWORD, user

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
LOG_IN, ADMIN = "/account/log-in/", "/admin/login/"


def try_to_log_in(
    password: str, name: str = "ada@example.com", address: str = HERE, path: str = LOG_IN, **more: Any
) -> Any:
    return Client(REMOTE_ADDR=address).post(path, {"username": name, "password": password}, **more)


def fail(times: int, **more: Any) -> list[int]:
    return [try_to_log_in("wrong", **more).status_code for _ in range(times)]


@pytest.fixture(autouse=True)
def ada() -> Any:
    ada = user()
    ada.is_staff = True
    ada.save(update_fields=["is_staff"])
    return ada


@pytest.mark.parametrize(("path", "refused", "entered"), [(LOG_IN, 422, 303), (ADMIN, 200, 302)])
def test_after_five_wrong_passwords_even_the_right_one_waits_and_elsewhere_it_does_not(path, refused, entered):
    assert fail(5, path=path) == [refused] * 4 + [429]
    answer = try_to_log_in(PASSWORD, path=path)
    assert (answer.status_code, answer["Retry-After"], answer["Cache-Control"]) == (429, "900", "no-store")
    assert "_auth_user_id" not in answer.client.session
    assert "in 15 minutes" in answer.content.decode()
    assert try_to_log_in(PASSWORD, path=path, address=ELSEWHERE).status_code == entered


def test_the_two_log_in_pages_count_together():
    assert fail(3) + fail(2, path=ADMIN) == [422, 422, 422, 200, 429]
    assert try_to_log_in(PASSWORD).status_code == 429


def test_a_right_and_a_wrong_name_get_the_same_answer_before_and_after():
    pages: dict[str, list[Any]] = {"ada@example.com": [], "bob@example.com": []}
    for name, seen in pages.items():
        for _ in range(6):
            answer = try_to_log_in("wrong", name)
            text = re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", answer.content.decode())
            seen.append((answer.status_code, answer.headers.get("Retry-After"), text.replace(name, "NAME")))
    assert pages["ada@example.com"] == pages["bob@example.com"]


def test_capitals_another_browser_and_a_spoofed_address_make_no_new_tries():
    fail(1)
    fail(1, name="ADA@example.com", path=ADMIN)
    fail(1, headers={"User-Agent": "another"})
    fail(1, headers={"X-Forwarded-For": "203.0.113.9"})
    assert fail(1) == [429]


def test_behind_our_proxy_the_address_is_the_one_that_it_has_seen(settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for number in range(5):
        fail(1, headers={"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"})
    answers = [
        try_to_log_in(PASSWORD, headers={"X-Forwarded-For": f"203.0.113.1, {seen}"}).status_code
        for seen in ("198.51.100.7", "198.51.100.8")
    ]
    assert answers == [429, 303]


def test_one_household_of_ipv6_is_one_address():
    for host in range(5):
        fail(1, address=f"2001:db8:1:2::{host}")
    assert try_to_log_in(PASSWORD, address="2001:db8:1:2:ffff::1").status_code == 429
    assert try_to_log_in(PASSWORD, address="2001:db8:1:3::1").status_code == 303


def test_who_tries_many_accounts_waits_with_all_of_them(settings):
    settings.LOG_IN_FAILURES_OF_ADDRESS = 10
    codes = [fail(1, name=f"somebody{number}@example.com")[0] for number in range(10)]
    assert codes == [422] * 9 + [429]
    assert try_to_log_in(PASSWORD).status_code == 429
    assert try_to_log_in(PASSWORD, address=ELSEWHERE).status_code == 303
    rows = AccessAttempt.objects.count()
    fail(5, name="one-more@example.com")
    assert AccessAttempt.objects.count() == rows  # who is locked out fills no table


def test_a_log_in_forgives_its_own_failures_and_nobody_elses(settings):
    user("mallory@example.com")
    fail(4)
    fail(4, name="mallory@example.com")
    assert try_to_log_in(PASSWORD, "mallory@example.com").status_code == 303
    assert fail(4, name="mallory@example.com") == [422] * 4
    assert try_to_log_in("wrong").status_code == 429
    assert AccessLog.objects.count() == 0


def test_after_a_quarter_of_an_hour_it_is_open_again_and_trying_meanwhile_does_not_prolong_it():
    fail(5)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14))
    assert try_to_log_in(PASSWORD).status_code == 429
    AccessAttempt.objects.update(
        attempt_time=AccessAttempt.objects.get().attempt_time - timedelta(minutes=1, seconds=1)
    )
    assert try_to_log_in(PASSWORD).status_code == 303
    assert AccessAttempt.objects.count() == 0


def test_a_new_password_opens_the_door_again(client):
    fail(5)
    client.post("/account/password-reset/", {"email": "ada@example.com"})
    [link] = re.findall(r"https?://[^/]+(\S+)", str(mail.outbox[0].body))
    client.post(client.get(link)["Location"], dict.fromkeys(("new_password1", "new_password2"), "quite another one"))
    assert try_to_log_in("quite another one").status_code == 303


def test_a_script_reads_a_problem():
    fail(4)
    answer = try_to_log_in("wrong", headers={"Accept": "application/json"})
    assert (answer.status_code, answer["Content-Type"]) == (429, "application/problem+json")
    assert (answer.json()["type"], answer["Retry-After"]) == ("/problems/throttled", "900")


@pytest.mark.parametrize("name", ["x" * 5000, "a\x00b", "", "é" * 300])
def test_a_strange_name_is_only_a_wrong_one(name):
    assert try_to_log_in("wrong", name).status_code == 422
    assert try_to_log_in("wrong", name, path=ADMIN).status_code == 200


def test_neither_password_nor_token_is_kept():
    Client(REMOTE_ADDR=HERE).post(
        LOG_IN, {"username": "ada@example.com", "password": "a secret", "csrfmiddlewaretoken": "a token"}
    )
    assert not re.search("a secret|a token", AccessAttempt.objects.get().post_data)


def test_nothing_of_it_is_asked_for_once_somebody_is_logged_in(client):
    client.force_login(user("bob@example.com"))
    with CaptureQueriesContext(connection) as asked:
        assert client.get("/account/orders/").status_code == 200
        assert client.get("/").status_code == 200
    assert not [query for query in asked if "axes" in query["sql"] or "otp" in query["sql"]]
