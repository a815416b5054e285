"""Array types, and the protocol by which a backend makes, moves and synchronises its arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
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


class Member(NamedTuple):
    """One request of a batch."""

    buffers: Mapping[str, Array]
    """Arrays from ``zeros`` by the name of their tensor; row i of an array is row i of the trace."""
    draws: Array | None
    """Random numbers of the rows of the trace, uint64 [., 2]; None if there are none."""
    sampling: Any
    """The settings of the sampler, which ``sample`` takes."""
    windows: Mapping[str, Array] = MappingProxyType({})
    """Further arrays; row i of one is row ``first`` + i of the trace."""
    first: int = 0


class Batch(NamedTuple):
    """What a step computes in which every request has one row."""

    work: object
    """A key: batches with the same key do the same for every request, whichever requests they are of."""
    members: Sequence[Member]
    """The requests, one for each span."""


class Arrays(Protocol):
    """The part of a backend that stores arrays and schedules work on them."""

    operation: str
    """The operation that runs now. The interpreter sets it, and errors that are found later name it."""
    ahead: int
    """Number of finished rows from which it pays to hash them before the request ends; 0 means never."""

    def array(self, x: Any) -> Array:
        """Return a NumPy array, or any object that supports DLPack, as an array of this backend."""
        ...

    def local(self, x: Array) -> Array:
        """Return an array of another part of this backend (see ``partition``) as one of this part.

        Other arrays are returned unchanged.
        """
        ...

    def host(self, x: Array) -> Array:
        """Return an array of this backend as a NumPy array."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return a new array of zeros."""
        ...

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """Concatenate arrays along their first axis."""
        ...

    def write_rows(self, x: Array, a: int, b: int, rows: Array) -> None:
        """Overwrite rows a..b of an array that ``zeros`` returned."""
        ...

    def slice_columns(self, x: Array, a: int, b: int) -> Array:
        """Return columns a..b of [n, d]."""
        ...

    def row_bytes(self, parts: Sequence[Array]) -> U8:
        """Return the bytes of the rows of all parts side by side, uint8 [n, width]."""
        ...

    def gather(self, table: Array, ids: Array) -> Array:
        """Return rows of a table by their int32 numbers. Raises FormatError if a row does not exist."""
        ...

    def step(
        self,
        capture: object,
        spans: Sequence[Span],
        f: Callable[[Sequence[Span]], I32 | None],
        batch: Batch | None = None,
    ) -> I32 | None:
        """Run ``f(spans)``, wait for all of its checks, and return its int32 result on the host.

        Calls with the same ``capture`` (not None) must do the same work on spans of the same numbers and
        sizes, in the same buffers; only the positions may differ. A device may therefore record its launches
        and repeat them.

        With a ``batch``, every span is one row, of which ``f`` computes one element of its result or none,
        and reads and writes the buffers that the member has in this call. A backend may record what ``f``
        does for one span, repeat it for members of other batches with the same ``work``, and call ``f`` with
        some of the spans.

        Nothing is kept beyond the lifetime of ``capture`` or of ``work``.
        """
        ...

    def map(self, f: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """Yield ``f`` of each item in order; several calls may run at the same time on other threads.

        Items are taken from the iterable on the caller's thread. An error of a call is raised in place of its
        result, and an error of the iterable at once; in both cases all calls that began have ended before.
        """
        ...

    def map_depth(self) -> int:
        """Return how many items :meth:`map` takes ahead of the results it has returned; at least 1."""
        ...

    def side_stream(self) -> AbstractContextManager[None]:
        """Queue the work of a block so that it runs after all earlier work and beside later work."""
        ...
