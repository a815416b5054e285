"""The command line ``proofcompute``.

Exit status: 0 done (for ``verify``: everything asked for was checked and holds); 1 the untrusted node's
receipt or opening was rejected; 2 wrong usage, unusable input, a file system or device that refuses, or too
little memory; 70 a fault of ours, with a traceback; 130 interrupted. With ``--json`` the last line on
standard output is one JSON object, errors included (but for 70).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["FAULT", "main"]

FAULT = 70
"""Exit status of a fault of ours, as sysexits.h has it. Python's own is 1, which here accuses a node."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; ``argv`` without the program's name."""
    _open_standard_streams()
    try:
        from proofcompute.cli.app import run

        return run(argv)
    except Exception:  # noqa: BLE001 - whatever it was, it was no rejection
        import traceback

        traceback.print_exc()
        return FAULT


def _open_standard_streams() -> None:
    """Give the process the standard streams that whoever started it had closed, as services do.

    Otherwise the next file that is opened takes a stream's number, and messages are written into it.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is fd's
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # for the life of the process
