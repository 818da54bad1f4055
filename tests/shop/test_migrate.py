"""`manage.py migrate` gives the role its time-outs, and the check asks a fresh connection for them (RULES R39)."""

import pytest
from django.core.management import call_command
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connection

from shop.checks import check_database

TIMEOUTS = {"lock_timeout": "2s", "statement_timeout": "5s", "idle_in_transaction_session_timeout": "10s"}


def shown(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


@pytest.mark.django_db
def test_a_web_requests_connection_has_its_time_outs():
    assert {name: shown(name) for name in TIMEOUTS} == TIMEOUTS
    assert shown("synchronous_commit") == "on"
    assert check_database(databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("setting", "value"), [("lock_timeout", "0"), ("statement_timeout", "1min"), ("synchronous_commit", "off")]
)
def test_the_check_finds_an_unsafe_setting_and_migrate_mends_it(setting, value):
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER ROLE CURRENT_USER IN DATABASE \"{name}\" SET {setting} = '{value}'")
    [error] = check_database(databases=["default"])
    assert error.id == "shop.E004"
    assert setting in error.msg
    assert "manage.py migrate" in str(error.hint)

    call_command("migrate", verbosity=0)
    assert check_database(databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
def test_migrate_itself_waits_as_long_as_it_needs_and_leaves_no_such_connection_behind(monkeypatch):
    inside = {}

    def look(*_, **__):
        inside.update({name: shown(name) for name in TIMEOUTS})

    monkeypatch.setattr(DjangoMigrate, "execute", look)
    call_command("migrate", verbosity=0)
    assert inside == dict.fromkeys(TIMEOUTS, "0")
    assert {name: shown(name) for name in TIMEOUTS} == TIMEOUTS


@pytest.mark.django_db
def test_the_check_refuses_atomic_requests(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert [error.id for error in check_database(databases=["default"])] == ["shop.E001"]


@pytest.mark.django_db
def test_the_check_refuses_an_old_server(monkeypatch):
    monkeypatch.setattr("shop.checks.POSTGRESQL_LEAST", 990_000)
    assert [error.id for error in check_database(databases=["default"])] == ["shop.E003"]


@pytest.mark.django_db
def test_nothing_is_asked_when_no_database_is_named():
    assert check_database() == []


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration():
    call_command("makemigrations", "shop", check=True, dry_run=True, verbosity=0)
