"""Register, log in, log out, a new password."""

import re

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import OperationalError
from django.test import Client

from tests.shop.making import PASSWORD, held, log_in, product, put, user

pytestmark = pytest.mark.django_db


def test_log_in_changes_the_session_id_and_the_old_one_is_dead(client):
    product()
    put(client, "PEN", 1)
    before = client.cookies["sessionid"].value
    user()
    response = log_in(client)
    assert (response.status_code, response["Location"]) == (303, "/account/orders/")
    assert client.cookies["sessionid"].value != before
    assert not Session.objects.filter(session_key=before).exists()
    assert held(client) == {"PEN": 1}


def test_the_csrf_token_changes_at_log_in(client):
    user()
    before = client.get("/account/log-in/").cookies["csrftoken"].value
    assert log_in(client).cookies["csrftoken"].value != before


def test_every_hook_hears_of_a_log_in_with_the_guest_id(client, settings, monkeypatch):
    heard = []
    monkeypatch.setattr("shop.guests.hook", lambda request, who, guest: heard.append((who, guest)), raising=False)
    settings.AT_LOG_IN = ["shop.guests.hook"]
    session = client.session
    session["guest_id"] = "the-guest"
    session.save()
    ada = user()
    log_in(client)
    assert heard == [(ada, "the-guest")]
    assert client.session["guest_id"] == "the-guest"


def test_a_hook_that_fails_leaves_the_guest_as_it_was(client, settings, monkeypatch):
    def fail(request, who, guest):
        raise OperationalError

    monkeypatch.setattr("shop.guests.hook", fail, raising=False)
    settings.AT_LOG_IN = ["shop.guests.hook"]
    product()
    put(client, "PEN", 1)
    user()
    client.raise_request_exception = False
    assert log_in(client).status_code == 503
    assert "_auth_user_id" not in client.session
    assert held(client) == {"PEN": 1}


def test_a_wrong_password_and_an_unknown_address_get_the_same_page(client):
    user()
    answers = []
    for email, password in (("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD)):
        response = log_in(client, email, password)
        assert response.status_code == 422
        answers.append(re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", response.content.decode()))
    assert answers[0].replace("ada@", "nobody@") == answers[1]
    assert "do not belong together" in answers[0]
    assert "_auth_user_id" not in client.session


def test_capitals_in_the_address_do_not_matter(client):
    user()
    assert log_in(client, "Ada@Example.COM").status_code == 303


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:///evil.example"],
)
def test_log_in_never_leads_elsewhere(client, target):
    user()
    assert log_in(client, next=target)["Location"] == "/account/orders/"


def test_log_in_leads_back_to_where_the_shopper_was(client):
    user()
    assert log_in(client, next="/checkout/")["Location"] == "/checkout/"


def test_log_out_ends_the_session_and_only_by_post(client):
    product()
    user()
    log_in(client)
    put(client, "PEN", 1)
    key = client.cookies["sessionid"].value
    assert client.get("/account/log-out/").status_code == 405
    response = client.post("/account/log-out/")
    assert (response.status_code, response["Location"]) == (303, "/")
    assert not Session.objects.filter(session_key=key).exists()
    assert held(client) == {}


def test_registering_logs_in_and_keeps_the_cart(client):
    product()
    put(client, "PEN", 2)
    response = client.post("/account/register/", {"email": "Ada@Example.com", "password": PASSWORD})
    assert response.status_code == 303
    assert User.objects.get().username == "ada@example.com"
    assert held(client) == {"PEN": 2}
    assert not User.objects.get().is_staff


def test_registering_twice_makes_one_account_and_changes_no_password(client):
    user()
    response = client.post("/account/register/", {"email": "ADA@example.com", "password": "another long password"})
    assert response.status_code == 422
    assert "log in or ask for a new password" in response.content.decode()
    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.parametrize("password", ["short", "1234567890", "", "ada@example.com"])
def test_a_weak_password_opens_no_account(client, password):
    response = client.post("/account/register/", {"email": "ada@example.com", "password": password})
    assert response.status_code == 422
    assert "There is a problem" in response.content.decode()
    assert User.objects.count() == 0


def test_a_new_password_gets_the_same_answer_for_a_known_and_an_unknown_address(client):
    user()
    pages = []
    for email in ("ada@example.com", "nobody@example.com"):
        response = client.post("/account/password-reset/", {"email": email})
        assert (response.status_code, response["Location"]) == (303, "/account/password-reset/sent/")
        pages.append(client.get(response["Location"]).content)
    assert pages[0] == pages[1]
    assert [sent.to for sent in mail.outbox] == [["ada@example.com"]]


def test_the_link_in_the_mail_is_ours_works_once_and_ends_other_sessions(client, settings):
    settings.ALLOWED_HOSTS = ["*"]
    user()
    phone = Client()
    log_in(phone)
    client.post("/account/password-reset/", {"email": "ada@example.com"}, headers={"Host": "evil.example"})
    [link] = re.findall(r"https?://\S+", str(mail.outbox[0].body))
    assert link.startswith(f"{settings.BASE_URL}/account/password-reset/")
    path = link.removeprefix(settings.BASE_URL)

    form = client.get(path)["Location"]
    assert path.split("/")[-2] not in form  # the token is no longer in the address
    words = {"new_password1": "quite another password", "new_password2": "quite another password"}
    assert client.post(form, words).status_code == 303
    assert User.objects.get().check_password("quite another password")

    assert "This link is used up" in Client().get(path).content.decode()
    assert 'href="/account/log-in/"' in phone.get("/").content.decode()
