"""The command line ``proofcompute``.

Exit status: 0 done (for ``verify``: everything asked for was checked and holds); 1 the untrusted node's
receipt or opening was rejected; 2 wrong usage, unusable input, or a file system or device that refuses; 130
interrupted. With ``--json`` the last line on standard output is one JSON object, errors included.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; ``argv`` without the program's name."""
    from proofcompute.cli.app import run

    return run(argv)
