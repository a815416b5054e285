"""Writes keys to files in which they count their attempts from then on (:mod:`.attempts`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding.files import is_plain, write_atomic
from proofcompute.errors import InputError, StorageError
from proofcompute.errors.sealed import sealed
from proofcompute.freivalds.attempts import Attempt, FileLog, Log, MemoryLog, write_records

__all__ = ["save_key"]


@sealed
def save_key(path: Path, body: bytes, log: Log) -> Log:
    """Write a key and its log, readable by its owner only (mode 0600); return the log that it has then.

    ``body`` are the bytes of the key, which end with a checksum of 32 bytes. A log in memory is moved to this
    file. A key that has a file already stays with that file; the file written here is a copy, which begins
    with the same count. Raises InputError if ``path`` holds this key already with a log of its own, which
    would be lost, and StorageError if the file system refuses.
    """
    if isinstance(log, FileLog) and _is_file(log.path, path):
        return log  # the file holds every attempt already
    if _begins(path, body):
        raise InputError(
            f"{path} is this key already, and counts its own attempts: load it, or choose another name"
        )

    def written(attempts: Sequence[Attempt]) -> Log:
        records = write_records(attempts, body[-DIGEST:])
        write_atomic(path, body + records, 0o600)
        return FileLog(path, len(body), body[-DIGEST:], records)

    if isinstance(log, MemoryLog):
        return log.move(written)
    written(log.attempts)
    return log


def _is_file(kept: Path, path: Path) -> bool:
    """Return whether both paths name the same file, also through links."""
    try:
        return kept == path.absolute() or kept.samefile(path)
    except OSError:
        return False


def _begins(path: Path, body: bytes) -> bool:
    """Return whether a plain file at ``path`` begins with ``body``. Raises StorageError if reading fails."""
    try:
        if not path.exists() or not is_plain(path):
            return False
        with path.open("rb") as stream:
            return stream.read(len(body)) == body
    except OSError as e:
        raise StorageError(f"cannot read {path}, which is to be replaced: {e.strerror or e}") from e
