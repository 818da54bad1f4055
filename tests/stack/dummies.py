"""A supervisor with dummy children, as a program: `python -m tests.stack.dummies STATE LAST COMMAND...`.

One child for each command; LAST is the number of the signal that they get when the supervisor has vanished.
"""

import sys
from pathlib import Path

from shop.stack.child import Child
from shop.stack.supervisor import Supervisor, say, supervise


def main() -> int:
    state, last, *commands = sys.argv[1:]

    def start(supervisor: Supervisor) -> None:
        for number, command in enumerate(commands, 1):
            name = f"child{number}"
            child = Child(
                name,
                ["/bin/sh", "-c", command],
                log=supervisor.log(name),
                env={"PATH": "/usr/bin:/bin"},
                last_signal=int(last),
                hold=supervisor.hold,
            )
            supervisor.add(child)
        say("started")

    return supervise(Path(state), start)


if __name__ == "__main__":
    sys.exit(main())
