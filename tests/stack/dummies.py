"""A supervisor with dummy children, as a program: `python -m tests.stack.dummies STATE LAST COMMAND...`.

One child for each command; LAST is the number of the signal that they get when the supervisor has vanished.
"""

import sys
from functools import partial
from pathlib import Path

from shop.stack.child import Child
from shop.stack.supervisor import Supervisor, say, supervise

PATIENCE_SECONDS = 60  # longer than a test waits: whoever is not hurried is seen


def main() -> int:
    state, last, *commands = sys.argv[1:]

    def start(supervisor: Supervisor) -> None:
        for number, command in enumerate(commands, 1):
            name = f"child{number}"
            begin = partial(
                Child,
                name,
                ["/bin/sh", "-c", command],
                log=supervisor.log(name),
                env={"PATH": "/usr/bin:/bin"},
                last_signal=int(last),
                hold=supervisor.hold,
            )
            supervisor.add(begin(), again=begin, stop=lambda child: child.stop(seconds=PATIENCE_SECONDS))
        say("started")

    return supervise(Path(state), start)


if __name__ == "__main__":
    sys.exit(main())
