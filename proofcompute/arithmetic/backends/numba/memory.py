"""The memory part of the CPU backend: NumPy arrays where they are, and decoding steps that are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import numpy.typing as npt

from proofcompute.arithmetic.backends.numba import threads
from proofcompute.arithmetic.backends.numba.steps import Steps, recorded
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32, U8, Array, Place

__all__ = ["CpuMemory"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class CpuMemory:
    """:class:`proofcompute.arrays.Memory` of NumPy arrays, but for ``step``."""

    operation: str = ""
    ahead: int = 0

    def __init__(self) -> None:
        self.steps: Final = Steps()
        """Learns here which arrays are weights and buffers of traces."""

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
        return self.steps.buffer(HOST.zeros(shape, dtype))

    @recorded
    def put(self, x: Array, a: int, b: int, rows: Array) -> None:
        HOST.put(x, a, b, rows)

    @recorded
    def join(self, parts: Sequence[Array]) -> Array:
        return HOST.join(parts)

    def cut(self, x: Array, a: int, b: int) -> Array:
        return HOST.cut(x, a, b)

    def beside(self, parts: Sequence[Array]) -> U8:
        return HOST.beside(parts)

    @recorded
    def take(self, table: Array, ids: Array) -> Array:
        return HOST.take(table, ids)

    def rope_rows(self, freqs: tuple[int, ...], places: Sequence[Place]) -> tuple[F32, F32]:
        recording = self.steps.recording
        return (recording.rope_rows if recording else HOST.rope_rows)(freqs, places)

    def spread(self, sizes: Sequence[int]) -> Sequence[Any]:
        return [self] * len(sizes)

    def each(self, f: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        return threads.each(f, items)

    def lead(self) -> int:
        return threads.lead()

    def aside(self) -> AbstractContextManager[None]:
        return HOST.aside()
