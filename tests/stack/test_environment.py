"""The environment file that `make run` writes, and what wins over it."""

from pathlib import Path

import environ
import pytest

from shop.stack.environment import development_environment, write_environment


def made(state: Path, **given: str) -> dict[str, str]:
    return development_environment(
        state,
        given,
        database_url="postgresql://payonce:x@127.0.0.1:20001/payonce",
        redis_url="redis://127.0.0.1:20002/0",
        broker_url="redis://127.0.0.1:20002/1",
        sandbox_port=8001,
    )


def test_secrets_are_generated_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    first = made(tmp_path)
    assert made(tmp_path) == first
    (tmp_path / "other").mkdir()
    assert made(tmp_path / "other")["SECRET_KEY"] != first["SECRET_KEY"]
    assert (tmp_path / "kept.json").stat().st_mode & 0o777 == 0o600
    write_environment(tmp_path / "env", first)
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600


def test_what_is_given_wins_and_is_not_kept_for_the_next_run(tmp_path: Path) -> None:
    given = made(tmp_path, STRIPE_SECRET_KEY="sk_test_mine", PORT="9000", STAFF_PASSWORD="mine")
    assert given["STRIPE_SECRET_KEY"] == "sk_test_mine"
    assert given["BASE_URL"] == "http://127.0.0.1:9000"
    assert given["STAFF_PASSWORD"] == "mine"
    assert made(tmp_path)["STRIPE_SECRET_KEY"] != "sk_test_mine"


def test_without_a_sandbox_nothing_points_at_one(tmp_path: Path) -> None:
    assert made(tmp_path)["STRIPE_JS_URL"] == "http://127.0.0.1:8001/stripe.js"
    elsewhere = made(tmp_path, STRIPE_API_BASE="https://stripe.example")
    assert elsewhere["STRIPE_API_BASE"] == "https://stripe.example"
    assert "STRIPE_JS_URL" not in elsewhere


def test_the_file_reads_back_as_it_was_and_mail_goes_into_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = made(tmp_path)
    write_environment(tmp_path / "env", values)
    for name in values:
        monkeypatch.delenv(name, raising=False)
    env = environ.Env()
    env.read_env(tmp_path / "env")
    assert {name: env.str(name) for name in values} == values
    assert env.email_url("EMAIL_URL")["EMAIL_FILE_PATH"] == str(tmp_path / "mail")
