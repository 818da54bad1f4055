"""The bootstrap: `make setup` on a machine where nothing is installed. No package index is asked here."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shop.env import BASE_DIR

PACKAGE = "somepackage==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project folder with the bootstrap, a lock of one package, and a PATH without uv."""
    (tmp_path / "shop" / "stack").mkdir(parents=True)
    shutil.copy(BASE_DIR / "shop" / "stack" / "setup.py", tmp_path / "shop" / "stack")
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").write_text(PACKAGE)
    (tmp_path / "bin").mkdir()
    for program in ("make", "sh"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or "")
    return tmp_path


def set_up(clone: Path, python: str | Path = sys.executable) -> tuple[int, str]:
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"],
        cwd=clone,
        env={"PATH": str(clone / "bin"), "HOME": str(clone)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def fake_uv(clone: Path, exit_code: int = 0) -> Path:
    """A uv that writes down what it is asked and makes an environment of a kind."""
    asked = clone / "asked"
    uv = clone / "bin" / "uv"
    uv.write_text(
        f'#!/bin/sh\necho "$@" >> {asked}\nPATH=/usr/bin:/bin\n'
        f'case "$1" in venv) mkdir -p .venv/bin && : > .venv/bin/python;; *) exit {exit_code};; esac\n'
    )
    uv.chmod(0o755)
    return asked


def test_uv_on_the_path_installs_exactly_the_lock_with_hashes(clone: Path) -> None:
    asked = fake_uv(clone)
    code, output = set_up(clone)
    assert code == 0, output
    make, install = asked.read_text().splitlines()
    assert make.startswith("venv ")
    assert "--require-hashes" in install
    assert install.endswith(f"-r {clone}/requirements.lock")
    assert "Making .venv" in output
    assert "Installing 1 locked packages" in output


def test_a_second_run_does_nothing_and_a_changed_lock_installs_again(clone: Path) -> None:
    asked = fake_uv(clone)
    assert set_up(clone)[0] == 0
    assert set_up(clone) == (0, "")
    assert len(asked.read_text().splitlines()) == 2
    (clone / "requirements.lock").write_text(PACKAGE.replace("1.0", "1.1"))
    assert set_up(clone)[0] == 0
    assert len(asked.read_text().splitlines()) == 3  # the environment stays, its packages change


def test_a_failed_install_says_so_and_leaves_no_stamp(clone: Path) -> None:
    asked = fake_uv(clone, exit_code=3)
    code, output = set_up(clone)
    assert code != 0
    assert "The packages could not be installed" in output
    assert not (clone / ".venv" / "requirements.stamp").exists()
    fake_uv(clone)
    assert set_up(clone)[0] == 0
    assert len(asked.read_text().splitlines()) == 3
    wanted = hashlib.sha256((clone / "requirements.lock").read_bytes()).hexdigest()
    assert (clone / ".venv" / "requirements.stamp").read_text() == wanted


def test_a_python_without_venv_gets_one_line_that_names_the_package(clone: Path) -> None:
    crippled = python_with(clone, "import importlib.util; importlib.util.find_spec = lambda name: None")
    code, output = set_up(clone, crippled)
    assert code != 0
    version = f"python3.{sys.version_info[1]}-venv"
    assert f"This Python makes no environments: install Debian's {version}, or put uv on the PATH.\n" in output


def test_an_old_python_gets_one_line_and_a_newer_one_on_the_path_is_taken(clone: Path) -> None:
    old = python_with(clone, "import sys; sys.version_info = (3, 9, 2)")
    code, output = set_up(clone, old)
    assert code != 0
    assert output.splitlines()[0].startswith("Python 3.11 or newer is needed, and this is 3.9")
    fake_uv(clone)
    (clone / "bin" / "python3.12").symlink_to(sys.executable)
    code, output = set_up(clone, old)
    assert code == 0, output


def python_with(clone: Path, first: str) -> Path:
    """A Python that runs a line of ours before the program it is given."""
    program = clone / "python"
    line = f"{first}; import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    program.write_text(f'#!/bin/sh\n[ "$1" = -I ] && shift\nexec {sys.executable} -c "{line}" "$@"\n')
    program.chmod(0o755)
    return program


def test_the_lock_has_a_hash_for_every_package_and_no_address() -> None:
    text = (BASE_DIR / "requirements.lock").read_text()
    assert "://" not in text
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE | re.IGNORECASE)[1:]
    assert len(packages) > 50
    assert [package for package in packages if "--hash=sha256:" not in package] == []
