"""Implements arrays of the backend: they stay on the device, and decoding steps are captured and repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic import contracts
from proofcompute.arithmetic.backends.cuda.array import DeviceArray, Position, side_by_side
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i64
from proofcompute.arithmetic.backends.cuda.placing import placed
from proofcompute.arithmetic.backends.cuda.steps import Steps
from proofcompute.arithmetic.definition.memory import HOST
from proofcompute.arithmetic.kernels import ONE, Matrix
from proofcompute.arrays import Array, Batch, Span
from proofcompute.errors import FormatError, ProofcomputeError

__all__ = ["DeviceMemory"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_LONGEST: Final = 1 << 20
"""Most positions that tables have before more are needed: the domain of the angles ends there."""
_AHEAD: Final = 64
"""Finished rows from which hashing runs beside the next tokens' computation: one thread hashes one row."""


class DeviceMemory:
    """Implements :class:`proofcompute.arrays.Arrays` for arrays on one device."""

    ahead: int = _AHEAD

    def __init__(self, on: Launcher) -> None:
        self._on = on
        self._steps = Steps(on)
        self._weights: WeakKeyDictionary[Matrix, Matrix] = WeakKeyDictionary()
        self._angles: dict[tuple[tuple[int, ...], float], tuple[DeviceArray, DeviceArray]] = {}
        self._turns: dict[Any, tuple[Any, Any]] | None = None

    @property
    def operation(self) -> str:
        """The operation that runs now."""
        return self._on.operation

    @operation.setter
    def operation(self, value: str) -> None:
        self._on.operation = value

    def array(self, x: Any) -> Any:
        return self._on.array(x)

    def local(self, x: Any) -> Any:
        return self._on.array(x) if isinstance(x, DeviceArray) else x

    def host(self, x: Any) -> Array:
        return self._on.fetch(x) if isinstance(x, DeviceArray) else x

    def weight(self, w: Matrix) -> Matrix:
        placed: Any = w.q
        if isinstance(placed, DeviceArray):
            return w
        found = self._weights.get(w)
        if found is None:
            bias = None if w.bias is None else self.array(w.bias)
            found = self._weights[w] = Matrix(self.array(w.q), self.array(w.scale), bias)
        return found

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return self._on.zeros(dtype, *shape)

    @placed
    def concatenate(self, parts: Sequence[Given]) -> Any:
        contracts.concatenate(parts)
        on = self._on
        arrays = [on.array(p) for p in parts]
        if len(arrays) == 1:
            return arrays[0]
        first = arrays[0]
        out = on.new(first.dtype, sum(map(len, arrays)), *first.shape[1:])
        at = 0
        for a in arrays:
            on.columns(a.buffer, a.nbytes, out.buffer.part(at, a.nbytes), a.nbytes, 1, a.nbytes)
            at += a.nbytes
        return out

    def write_rows(self, x: Any, a: int, b: int, rows: Any) -> None:
        x[a:b] = rows

    @placed
    def slice_columns(self, x: Given, a: int, b: int) -> Any:
        on, x = self._on, self._on.array(x)
        n, d = contracts.slice_columns(x, a, b)
        if (a, b) == (0, d):
            return x
        out = on.new(x.dtype, n, b - a)
        if n:
            size = x.itemsize
            start = x.buffer.part(a * size, x.nbytes - a * size)
            on.columns(start, d * size, out.buffer, (b - a) * size, n, (b - a) * size)
        return out

    @placed
    def row_bytes(self, parts: Sequence[Given]) -> Any:
        on, n = self._on, contracts.row_bytes(parts)
        arrays = [on.array(p) for p in parts]
        width = sum(a.row_bytes for a in arrays)
        if len(arrays) == 1:
            return DeviceArray(on, arrays[0].buffer, np.uint8, (n, width))
        return side_by_side(on, arrays)

    @placed
    def gather(self, table: Given, ids: Given) -> Any:
        on, table = self._on, self._on.array(table)
        if ids.dtype != np.int32:
            ids = np.clip(ids, -1, np.iinfo(np.int32).max).astype(np.int32)
        ids = on.array(ids)
        out = on.new(table.dtype, *ids.shape, *table.shape[1:])
        status = on.fault((1, FormatError, "an index is outside its table"))
        sizes = (i64(len(table)), i64(table.row_bytes))
        on.over("take_rows", out.nbytes, table, *sizes, ids, i64(ids.size), out, status)
        return out

    def positions(self, spans: Sequence[Span]) -> Any:
        return self.array(HOST.positions(spans))

    def rope_rows(
        self, freqs: tuple[int, ...], spans: Sequence[Span], scale: np.float32 = ONE
    ) -> tuple[Any, Any]:
        key = freqs, float(scale), tuple(spans)
        known = None if self._turns is None else self._turns.get(key)
        if known is None:
            last = max((b.limit if isinstance(b, Position) else int(b)) for _, _, b in spans)
            cos, sin = self._table(freqs, scale, last)
            rows = [slice(a, b) for _, a, b in spans]
            known = self.concatenate([cos[r] for r in rows]), self.concatenate([sin[r] for r in rows])
            if self._turns is not None:
                self._turns[key] = known
        return known

    def _table(self, freqs: tuple[int, ...], scale: np.float32, rows: int) -> tuple[DeviceArray, DeviceArray]:
        """Return cosines and sines of at least positions 0..rows, computed anew if there are too few."""
        key = freqs, float(scale)
        known = self._angles.get(key)
        if known is None or len(known[0]) < rows:
            whole = max(rows, min(_LONGEST, 1 << max(9, (rows - 1).bit_length())))
            cos, sin = HOST.rope_rows(freqs, [Span(0, 0, whole)], scale)
            known = self._angles[key] = self._on.array(cos), self._on.array(sin)
        return known

    def step(
        self,
        capture: object,
        spans: Sequence[Span],
        f: Callable[[Sequence[Span]], Any],
        batch: Batch | None = None,
    ) -> Array | None:
        def afresh(given: Sequence[Span]) -> Any:
            self._turns = {}  # a failed capture leaves arrays that were never computed
            return f(given)

        with self.one_step():
            return self._steps.run(capture, spans, afresh)

    @property
    def refused(self) -> Sequence[str]:
        """Return why steps could not be captured; empty if all could."""
        return self._steps.refused

    @contextmanager
    def one_step(self) -> Iterator[None]:
        """Look up rows of rotary tables once for the step inside, since every layer asks for the same rows.

        They are kept no longer, since device memory may name the positions of a step's rows. A step that
        fails may run again and overwrite rows that are being hashed, so later work waits for the hashing.
        Checks that are pending when a step fails are dropped: they belong to no other step.
        """
        self._turns = {}
        done = False
        try:
            yield
            done = True
        finally:
            self._turns = None
            if not done:
                self._on.join()
                with suppress(ProofcomputeError):
                    self.look()

    def look(self) -> None:
        """Raise the error of the first check that found something."""
        self._on.faults.look()

    def partition(self, sizes: Sequence[int]) -> Sequence[Any]:
        return [self] * len(sizes)

    def map(self, f: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
        return HOST.map(f, items)

    def map_depth(self) -> int:
        return HOST.map_depth()

    def side_stream(self) -> AbstractContextManager[None]:
        return self._on.side_stream()
