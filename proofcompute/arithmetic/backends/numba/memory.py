"""Provide the CPU backend's memory: NumPy arrays in place, and decoding steps that are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps.repeating import Steps, recorded
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.kernels import ONE, Matrix
from proofcompute.arrays import F32, I32, U8, Array, Span

__all__ = ["CpuMemory"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class CpuMemory:
    """An implementation of :class:`proofcompute.arrays.Arrays` for NumPy arrays, without ``step``."""

    operation: str = ""
    ahead: int = 0

    def __init__(self) -> None:
        self.steps: Final = Steps()
        """The steps, which learn from these methods which arrays are weights and buffers of traces."""

    def array(self, x: Any) -> Array:
        return self.steps.constant(HOST.array(x))

    def local(self, x: Array) -> Array:
        return x

    def host(self, x: Array) -> Array:
        return x

    def weight(self, w: Matrix) -> Matrix:
        for part in (w.q, w.scale, w.bias):
            if part is not None:
                self.steps.constant(part)
        return w

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return HOST.zeros(shape, dtype)

    @recorded
    def write_rows(self, x: Array, a: int, b: int, rows: Array) -> None:
        HOST.write_rows(x, a, b, rows)

    @recorded
    def concatenate(self, parts: Sequence[Array]) -> Array:
        return HOST.concatenate(parts)

    @recorded
    def slice_columns(self, x: Array, a: int, b: int) -> Array:
        made = HOST.slice_columns(x, a, b)
        return made if self.steps.recording is None else made.copy()  # so that no two results share a place

    def row_bytes(self, parts: Sequence[Array]) -> U8:
        return HOST.row_bytes(parts)

    @recorded
    def positions(self, spans: Sequence[Span]) -> I32:
        return HOST.positions(spans)

    @recorded
    def gather(self, table: Array, ids: Array) -> Array:
        return HOST.gather(table, ids)

    def rope_rows(
        self, freqs: tuple[int, ...], spans: Sequence[Span], scale: np.float32 = ONE
    ) -> tuple[F32, F32]:
        recording = self.steps.recording
        return (recording.rope_rows if recording else HOST.rope_rows)(freqs, spans, scale)

    def partition(self, sizes: Sequence[int]) -> Sequence[Any]:
        return [self] * len(sizes)

    def map(self, f: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        return threads.ordered_map(f, items)

    def map_depth(self) -> int:
        return threads.map_depth()

    def side_stream(self) -> AbstractContextManager[None]:
        return HOST.side_stream()
