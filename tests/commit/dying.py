"""Runs commands again and again, each time killed at a later one of the calls that change files.

``python dying.py PARENT COMMAND...`` runs ``proofcompute COMMAND...`` in new directories PARENT/0, PARENT/1,
and so on; in PARENT/n it is killed with SIGKILL instead of the n-th call. The last one is that which is not
killed. Files for the command are in PARENT/given, which is copied.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = ("link", "replace", "rename", "unlink", "remove", "fsync", "chmod", "fchmod", "truncate", "write")
"""Functions of the module os that change files; and open, if it may."""


def die_at(nth: int) -> None:
    """Kill this process instead of the nth call from now on, and count them."""
    seen = 0

    def watched(inner: Callable[..., Any], name: str) -> Callable[..., Any]:
        def outer(*args: Any, **named: Any) -> Any:
            nonlocal seen
            if name != "open" or args[1] & (os.O_WRONLY | os.O_RDWR):
                if seen == nth:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1
            return inner(*args, **named)

        return outer

    for name in (*CALLS, "open"):
        setattr(os, name, watched(getattr(os, name), name))


def main(parent: Path, words: list[str]) -> None:
    from proofcompute import cli

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for nth in range(200):
        where = parent / str(nth)
        shutil.copytree(parent / "given", where)
        child = os.fork()
        if not child:
            os.chdir(where)
            die_at(nth)
            os._exit(cli.main(words))
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            sys.exit(os.waitstatus_to_exitcode(status))
    sys.exit("it never ends")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
