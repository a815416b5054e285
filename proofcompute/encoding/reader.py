"""Read messages whose shape is known beforehand, without a tree of values (docs/spec/messages.md#encoding).

What a part of an opening holds follows from its cell. A part of one row has some sixty items, and reading
them into a tree and then comparing its shape takes several times as long.
"""

from __future__ import annotations

from typing import Final

from proofcompute.encoding.wire import ARRAY, BYTES, long_argument
from proofcompute.errors import FormatError, LimitError

__all__ = ["Reader"]

_DIGEST: Final = 32
_DIGEST_HEAD: Final = bytes([BYTES << 5 | 24, _DIGEST])


class Reader:
    """A reader of an encoding whose shape is known beforehand, item by item.

    An encoding that it reads to the end is deterministic, as :func:`.wire.decode` requires; all else is a
    FormatError. Byte strings are views, and nothing is allocated for what a head announces.
    """

    __slots__ = ("_at", "_view", "_what")

    def __init__(self, data: bytes | bytearray | memoryview, *, limit: int, what: str) -> None:
        """Begin to read ``data``. Raises LimitError if it is larger than ``limit`` bytes."""
        view = memoryview(data)
        if view.nbytes > limit:
            raise LimitError(f"{what}: {view.nbytes} bytes, at most {limit} are allowed")
        self._view, self._at, self._what = view.cast("B"), 0, what

    def array(self, n: int, what: str) -> None:
        """Read the head of an array of exactly ``n`` elements, which are read next."""
        if (found := self._head(ARRAY, what)) != n:
            raise FormatError(f"{what}: expected {n} elements, found {found}")

    def array_of_some(self, max_n: int, what: str) -> int:
        """Read the head of an array and return its number of elements. Raises LimitError above ``max_n``."""
        if (found := self._head(ARRAY, what)) > max_n:
            raise LimitError(f"{what}: {found} elements, at most {max_n} are allowed")
        return found

    def view(self, what: str, size: int | None = None) -> memoryview:
        """Read a byte string of exactly ``size`` bytes (if given)."""
        found = self._head(BYTES, what)
        if size is not None and found != size:
            raise FormatError(f"{what}: expected {size} bytes, found {found}")
        a, self._at = self._at, self._at + found
        if self._at > len(self._view):
            raise FormatError(f"{what}: announces more than the data holds")
        return self._view[a : self._at]

    def digests(self, n: int, what: str) -> tuple[bytes, ...]:
        """Read an array of exactly ``n`` byte strings of 32 bytes."""
        self.array(n, what)
        # All have the same head, so they lie at a fixed distance, and the heads are compared together.
        step = len(_DIGEST_HEAD) + _DIGEST
        a, self._at = self._at, self._at + n * step
        data = bytes(self._view[a : self._at])
        if len(data) != n * step or any(data[i::step] != n * _DIGEST_HEAD[i : i + 1] for i in range(2)):
            raise FormatError(f"{what}: expected {n} byte strings of {_DIGEST} bytes")
        return tuple([data[i - _DIGEST : i] for i in range(step, n * step + 1, step)])

    def end(self) -> None:
        """Raise FormatError unless everything has been read."""
        if self._at != len(self._view):
            raise FormatError(f"{self._what}: {len(self._view) - self._at} bytes after the end")

    def _head(self, major: int, what: str) -> int:
        """Read a head of this major type and return its argument."""
        view, at = self._view, self._at
        if at >= len(view):
            raise FormatError(f"{self._what}: ends inside an item")
        head = view[at]
        if head >> 5 != major:
            raise FormatError(f"{what}: expected CBOR major type {major}, found {head >> 5}")
        argument, self._at = head & 31, at + 1
        if argument >= 24:
            argument, self._at = long_argument(view, at + 1, argument, self._what)
        return argument
