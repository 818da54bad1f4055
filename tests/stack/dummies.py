"""A supervisor with dummy children, as a program: `python -m tests.stack.dummies STATE COMMAND...`, one child each."""

import sys
from pathlib import Path

from shop.stack.supervisor import Supervisor, say, supervise


def main() -> int:
    state, *commands = sys.argv[1:]

    def start(supervisor: Supervisor) -> None:
        for number, command in enumerate(commands, 1):
            supervisor.start(f"child{number}", ["/bin/sh", "-c", command], {"PATH": "/usr/bin:/bin"})
        say("started")

    return supervise(Path(state), start)


if __name__ == "__main__":
    sys.exit(main())
