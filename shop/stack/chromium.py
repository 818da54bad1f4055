"""A Chromium for the browser tests: the machine's own, else Playwright's, else Debian's package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from shop.stack import Refusal

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> Path:
    """Install one if there is none; refuse with one line if none can be had."""
    if given := os.environ.get("CHROMIUM"):
        if not shutil.which(given):
            raise Refusal(f"CHROMIUM={given} is no program.")
        return Path(given)
    return _on_the_path() or _playwrights_own() or _debians_package() or _none()


def _on_the_path() -> Path | None:
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)


def _playwrights_own() -> Path | None:
    with sync_playwright() as playwright:
        program = Path(playwright.chromium.executable_path)
    if not program.exists():
        _run(sys.executable, "-m", "playwright", "install", "chromium")
    return program if program.exists() else None


def _debians_package() -> Path | None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    install = ("apt-get", "install", "--yes", "--no-install-recommends", "chromium")
    if not _run(*install):  # the lists may be missing or old
        _run("apt-get", "update")
        _run(*install)
    return _on_the_path()


def _run(*command: str) -> bool:
    print(f"{' '.join(command[-3:])} ...", flush=True)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _none() -> Path:
    raise Refusal(
        "No browser for the browser tests: install Chromium (Debian: apt-get install chromium) or set CHROMIUM to one;"
        " `make test BROWSER=0` leaves them out."
    )
