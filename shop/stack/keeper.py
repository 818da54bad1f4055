"""Starts one child and sees to it that the child never outlives whoever asked for it.

Run as a file, standard library only: `python -I -S keeper.py LAST UID GID LOG COMMAND...`. Our stdin is a pipe from
the starter: each byte is the number of a signal for the child, answered by a byte when it is sent. The pipe's end means
that the starter is gone, however it went (`kill -9` included): the child gets LAST, and five seconds later its whole
process group is killed. The first line on our stdout is the child's pid. We end as the child ended: with its exit code,
or 128 + the signal that killed it.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

LAST_SECONDS = 5
# These are meant for everything the child started; the others it hands on itself, in its own order.
TO_THE_GROUP = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}


def main() -> int:
    last, uid, gid, log, *command = sys.argv[1:]
    # A shell ignores SIGINT for what it starts with `&`, and that would be inherited.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    account = {"user": int(uid), "group": int(gid), "extra_groups": []} if uid else {}
    with open(log, "ab") as output:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **account,  # type: ignore[call-overload]
            )
        except OSError as error:
            output.write(f"{command[0]}: {error.strerror}\n".encode())
            return 127
    threading.Thread(target=_obey, args=(child, int(last)), daemon=True).start()
    with suppress(BrokenPipeError):
        print(child.pid, flush=True)
    code: int = child.wait()
    _signal_group(child.pid, signal.SIGKILL)  # what it left behind: pool workers of a killed parent
    return code if code >= 0 else 128 - code


def _obey(child: "subprocess.Popen[bytes]", last: int) -> None:
    while order := os.read(0, 1):
        if order[0] in TO_THE_GROUP and child.poll() is None:
            _signal_group(child.pid, order[0])
        else:
            child.send_signal(order[0])
        with suppress(OSError):
            os.write(1, b".")
    child.send_signal(last)
    try:
        child.wait(LAST_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
