"""The suite's own promises: a test that is left out fails the run, and BROWSER=0 says what it left out."""

import os
import subprocess
import sys
from pathlib import Path

from shop.env import BASE_DIR

BAD = """
import socket
import pytest

def test_fine():
    pass

@pytest.mark.skip
def test_skipped():
    pass

@pytest.mark.xfail
def test_expected_to_fail():
    assert False

def test_speaks_to_another_address():
    socket.create_connection(("127.0.0.2", 9), timeout=1)

def test_warns():
    import warnings
    warnings.warn("old", DeprecationWarning)
"""


def run_pytest(*words: str | Path, **env: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-q", "-p", "no:cacheprovider", *words],
        cwd=BASE_DIR,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_a_test_that_is_left_out_warns_or_speaks_to_another_address_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_bad.py").write_text(BAD)
    code, lines = run_pytest("-p", "tests.conftest", tmp_path / "test_bad.py")
    assert code == 1
    left_out = [line for line in lines if line.startswith("LEFT OUT")]
    assert [line.partition("::")[2] for line in left_out] == ["test_skipped", "test_expected_to_fail"]
    assert any('A test tried to use socket.socket.connect() with host "127.0.0.2"' in line for line in lines)
    assert any("E       DeprecationWarning: old" in line for line in lines)
    assert lines[-1].startswith("2 failed, 1 passed, 1 skipped, 1 xfailed in")


def test_a_left_out_test_alone_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_skip.py").write_text("import pytest\n\n@pytest.mark.skip\ndef test_skipped():\n    pass\n")
    assert run_pytest("-p", "tests.conftest", tmp_path / "test_skip.py")[0] == 1


def test_without_a_browser_the_workers_do_not_start_and_one_line_says_why() -> None:
    code, lines = run_pytest("tests/stack/test_templates.py", "-n", "2", CHROMIUM="/nothing")
    assert code == 1
    assert any("CHROMIUM=/nothing is no program." in line for line in lines)


def test_browser_0_leaves_the_browser_tests_out_and_says_so_in_its_last_line() -> None:
    code, lines = run_pytest("tests/browser", "tests/stack/test_templates.py", BROWSER="0")
    assert code == 0, lines
    assert lines[-1] == "The browser tests were left out (BROWSER=0)."
