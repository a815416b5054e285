"""Log the attempts made under a secret key, each with its request (docs/spec/freivalds.md#attempts).

Over q adaptive attempts under one key a false product is accepted with probability at most q p^-k, so the
number of attempts belongs to the key as much as its columns do. A key in memory has a :class:`MemoryLog`. A
key in a file has a :class:`FileLog`, which is the end of that same file: every link to the file shares the
count, a copy starts with it, and the log is lost only together with the key. Two copies of one key that are
used at the same time each count only their own attempts, which is too few: make a key for each verifier.

A record has 72 bytes: the request's nonce (32), the digest of the request with choice 0 (32), and a link (8),
the beginning of digest("attempt", anchor, nonce, digest). The anchor of the first record is the key's last 32
bytes, its checksum; that of any other record is the link of the record before it. So a log is refused if it
lost or changed a record, or belongs to another key. This finds damage; it does not stop an owner who edits
the log.

A record is written under a lock and is on the disk before the check that it counts begins. A record that was
cut short by a crash was therefore followed by no check, and the next attempt overwrites it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Final, Protocol, final

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding.files import exclusive
from proofcompute.errors import FormatError, LimitError, MismatchError, StorageError
from proofcompute.limits import MAX_ATTEMPTS
from proofcompute.logs import service_log

__all__ = ["RECORD", "Attempt", "FileLog", "Log", "MemoryLog", "read_records", "write_records"]

_log = service_log(__name__)

LINK: Final = 8
RECORD: Final = 2 * DIGEST + LINK
"""Size of a record in bytes."""
NOTHING: Final = bytes(DIGEST)
"""The nonce and the digest in the record of an attempt that belongs to no request."""
_PATIENCE = 60.0
"""Seconds to wait while other processes write their attempts."""

Attempt = tuple[bytes, bytes]
"""The nonce of the request that was verified, and its digest with choice 0, 32 bytes each."""


class Log(Protocol):
    """A log that counts the attempts under one key."""

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts known here, in order."""
        ...

    def attempt(self, nonce: bytes = NOTHING, digest: bytes = NOTHING) -> int:
        """Count one more attempt before it is made, and return its number, from 1; all numbers differ.

        ``nonce`` and ``digest`` are those of the request with choice 0, 32 bytes each; the same request and
        its other choices may be verified again. Raises MismatchError if another request had this nonce,
        LimitError after MAX_ATTEMPTS, and StorageError if the attempt cannot be kept; then it must not be
        made.
        """
        ...


class _Known:
    """The attempts read or made so far."""

    def __init__(self, attempts: Iterable[Attempt] = ()) -> None:
        self.attempts: list[Attempt] = []
        self._digests: dict[bytes, bytes] = {}
        for nonce, digest in attempts:
            self.add(nonce, digest)

    def add(self, nonce: bytes, digest: bytes) -> int:
        """Add an attempt, and return how many there are."""
        self.attempts.append((nonce, digest))
        if digest != NOTHING:
            self._digests.setdefault(nonce, digest)
        return len(self.attempts)

    def check(self, nonce: bytes, digest: bytes) -> None:
        """Raise as :meth:`Log.attempt` unless the attempt may be added."""
        if (len(nonce), len(digest)) != (DIGEST, DIGEST):
            raise FormatError(f"a nonce and a request's digest have {DIGEST} bytes each")
        if digest != NOTHING and self._digests.get(nonce, digest) != digest:
            raise MismatchError(
                "this request has the nonce of another one that was verified under this key: a node could "
                "answer it with the old receipt; make a new request"
            )
        if len(self.attempts) >= MAX_ATTEMPTS:
            _log.warning("a key was used %d times, which is the most: it checks nothing more", MAX_ATTEMPTS)
            raise LimitError(f"this key was used {MAX_ATTEMPTS} times, which is the most; make a new one")


@final
class MemoryLog:
    """The log of a key that is in no file. Only the process that made it may use it.

    A forked process has a copy of key and log, so each process would count its own attempts only.
    """

    def __init__(self, attempts: Iterable[Attempt] = ()) -> None:
        self._known = _Known(attempts)
        self._lock = Lock()
        self._moved: Log | None = None
        self._process = os.getpid()

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts known here; see Log."""
        return self._known.attempts if self._moved is None else self._moved.attempts

    def attempt(self, nonce: bytes = NOTHING, digest: bytes = NOTHING) -> int:
        """See Log."""
        self._require_here()
        with self._lock:
            if self._moved is not None:
                return self._moved.attempt(nonce, digest)
            self._known.check(nonce, digest)
            return self._known.add(nonce, digest)

    def move(self, place: Callable[[Sequence[Attempt]], Log]) -> Log:
        """Return the log that ``place`` makes of the attempts so far; it then counts those made here too.

        No attempt is made in between, and none is lost by a caller who still counts here. Raises StorageError
        in a forked process.
        """
        self._require_here()
        with self._lock:
            if self._moved is None:
                self._moved = place(self._known.attempts)
            return self._moved

    def _require_here(self) -> None:
        if self._moved is None and os.getpid() != self._process:
            raise StorageError(
                "this key counts its attempts in the memory of another process, which cannot see those made "
                "here: save it to a file before processes are forked, or make a key in each"
            )


@final
class FileLog:
    """The log at the end of a key's file.

    Args:
        path: the file, opened anew for each attempt, so that threads and forked processes exclude each other
            too.
        start: the offset of the first record.
        anchor: the 32 bytes before it.
        records: the records in the file; a record that was cut short at the end is left out.

    Raises FormatError or LimitError as :func:`read_records`.
    """

    def __init__(self, path: Path, start: int, anchor: bytes, records: bytes = b"") -> None:
        self.path = path.absolute()
        """The absolute path of the file, so that the working directory may change."""
        self._start = start
        self._known = _Known()
        self._link = anchor
        self._lock, self._process = Lock(), os.getpid()
        self._take(records)

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts known here, with those of other processes up to the last one made here; see Log."""
        return self._known.attempts

    def attempt(self, nonce: bytes = NOTHING, digest: bytes = NOTHING) -> int:
        """Count an attempt; see Log. Raises FormatError if the records that others added are damaged."""
        # A thread that held the lock when this process was forked does not run in it to release the lock.
        if self._process != os.getpid():
            self._lock, self._process = Lock(), os.getpid()
        with self._lock:
            try:
                with exclusive(self.path, "key", create=False, follow=True, wait=_PATIENCE) as fd:
                    number = self._append(fd, nonce, digest)
            except (OSError, StorageError) as e:
                raise StorageError(
                    f"cannot count this verification in {self.path}: {e}; a key must be "
                    "where it can be written to"
                ) from e
            if number is None:
                raise StorageError(
                    f"{self.path} is another file now, or lost records while it was in use; "
                    "load the key again"
                )
            return number

    def _append(self, fd: int, nonce: bytes, digest: bytes) -> int | None:
        """Write one record and return its number, or None if the file does not continue what is known."""
        if not self._catch_up(fd):
            return None
        self._known.check(nonce, digest)
        record = _record(self._link, nonce, digest)
        if os.write(fd, record) != RECORD:
            raise OSError("only a part was written")
        os.fsync(fd)
        self._link = record[-LINK:]
        return self._known.add(nonce, digest)

    def _catch_up(self, fd: int) -> bool:
        """Read what others added and cut off what they did not finish. Return False if it is another file."""
        at = self._start + RECORD * len(self._known.attempts)
        if _read(fd, at - len(self._link), at) != self._link:
            return False
        size = os.fstat(fd).st_size
        self._take(_read(fd, at, size))
        torn = (size - self._start) % RECORD
        if torn:
            os.ftruncate(fd, size - torn)
        return True

    def _take(self, records: bytes) -> None:
        """Add the attempts in the records that follow the last known one."""
        found = read_records(records, self._link, self.path)
        for attempt in found:
            self._known.add(*attempt)
        if found:
            self._link = records[RECORD * len(found) - LINK : RECORD * len(found)]


def read_records(data: bytes, anchor: bytes, what: object = "the key") -> list[Attempt]:
    """Return the attempts in the records after ``anchor``; one that was cut short at the end is left out.

    Raises FormatError, naming ``what``, if the link of a record is wrong, LimitError if there are more than
    MAX_ATTEMPTS.
    """
    if len(data) >= RECORD * (MAX_ATTEMPTS + 1):
        raise LimitError(f"{what} has a log of more than {MAX_ATTEMPTS} attempts")
    found: list[Attempt] = []
    link = anchor
    for at in range(0, len(data) - RECORD + 1, RECORD):
        nonce, digest = data[at : at + DIGEST], data[at + DIGEST : at + 2 * DIGEST]
        link = _link(link, nonce, digest)
        if link != data[at + 2 * DIGEST : at + RECORD]:
            raise FormatError(
                f"{what} is damaged: record {len(found) + 1} of its log of attempts does not follow what is "
                "before it; how often the key was used is not known, so make a new one"
            )
        found.append((nonce, digest))
    return found


def write_records(attempts: Iterable[Attempt], anchor: bytes) -> bytes:
    """Return the records that hold these attempts, to be written after ``anchor``."""
    out, link = bytearray(), anchor
    for nonce, digest in attempts:
        record = _record(link, nonce, digest)
        link = record[-LINK:]
        out += record
    return bytes(out)


def _record(before: bytes, nonce: bytes, digest: bytes) -> bytes:
    return nonce + digest + _link(before, nonce, digest)


def _link(before: bytes, nonce: bytes, digest: bytes) -> bytes:
    return hashing.message_digest("sha256", "attempt", before + nonce + digest)[:LINK]


def _read(fd: int, a: int, b: int) -> bytes:
    """Return bytes a..b of a file, or fewer where the file ends."""
    os.lseek(fd, a, os.SEEK_SET)
    parts = []
    while a < b and (part := os.read(fd, b - a)):
        parts.append(part)
        a += len(part)
    return b"".join(parts)
