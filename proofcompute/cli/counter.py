"""How many verifications were made under a key: the soundness that is left depends on it.

Over q adaptive attempts under one key a false product is accepted with probability at most q p^-k (design,
section 6). The count stands beside the key, in ``KEY.attempts``, as decimal digits; it grows before each
check, whatever comes of the check.
"""

from __future__ import annotations

import re
from pathlib import Path

from proofcompute.errors import InputError, ProofcomputeError, StorageError
from proofcompute.files import exclusive, write_atomic

__all__ = ["attempts_path", "count_attempt", "forget_attempts", "read_attempts"]


def attempts_path(key: Path) -> Path:
    """Where the count of a key is."""
    return key.with_name(f"{key.name}.attempts")


def read_attempts(key: Path) -> int:
    """Verifications made so far; InputError if the count is damaged, OSError if it cannot be read."""
    path = attempts_path(key)
    try:
        with path.open("rb") as stream:
            text = stream.read(32)
    except FileNotFoundError:
        return 0
    if not re.fullmatch(rb"[0-9]{1,18}\n?", text):
        raise InputError(
            f"{path} does not hold a number; write into it how many verifications were made under this key, "
            "or pass --attempts N"
        )
    return int(text)


def count_attempt(key: Path) -> int:
    """Add one and return the new count; two processes never get the same.

    Raises InputError or StorageError, saying to pass ``--attempts``, if the count cannot be kept.
    """
    try:
        with exclusive(key, "key", create=False, wait=600, follow=True):
            attempts = read_attempts(key) + 1
            write_atomic(attempts_path(key), b"%d\n" % attempts, 0o600)
    except (OSError, StorageError) as e:
        raise _cannot(key, e) from e
    return attempts


def forget_attempts(key: Path) -> None:
    """A new key starts from nothing."""
    try:
        attempts_path(key).unlink(missing_ok=True)
    except OSError as e:
        raise _cannot(key, e) from e


def _cannot(key: Path, e: OSError | ProofcomputeError) -> StorageError:
    return StorageError(
        f"cannot count this verification in {attempts_path(key)}: {e}; "
        "pass --attempts N, the number of verifications made under this key, this one included"
    )
