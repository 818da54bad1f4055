"""A server that lacks a secret ends by itself, with a line that says which, and nobody starts it for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from shop.env import BASE_DIR, SECRETS
from shop.stack.ports import free_port
from shop.stack.run import beat_command, web_command, worker_command

HANG_SECONDS = 120


def without(missing: str, command: list[str], **more: str) -> tuple[int, str]:
    """Exit code and output. Raises TimeoutExpired, and leaves nothing behind, if it goes on."""
    given = dict.fromkeys(SECRETS, "given") | {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"} | more
    env = {"PATH": "/usr/bin:/bin", "DEBUG": "0"} | {name: worth for name, worth in given.items() if name != missing}
    done = subprocess.run(
        command, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def line_about(missing: str) -> str:
    return f"payonce: set {missing} ({SECRETS[missing]})"


@pytest.mark.parametrize("missing", SECRETS)
@pytest.mark.parametrize("more", [("--workers", "1"), ("--workers", "3"), ("--workers", "3", "--preload")], ids=str)
def test_gunicorn_ends_with_one_line(missing: str, more: tuple[str, ...]) -> None:
    code, output = without(missing, [*web_command(free_port()), *more])
    assert (code, output) == (3, f"{line_about(missing)}\n")


@pytest.mark.parametrize("missing", SECRETS)
@pytest.mark.parametrize("more", [("--workers", "1"), ("--workers", "3"), ("--workers", "3", "--preload")], ids=str)
def test_gunicorn_that_does_not_read_our_configuration_ends_with_its_workers(
    missing: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    """Each worker that was begun says why; its master begins no others. Of several that end at once it makes a mess."""
    (tmp_path / "empty.py").touch()
    code, output = without(missing, [*web_command(free_port()), *more, "--config", str(tmp_path / "empty.py")])
    workers = int(more[1])
    assert code == 3 or (code == 1 and workers > 1)
    assert 1 <= output.count(line_about(missing)) <= workers and output.count("Booting worker") <= workers


@pytest.mark.parametrize("missing", SECRETS)
@pytest.mark.parametrize("command", [worker_command(), beat_command()], ids=["worker", "beat"])
def test_celery_ends_with_one_line(missing: str, command: list[str]) -> None:
    code, output = without(missing, command)
    assert (code, output) == (3, f"{line_about(missing)}\n")


def test_several_missing_secrets_are_named_together() -> None:
    code, output = without("SECRET_KEY", worker_command(), STRIPE_SECRET_KEY="")
    assert (code, output.count("\n")) == (3, 1)
    assert "SECRET_KEY (" in output and "STRIPE_SECRET_KEY (" in output


@pytest.mark.parametrize("name", ["live", "prod", "production", "shop:live", "a shop", "ä", "x" * 41])
@pytest.mark.parametrize(
    "command", [web_command(free_port()), worker_command(), beat_command()], ids=lambda one: one[2]
)
def test_a_name_that_is_not_the_shop_s_alone_is_refused(name: str, command: list[str]) -> None:
    code, output = without("", command, PAYMENT_ENV=name)
    assert (code, output.count("\n")) == (3, 1)
    assert output.startswith("payonce: PAYMENT_ENV")


def test_settings_and_manage_need_no_secret() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); import shop.celery"],
        cwd=BASE_DIR,
        env={"PATH": "/usr/bin:/bin", "DEBUG": "0", "DJANGO_SETTINGS_MODULE": "shop.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
