"""A file of which only those bytes are ever used that were hashed.

A file may be changed between its digest and its weights: replaced, cut, or written in place, its time of
change put back or not set at all, as by whoever has it mapped into memory. So nothing about the file is
believed later. While it is read once, from front to back, each piece of it gets a digest of its own (BLAKE3),
and whatever is read again is read in whole pieces and compared. What is parsed comes from that same pass.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from blake3 import blake3

from proofcompute.errors import MismatchError, StorageError
from proofcompute.limits import KIB

__all__ = ["PIECE", "HashedFile", "hashed"]

PIECE: Final = 256 * KIB
"""Bytes of a piece: a checkpoint of 40 GB has digests of 5 MB."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class HashedFile:
    """A file as it was when :func:`hashed` read it."""

    path: Path
    size: int
    digest: bytes
    """SHA-256 of the whole file."""
    _pieces: tuple[bytes, ...] = field(repr=False)

    def read(self, offset: int, n: int) -> memoryview:
        """``n`` bytes from ``offset`` on, as they were.

        MismatchError if they are others now, StorageError if the file cannot be read.
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
    """A file read once, from front to back, and hashed as it is."""

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
        """To the end of the file."""
        while self._next():
            pass

    def _next(self) -> memoryview:
        piece = self._file.read(PIECE)
        if piece:
            self.whole.update(piece)
            self.pieces.append(blake3(piece).digest())
            self.size += len(piece)
        return memoryview(piece)


def hashed(path: Path, parse: Callable[[BinaryIO, int], _T]) -> tuple[_T, HashedFile]:
    """What ``parse(stream, size)`` makes of the file's beginning, and the file, read once to its end.

    MismatchError if the file grew or shrank meanwhile, StorageError if it cannot be read; and what ``parse``
    raises.
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
