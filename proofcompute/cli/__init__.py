"""The command line ``proofcompute``.

Exit status: 0 done (for ``verify``: everything asked for was checked and holds); 1 the untrusted node's
receipt or opening was rejected; 2 wrong usage, unusable input, a file system or device that refuses, or too
little memory; 70 a fault of ours, with a traceback; 130 interrupted. With ``--json`` the last line on
standard output is one JSON object, errors included (but for 70).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FAULT", "main"]

FAULT = 70
"""Exit status of a fault of ours, as sysexits.h has it. Python's own is 1, which here accuses a node."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; ``argv`` without the program's name."""
    try:
        from proofcompute.cli.app import run

        return run(argv)
    except Exception:  # noqa: BLE001 - whatever it was, it was no rejection
        import traceback

        traceback.print_exc()
        return FAULT
