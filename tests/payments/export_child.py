"""A process of its own that exports payments, and says how much memory that took: `python -m ... SESSION FILE`.

Its peak is compared with its peak after a first export of the same columns without rows: what Django itself needs is
in both.
"""

import json
import resource
import sys
from pathlib import Path

import django

django.setup()

from django.test import Client  # noqa: E402 - needs the settings

from tests.payments.exporting import export  # noqa: E402


def peak_kib() -> int:
    """Of this very program: `ru_maxrss` would begin with what the process that started it had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # macOS counts bytes
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main(session: str, path: str) -> None:
    client = Client()
    client.cookies["sessionid"] = session
    b"".join(export(client, "2001-01-01", "2001-01-02").streaming_content)
    before = peak_kib()
    with open(path, "wb") as file:
        for part in export(client, "2026-01-01", "2030-01-01").streaming_content:
            assert isinstance(part, bytes)
            file.write(part)
    print(json.dumps({"growth_kib": peak_kib() - before}))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main(*sys.argv[1:])
