"""Remember which verdicts were used, so that none is used twice (docs/spec/verdicts.md#replays)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding.files import append, exclusive, read_limited
from proofcompute.errors import FormatError
from proofcompute.limits import MIB

__all__ = ["remembered"]

MAX_USED: Final = 256 * MIB
"""A file of used subjects, of eight million verdicts."""


@contextmanager
def remembered(path: Path | None) -> Iterator[tuple[frozenset[bytes], Callable[[bytes], None]]]:
    """Yield the subjects of used verdicts in a file, and what adds one; the file is locked in between.

    The file holds subjects of 32 bytes after one another, and is made if it is not there. Without a path
    there is no memory: nothing is known, and nothing is kept.

    Raises FormatError if the file is damaged, InputError if another process has it, and StorageError if it
    cannot be written; a verdict whose subject was not kept must not be used.
    """
    if path is None:
        yield frozenset(), lambda subject: None
        return
    with exclusive(path, "file of used verdicts", wait=10.0) as fd:
        data = read_limited(path, MAX_USED, "file of used verdicts", fd)
        if len(data) % DIGEST:
            raise FormatError(f"the file of used verdicts {path} is damaged")
        known = frozenset(data[i : i + DIGEST] for i in range(0, len(data), DIGEST))
        yield known, lambda subject: append(fd, subject, "file of used verdicts")
