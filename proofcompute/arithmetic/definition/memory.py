"""Implement the memory of a backend that computes on NumPy arrays: nothing moves, and a step is a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.definition.rotary import rope_table
from proofcompute.arithmetic.kernels import ONE, Matrix
from proofcompute.arrays import F32, I32, U8, Array, Batch, Span
from proofcompute.errors import FormatError

__all__ = ["HOST", "HostMemory"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_BLOCK: Final = 512
"""Positions in one cached piece of a rotary table."""
_NOTHING: Final = nullcontext()


@lru_cache(maxsize=64)
def _table(freqs: tuple[int, ...], scale: float, block: int) -> tuple[F32, F32]:
    """Return tables of positions block*512.. for frequencies given by bits, [512, r] each."""
    positions = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.int64)
    return rope_table(positions, np.array(freqs, np.uint32).view(np.float32), np.float32(scale))


@lru_cache(maxsize=8)  # every layer of a step asks for the same rows
def _rope_rows(freqs: tuple[int, ...], spans: tuple[Span, ...], scale: float) -> tuple[F32, F32]:
    cos: list[F32] = []
    sin: list[F32] = []
    for _, first, last in spans:
        for block in range(first // _BLOCK, (last - 1) // _BLOCK + 1):
            whole_cos, whole_sin = _table(freqs, scale, block)
            a, b = max(first - block * _BLOCK, 0), min(last - block * _BLOCK, _BLOCK)
            cos.append(whole_cos[a:b])
            sin.append(whole_sin[a:b])
    return np.concatenate(cos), np.concatenate(sin)


class HostMemory:
    """An implementation of :class:`proofcompute.arrays.Arrays` on NumPy arrays."""

    operation: str = ""
    ahead: int = 0

    def array(self, x: Any) -> Array:
        """Return ``x`` itself, or the memory of another library's array on the CPU (DLPack)."""
        return x if isinstance(x, np.ndarray) else np.from_dlpack(x)

    def local(self, x: Array) -> Array:
        """Return ``x`` itself."""
        return x

    def host(self, x: Array) -> Array:
        """Return ``x`` itself."""
        return x

    def weight(self, w: Matrix) -> Matrix:
        """Return ``w`` itself."""
        return w

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return a new array of zeros."""
        return np.zeros(shape, dtype)

    def concatenate(self, parts: Sequence[Array]) -> Array:
        """Return the arrays one after the other, along their first axis."""
        if len(parts) == 1:
            return parts[0]
        contracts.concatenate(parts)
        return np.concatenate(parts)

    def write_rows(self, x: Array, a: int, b: int, rows: Array) -> None:
        """Set ``x[a:b] = rows``."""
        x[a:b] = rows

    def slice_columns(self, x: Array, a: int, b: int) -> Array:
        """Return columns a..b of [n, d], contiguous."""
        contracts.slice_columns(x, a, b)
        return np.ascontiguousarray(x[:, a:b])

    def row_bytes(self, parts: Sequence[Array]) -> U8:
        """Return the bytes of the rows of all parts side by side, uint8 [n, width]."""
        n = contracts.row_bytes(parts)
        rows = [np.ascontiguousarray(p).reshape(n, -1).view(np.uint8) if n else _no_rows(p) for p in parts]
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)

    def gather(self, table: Array, ids: Array) -> Array:
        """Return rows of a table by number. Raises FormatError if there is no such row."""
        if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < len(table)):
            raise FormatError("an index is outside its table")
        return table[ids]

    def positions(self, spans: Sequence[Span]) -> I32:
        """Return the positions of the rows of all spans, int32 [n]."""
        return np.concatenate([np.arange(s.a, s.b, dtype=np.int32) for s in spans])

    def rope_rows(
        self, freqs: tuple[int, ...], spans: Sequence[Span], scale: np.float32 = ONE
    ) -> tuple[F32, F32]:
        """Return ``scale`` times cosines and sines of the positions of all spans: [n, r] each."""
        return _rope_rows(freqs, tuple(spans), float(scale))

    def step(
        self,
        capture: object,
        spans: Sequence[Span],
        f: Callable[[Sequence[Span]], I32 | None],
        batch: Batch | None = None,
    ) -> I32 | None:
        """Return ``f(spans)``."""
        return f(spans)

    def partition(self, sizes: Sequence[int]) -> Sequence[Any]:
        """Return this object for every segment."""
        return [self] * len(sizes)

    def map(self, f: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        """Apply ``f`` to one item after the other."""
        return map(f, items)

    def map_depth(self) -> int:
        """Return 1: one item is worked on at a time."""
        return 1

    def side_stream(self) -> AbstractContextManager[None]:
        """Return a context that does nothing, because work is done when it is asked for."""
        return _NOTHING


HOST: Final = HostMemory()
"""The memory of arrays that belong to no backend."""


def _no_rows(part: Array) -> U8:
    return np.zeros((0, part[:0].itemsize * int(np.prod(part.shape[1:], dtype=np.int64))), np.uint8)
