"""PostgreSQL down, and bugs: a calm page for people, a problem for machines, in development as in production."""

import pytest
from django.db import OperationalError, connection
from django.test import Client, override_settings

from tests.shop.making import product, put


@pytest.fixture
def calm() -> Client:
    """A client that takes the answer, as a browser does, and does not raise the view's error in the test."""
    return Client(raise_request_exception=False)


@pytest.mark.django_db(transaction=True)
def test_while_postgresql_is_down_pages_and_api_say_so_and_then_go_on(calm, postgres):
    product()
    put(calm, "PEN", 1)
    connection.close()
    postgres.stop()

    page = calm.get("/cart/")
    assert page.status_code == 503
    assert page["Retry-After"] == "5"
    assert "We will be back in a moment" in page.content.decode()
    for answer in (calm.get("/api/cart/"), put(calm, "PEN", 2)):
        assert answer.status_code == 503
        assert answer["Retry-After"] == "2"
        assert answer.json()["type"] == "/problems/unavailable"
        assert answer.json()["retry"] == "same-key"
    assert calm.get("/livez").status_code == 200
    assert calm.get("/readyz").status_code == 503

    postgres.restart()
    assert calm.get("/cart/").status_code == 200
    assert calm.get("/api/cart/").json()["items"][0]["quantity"] == 1


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
def test_a_bug_in_a_page_is_our_page_with_a_request_id_and_no_inside_knowledge(calm, monkeypatch, debug):
    def broken(*_, **__):
        raise ZeroDivisionError("the secret inside")

    monkeypatch.setattr("shop.pages.Product.objects.filter", broken)
    with override_settings(DEBUG=debug):
        response = calm.get("/")
    page = response.content.decode()
    assert response.status_code == 500
    assert "Something went wrong here" in page
    assert "please quote" in page
    assert "secret inside" not in page
    assert "ZeroDivisionError" not in page


@pytest.mark.django_db
def test_a_bug_in_the_api_is_a_problem_that_may_be_sent_again(calm, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("the secret inside")

    monkeypatch.setattr("shop.catalogue_api.Product.objects.filter", broken)
    response = calm.get("/api/products/")
    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == "/problems/internal-error"
    assert response.json()["retry"] == "same-key"
    assert "secret inside" not in response.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "content_type"), [("/", "text/html; charset=utf-8"), ("/api/cart/", "application/problem+json")]
)
def test_an_error_while_the_session_is_loaded_is_answered_too(calm, monkeypatch, path, content_type):
    product()
    put(calm, "PEN", 1)

    def down(*_):
        raise OperationalError

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", down)
    with override_settings(DEBUG=True):
        response = calm.get(path)
    assert response.status_code == 503
    assert response["Content-Type"] == content_type


@pytest.mark.django_db
def test_an_error_while_the_session_is_saved_is_answered_too(calm, monkeypatch):
    product()

    def down(*_, **__):
        raise OperationalError

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.save", down)
    assert put(calm, "PEN", 1).status_code == 503
    assert calm.post("/cart/add/", {"sku": "PEN", "quantity": "1"}).status_code == 503
