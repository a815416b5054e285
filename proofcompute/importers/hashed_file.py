"""Reads a file so that only bytes that were hashed are ever used, after a glance at its header.

A file may change after its digest was computed: it may be replaced, truncated, or written in place without a
new time of modification, for instance through a memory mapping. So each piece of the file gets a digest of
its own (BLAKE3) while it is read once, from front to back. The header is parsed in that same pass. Later
reads are of whole pieces, whose digests are compared.

Hashing takes minutes for a large file. So that a wrong one is refused before that, its header is parsed once
beforehand (:func:`glanced`); nothing of this first reading is kept.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar, cast

from blake3 import blake3

from proofcompute.errors import MismatchError, StorageError
from proofcompute.limits import KIB

__all__ = ["PIECE", "GlancedFile", "HashedFile", "OpenedFile", "Opens", "digest_of_all", "glanced", "hashed"]

PIECE: Final = 256 * KIB
"""Bytes of a piece; the digests of a checkpoint of 40 GB take 5 MB."""

_T = TypeVar("_T")
_F_co = TypeVar("_F_co", covariant=True)


class OpenedFile(Protocol):
    """A file whose header was parsed."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def read(self, offset: int, n: int) -> memoryview:
        """Return the ``n`` bytes from ``offset`` on."""


class Opens(Protocol[_F_co]):
    """Parses the beginning of a file, as :func:`glanced` and :func:`hashed` do."""

    def __call__(self, path: Path, parse: Callable[[BinaryIO, int], _T], /) -> tuple[_T, _F_co]:
        """Return the result of ``parse(stream, size)``, and the file."""


@dataclass(frozen=True)
class GlancedFile:
    """A file that was not hashed: what it says decides only whether it is hashed."""

    path: Path

    def read(self, offset: int, n: int) -> memoryview:
        """Return the ``n`` bytes from ``offset`` on.

        Raises MismatchError if the file has become shorter, StorageError if it cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                data = memoryview(file.read(n))
        except OSError as e:
            raise StorageError(f"cannot read {self.path}: {e.strerror or e}") from e
        if len(data) != n:
            raise MismatchError(f"{self.path} has changed since it was opened")
        return data


@dataclass(frozen=True)
class HashedFile:
    """A file as it was when :func:`hashed` read it."""

    path: Path
    size: int
    digest: bytes
    """SHA-256 of the whole file."""
    _pieces: tuple[bytes, ...] = field(repr=False)

    def read(self, offset: int, n: int) -> memoryview:
        """Return the ``n`` bytes from ``offset`` on that were hashed.

        Raises MismatchError if they have changed since, StorageError if the file cannot be read.
        """
        first, last = offset // PIECE, -(-(offset + n) // PIECE)
        start, stop = first * PIECE, min(last * PIECE, self.size)
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                data = memoryview(file.read(stop - start))
        except OSError as e:
            raise StorageError(f"cannot read {self.path}: {e.strerror or e}") from e
        for i in range(first, last):
            piece = data[(i - first) * PIECE : (i - first + 1) * PIECE]
            if blake3(piece).digest() != self._pieces[i]:
                raise MismatchError(f"{self.path} has changed since it was opened")
        return data[offset - start : offset - start + n]


class _Pass(io.RawIOBase):
    """A stream that reads a file once, from front to back, and hashes what it reads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ahead = memoryview(b"")
        self.whole = hashlib.sha256()
        self.pieces: list[bytes] = []
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        if not self._ahead:
            self._ahead = self._next()
        into = memoryview(cast(bytearray, buffer)).cast("B")
        n = min(len(into), len(self._ahead))
        into[:n] = self._ahead[:n]
        self._ahead = self._ahead[n:]
        return n

    def finish(self) -> None:
        """Read and hash the file to its end."""
        while self._next():
            pass

    def _next(self) -> memoryview:
        piece = self._file.read(PIECE)
        if piece:
            self.whole.update(piece)
            self.pieces.append(blake3(piece).digest())
            self.size += len(piece)
        return memoryview(piece)


def glanced(path: Path, parse: Callable[[BinaryIO, int], _T]) -> tuple[_T, GlancedFile]:
    """Return the result of ``parse(stream, size)`` for the file's beginning, and the file, not hashed.

    Raises StorageError if it cannot be read, and the errors of ``parse``.
    """
    try:
        with open(path, "rb") as file:
            return parse(file, os.fstat(file.fileno()).st_size), GlancedFile(path)
    except OSError as e:
        raise StorageError(f"cannot read {path}: {e.strerror or e}") from e


def hashed(path: Path, parse: Callable[[BinaryIO, int], _T]) -> tuple[_T, HashedFile]:
    """Return the result of ``parse(stream, size)`` for the file's beginning, and the file, hashed to its end.

    Raises MismatchError if the file grew or shrank meanwhile, StorageError if it cannot be read, and the
    errors of ``parse``.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            once = _Pass(file)
            found = parse(cast(BinaryIO, io.BufferedReader(once, PIECE)), size)
            once.finish()
    except OSError as e:
        raise StorageError(f"cannot read {path}: {e.strerror or e}") from e
    if once.size != size:
        raise MismatchError(f"{path} changed while it was read")
    return found, HashedFile(path, size, once.whole.digest(), tuple(once.pieces))


def digest_of_all(files: Sequence[HashedFile]) -> bytes:
    """Return the SHA-256 of the files' digests, concatenated."""
    return hashlib.sha256(b"".join(file.digest for file in files)).digest()
