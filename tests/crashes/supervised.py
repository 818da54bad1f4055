"""A worker and a beat under a supervisor, as `make run` has them: `python -m tests.crashes.supervised STATE`."""

import os
import sys
from pathlib import Path

from shop.env import BASE_DIR
from shop.stack.run import BEAT_IS_UP, WORKER_IS_UP, beat_command, worker_command
from shop.stack.supervisor import Supervisor, say, supervise


def main() -> int:
    def start(supervisor: Supervisor) -> None:
        worker = supervisor.start("celery", worker_command(), os.environ, BASE_DIR)
        beat = supervisor.start("beat", beat_command(), os.environ, BASE_DIR)
        worker.wait_for_text(WORKER_IS_UP)
        beat.wait_for_text(BEAT_IS_UP)
        say("started")

    return supervise(Path(sys.argv[1]), start)


if __name__ == "__main__":
    sys.exit(main())
