"""Arrays of a backend: their types, and what every backend offers to make, move and wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
Array = npt.NDArray[Any]
_T = TypeVar("_T")
_R = TypeVar("_R")


class Span(NamedTuple):
    """Rows ``a`` (inclusive) to ``b`` (exclusive) of one request's trace."""

    trace: int
    """The request's number."""
    a: int
    b: int


class Arrays(Protocol):
    """Where a backend's arrays are, and how they get there."""

    operation: str
    """What runs now, which the interpreter sets: errors that are found later name it."""
    ahead: int
    """Finished rows from which hashing them ahead of the end is worth it; 0: never."""

    def array(self, x: Any) -> Array:
        """A NumPy array, or anything that exchanges arrays (DLPack), as an array of this backend."""
        ...

    def local(self, x: Array) -> Array:
        """An array of another part of this backend (``partition``) as one of this part; others unchanged."""
        ...

    def host(self, x: Array) -> Array:
        """An array of this backend as a NumPy array."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """A new array of zeros."""
        ...

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """Arrays one after the other, along their first axis."""
        ...

    def write_rows(self, x: Array, a: int, b: int, rows: Array) -> None:
        """Make rows a..b of an array that ``zeros`` returned those given."""
        ...

    def slice_columns(self, x: Array, a: int, b: int) -> Array:
        """Columns a..b of [n, d]."""
        ...

    def row_bytes(self, parts: Sequence[Array]) -> U8:
        """The bytes of the rows of all parts side by side, uint8 [n, width]."""
        ...

    def gather(self, table: Array, ids: Array) -> Array:
        """Rows of a table by int32 number; FormatError if there is no such row."""
        ...

    def step(
        self, capture: object, spans: Sequence[Span], f: Callable[[Sequence[Span]], I32 | None]
    ) -> I32 | None:
        """``f(spans)`` with its int32 result on the host, once everything that it checks was looked at.

        Under one ``capture`` that is not None, ``f`` always does the same but for the positions of ``spans``,
        all of the same numbers and sizes: a device may keep its launches and repeat them. Nothing is kept
        beyond the life of ``capture``.
        """
        ...

    def map(self, f: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """``f`` of each item, in order, some perhaps at the same time on several threads.

        Items are taken on the caller's thread. What a call raises is raised in its place, and what taking an
        item raises at once; in either case after every call that began has ended.
        """
        ...

    def map_depth(self) -> int:
        """Most items that :meth:`map` has taken at any time before it returned their results; at least 1."""
        ...

    def side_stream(self) -> AbstractContextManager[None]:
        """Inside, work is queued to run beside what is queued outside later on, but after what was before."""
        ...
