"""Sets up `.venv/` from requirements.lock, on a machine with nothing but Python, make and a package index.

Standard library only, and run as a file (`python3 -I shop/stack/setup.py`): nothing is installed yet. Every package is
checked against the hash in the lock. A second run finds its stamp and is done at once.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOCK = os.path.join(ROOT, "requirements.lock")
VENV = os.path.join(ROOT, ".venv")
STATE = os.path.join(ROOT, ".state")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "requirements.stamp")
OLDEST = (3, 11)


def main() -> int:
    if sys.version_info < OLDEST:
        return _with_newer_python()
    if _is_set_up():
        return 0
    os.makedirs(STATE, exist_ok=True)
    with open(os.path.join(STATE, "setup.lock"), "w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        return 0 if _is_set_up() else _set_up()


def _is_set_up() -> bool:
    return os.path.exists(VENV_PYTHON) and _read(STAMP) == _lock_hash()


def _set_up() -> int:
    started = time.monotonic()
    installed = _lock_hash()
    try:
        uv = _make_venv()
        _install(uv)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    with open(STAMP, "w") as stamp:
        stamp.write(installed)
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)
    return 0


class Failed(Exception):
    """One line that says what to do."""


def _with_newer_python() -> int:
    for minor in range(15, OLDEST[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, "-I", os.path.abspath(__file__)])
    have = ".".join(map(str, sys.version_info[:2]))
    print(f"Python 3.11 or newer is needed, and this is {have}: `make PYTHON=/path/to/python3.11`.", file=sys.stderr)
    return 1


def _make_venv() -> "list[str]":
    """Make the environment; return the command of a uv that can install into it, or nothing."""
    uv = shutil.which("uv")
    if not os.path.exists(VENV_PYTHON):
        print(f"Making .venv with Python {sys.version.split()[0]} ...", flush=True)
        if uv:
            _run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, VENV])
        elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
            _run([sys.executable, "-m", "venv", "--clear", VENV])
        else:
            package = f"python3.{sys.version_info[1]}-venv"
            raise Failed(f"This Python makes no environments: install Debian's {package}, or put uv on the PATH.")
    if uv:
        return [uv]
    return _own_uv()


def _own_uv() -> "list[str]":
    """The uv that the lock names, installed by pip into the environment. None fits this machine: pip does it all."""
    with open(LOCK) as lock:
        pinned = re.search(r"^uv==(?:.*\\\n)*.*\n", lock.read(), re.MULTILINE)
    if not pinned:
        return []
    print("Installing uv, which installs the rest ...", flush=True)
    only_uv = os.path.join(VENV, "uv.lock")
    with open(only_uv, "w") as file:
        file.write(pinned[0])
    done = subprocess.run([*_pip(), "--only-binary=:all:", "-r", only_uv], stderr=subprocess.DEVNULL)
    return [VENV_PYTHON, "-m", "uv"] if done.returncode == 0 else []


def _install(uv: "list[str]") -> None:
    with open(LOCK) as lock:
        count = len(re.findall(r"^\S+==", lock.read(), re.MULTILINE))
    print(f"Installing {count} locked packages into .venv (a minute or so, once) ...", flush=True)
    if uv:
        options = ["--quiet", "--require-hashes", "--python", VENV_PYTHON, "-r", LOCK]
        if subprocess.run([*uv, "pip", "install", *options]).returncode == 0:
            return
        print("uv could not; trying pip ...", flush=True)
        if not os.path.exists(os.path.join(VENV, "bin", "pip")):
            raise Failed("The packages could not be installed: see above. Is the package index reachable?")
    _run([*_pip(), "-r", LOCK])


def _pip() -> "list[str]":
    return [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]


def _run(command: "list[str]") -> None:
    code = subprocess.run(command).returncode
    if code != 0:
        raise Failed(f"This failed with exit code {code}: {' '.join(command)}")


def _lock_hash() -> str:
    with open(LOCK, "rb") as lock:
        return hashlib.sha256(lock.read()).hexdigest()


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
