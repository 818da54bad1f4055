"""A process of its own that exports payments, and says how much memory that took: `python -m ... SESSION FILE`.

Its peak is compared with its peak after a first export of the same columns without rows: what Django itself needs is
in both.
"""

import json
import resource
import sys

import django

django.setup()

from django.test import Client  # noqa: E402 - needs the settings

from tests.payments.exporting import export  # noqa: E402


def main(session: str, path: str) -> None:
    client = Client()
    client.cookies["sessionid"] = session
    b"".join(export(client, "2001-01-01", "2001-01-02").streaming_content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(path, "wb") as file:
        for part in export(client, "2026-01-01", "2030-01-01").streaming_content:
            assert isinstance(part, bytes)
            file.write(part)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"growth_kib": growth}))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main(*sys.argv[1:])
