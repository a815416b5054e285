"""The command line ``proofcompute``.

Exit status 0 means success (for ``verify``: everything asked for was checked and holds); 1 that the untrusted
node's receipt or opening was rejected; 2 wrong usage, unusable input, an error of the file system or device,
or too little memory; 70 a fault in proofcompute, with a traceback; 130 an interrupt. With ``--json`` the last
line on standard output is one JSON object, for errors too (except 70).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["FAULT", "main"]

FAULT = 70
"""Exit status of a fault in proofcompute: EX_SOFTWARE of sysexits.h. Python's is 1, which accuses a node."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; ``argv`` lacks the program's name."""
    _open_standard_streams()
    try:
        from proofcompute.cli.app import run

        return run(argv)
    except Exception:  # noqa: BLE001 - any other error is a fault and no rejection
        import traceback

        traceback.print_exc()
        return FAULT


def _open_standard_streams() -> None:
    """Open the standard streams that are closed, as they may be in a service.

    Otherwise the next file that is opened takes a stream's number, and messages are written into it.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is fd
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # for the life of the process
