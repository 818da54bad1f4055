"""PostgreSQL refuses to run as root. Here root finds somebody else to be, without making an account."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shop.stack import Refusal


@dataclass(frozen=True)
class Account:
    """How to start a command as somebody: words to put before it, or ids to change to. Neither: as ourselves."""

    prefix: tuple[str, ...] = ()
    ids: tuple[int, int] | None = None


def account_for(program: Path, folder: Path) -> Account:
    """Who can run `program` on files in `folder`. The folder is ours: it may change hands, nothing else does."""
    if os.geteuid() != 0:
        return Account()
    namespace = Account(prefix=_user_namespace())
    if _can_run(namespace, program, folder):
        return namespace
    nobody = pwd.getpwnam("nobody")
    ids = nobody.pw_uid, nobody.pw_gid
    if _can_run(Account(ids=ids), program, folder.parent, probe="-x"):
        os.chown(folder, *ids)
        return Account(ids=ids)
    raise Refusal(
        f"PostgreSQL does not run as root, and no user namespace is to be had here: run as an ordinary user, move the"
        f" project to a folder that the user nobody may enter ({folder.parent} is closed to it), or set DATABASE_URL."
    )


def _user_namespace() -> tuple[str, ...]:
    # Inside, our own files belong to that account, so no owner changes outside; PostgreSQL wants to know its name.
    inside = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    return ("unshare", "--user", f"--map-user={inside.pw_uid}", f"--map-group={inside.pw_gid}", "--")


def _can_run(account: Account, program: Path, folder: Path, probe: str = "-w") -> bool:
    script = f'[ {probe} "$1" ] && cd "$1" && exec "$2" --version'
    uid, gid = account.ids or (None, None)
    try:
        done = subprocess.run(
            [*account.prefix, "/bin/sh", "-c", script, "sh", folder, program],
            user=uid,
            group=gid,
            extra_groups=None if account.ids is None else [],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
