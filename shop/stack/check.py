"""`make check`: what must hold before the tests are worth running. Every step runs: one run shows everything."""

import os
import subprocess
import sys
from pathlib import Path

from shop.env import BASE_DIR

BIN = Path(sys.executable).parent


def steps() -> dict[str, list[str | Path]]:
    templates = sorted((BASE_DIR / "templates").rglob("*.html"))
    return {
        "ruff": [BIN / "ruff", "check"],
        "format": [BIN / "ruff", "format", "--check"],
        "mypy": [BIN / "mypy"],
        "imports": [BIN / "lint-imports"],
        "migrations": [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
        "templates": [sys.executable, "-m", "shop.stack.templates"],
        "djade": [BIN / "djade", "--check", "--target-version", "5.2", *templates],
    }


def main() -> int:
    failed = []
    for name, command in steps().items():
        print(f"{name} ... ", end="", flush=True)
        # As in development, and without what `make run` may have written: the result is that of a fresh clone.
        env = os.environ | {"DEBUG": "1", "PAYONCE_STATE": os.devnull, "PYTHONWARNINGS": "ignore::RuntimeWarning"}
        done = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)
        print("failed" if done.returncode else "ok", flush=True)
        if done.returncode:
            print(done.stdout, done.stderr, flush=True)
            failed.append(name)
    if failed:
        print(f"make check failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
