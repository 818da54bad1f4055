"""Where `make test` finds its browser, and the one line when there is none."""

import os
from pathlib import Path

import pytest

from shop.stack import Refusal, chromium


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH. No CHROMIUM, and Playwright has nothing to download."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def program(file: Path, text: str = "") -> Path:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_a_given_one_comes_before_the_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_path = program(path / "google-chrome")
    assert chromium.find() == on_the_path
    given = program(path / "mine")
    monkeypatch.setenv("CHROMIUM", str(given))
    assert chromium.find() == given
    monkeypatch.setenv("CHROMIUM", str(path / "nothing"))
    with pytest.raises(Refusal, match=r"CHROMIUM=.*nothing is no program\.$"):
        chromium.find()


def test_playwrights_comes_before_debians(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "apt-get", f": > {path}/asked")
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: path / "playwrights")
    assert chromium.find() == path / "playwrights"
    assert not (path / "asked").exists()


def test_root_on_debian_installs_the_package_with_fresh_lists_if_need_be(path: Path) -> None:
    program(
        path / "apt-get",
        f'echo "$*" >> {path}/asked\n[ "$1" = update ] && : > {path}/fresh && exit 0\n'
        f"[ -e {path}/fresh ] || exit 100\n: > {path}/chromium; /bin/chmod 755 {path}/chromium",
    )
    assert chromium.find() == path / "chromium"
    install = "install --yes --no-install-recommends chromium"
    assert (path / "asked").read_text().splitlines() == [install, "update", install]


def test_without_any_one_line_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "apt-get", f": > {path}/asked")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refusal) as refused:
        chromium.find()
    assert "install Chromium (Debian: apt-get install chromium) or set CHROMIUM" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (path / "asked").exists()  # only root may install
