"""How often a secret key was used, and for what: the log of its attempts (docs/spec/freivalds.md#attempts).

Over q adaptive attempts under one key a false product is accepted with probability at most q p^-k, so the
number of attempts belongs to the key as much as its columns do. A key in memory has a :class:`MemoryLog`; a
key in a file has a :class:`FileLog`, which is the end of that very file: a link to it, or another name, has
the same count, a copy starts with it, and nobody loses it who does not lose the key. Two copies of one key
that are used beside one another count too little, each half of the whole: make a key for each verifier.

A record has 72 bytes: the request's nonce (32), the request's digest (32), and a link (8), the beginning of
digest("attempt", what is before it, nonce, digest). What is before the first record are the key's last 32
bytes, its checksum; before any other, the link of the record before. So a log that lost or changed a record,
or that belongs to another key, is found out. It is damage that is found, not an owner who deceives himself.

A record is written under a lock and is on the disk before the check that it counts begins. A record that was
cut short by a crash was therefore followed by no check; the next attempt writes over it.
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
"""Bytes of a record."""
NOTHING: Final = bytes(DIGEST)
"""In a record, nonce and digest of an attempt that no request belongs to."""
_PATIENCE = 60.0
"""Seconds to wait while other processes write their attempts."""

Attempt = tuple[bytes, bytes]
"""Nonce and digest of the request that was verified, 32 bytes each."""


class Log(Protocol):
    """Where the attempts under one key are counted."""

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Those known here, in order."""
        ...

    def attempt(self, nonce: bytes = NOTHING, digest: bytes = NOTHING) -> int:
        """Count one more attempt, before it is made; its number, from 1. No two get the same.

        ``nonce`` and ``digest`` are those of the request, 32 bytes each; the same request may be verified
        again. MismatchError if its nonce was that of another request, LimitError after MAX_ATTEMPTS,
        StorageError if the attempt cannot be kept; then it is not to be made.
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
        """One more; how many there are."""
        self.attempts.append((nonce, digest))
        if digest != NOTHING:
            self._digests.setdefault(nonce, digest)
        return len(self.attempts)

    def check(self, nonce: bytes, digest: bytes) -> None:
        """Refuse what is not to be added; see :meth:`Log.attempt`."""
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
    """The log of a key that is in no file: of the process that made it, and of none that is forked from it.

    A forked process has a copy of key and log, and each would count its own half.
    """

    def __init__(self, attempts: Iterable[Attempt] = ()) -> None:
        self._known = _Known(attempts)
        self._lock = Lock()
        self._moved: Log | None = None
        self._process = os.getpid()

    @property
    def attempts(self) -> Sequence[Attempt]:
        """See Log."""
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
        """The log that ``place`` makes of the attempts so far; it gets those that are made here from now on.

        None is made in between, and none is lost by who still counts here. StorageError in a forked process.
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
        path: the file; opened anew for each attempt, so that threads and forked processes exclude one
            another too.
        start: where the first record is.
        anchor: the 32 bytes before it.
        records: what the file holds from there on; one that was cut short at the end is left out.

    FormatError or LimitError as :func:`read_records`.
    """

    def __init__(self, path: Path, start: int, anchor: bytes, records: bytes = b"") -> None:
        self.path = path.absolute()
        """Where the file is, whatever becomes of the working directory."""
        self._start = start
        self._known = _Known()
        self._link = anchor
        self._lock, self._process = Lock(), os.getpid()
        self._take(records)

    @property
    def attempts(self) -> Sequence[Attempt]:
        """See Log; those of other processes up to the last attempt made here."""
        return self._known.attempts

    def attempt(self, nonce: bytes = NOTHING, digest: bytes = NOTHING) -> int:
        """See Log. FormatError if the records that others added are damaged."""
        if (
            self._process != os.getpid()
        ):  # a thread that was in here when this process was forked is not in it
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
        """Write one record; its number, or None if the file does not go on from what is known."""
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
        """Read what others added, and take away what they did not finish; False if it is another file."""
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
        """Know the records that follow the last one."""
        found = read_records(records, self._link, self.path)
        for attempt in found:
            self._known.add(*attempt)
        if found:
            self._link = records[RECORD * len(found) - LINK : RECORD * len(found)]


def read_records(data: bytes, anchor: bytes, what: object = "the key") -> list[Attempt]:
    """The attempts in the records after ``anchor``; one that was cut short at the end is left out.

    FormatError, naming ``what``, if a record does not follow what is before it; LimitError if they are more
    than MAX_ATTEMPTS.
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
    """The records after ``anchor`` that hold some attempts."""
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
    """Bytes a..b of a file, as far as there are any."""
    os.lseek(fd, a, os.SEEK_SET)
    parts = []
    while a < b and (part := os.read(fd, b - a)):
        parts.append(part)
        a += len(part)
    return b"".join(parts)
