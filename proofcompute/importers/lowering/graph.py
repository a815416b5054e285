"""Lowers primitive operations: on constants they are computed at once, on rows they join the program.

Every function takes and returns values of :mod:`.values`. An operation on constants is folded with the
canonical arithmetic in NumPy, so a graph whose inputs are all constants is evaluated. A value without
elements is a constant too. Axes count from 0 and belong to the value, whose first axis is the first one of a
row: a graph is lowered for one row of a request, which holds a batch of one (or the whole batch).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import Array
from proofcompute.importers.lowering.base import (
    Elements,
    Limbs,
    Operand,
    Study,
    axis_of,
    empty,
    guard,
    numpy_kernels,
    rounded,
    scale_of,
)
from proofcompute.importers.lowering.values import STORED, Constant, RefusedError, Row, Value
from proofcompute.limits import MAX_WIDTH
from proofcompute.models.building.tensor import Number, Tensor
from proofcompute.program.operations import Order, Put, Reduce, Take, View, contiguous

__all__ = ["Graph", "Limbs", "Operand", "Study", "empty", "guard", "rounded", "scale_of"]


_QUICK: Final[Mapping[str, Callable[..., Array]]] = {"max": np.max, "min": np.min}
"""NumPy's own reductions of floats, which do not tell -0 from +0."""


@final
class Graph(Elements):
    """The program that a graph becomes: adds what reduces, orders, moves and looks up elements."""

    # -- along axes ----------------------------------------------------------------------------------
    def reduce(self, kind: str, x: Value, axes: Sequence[int], *, keep: bool = False) -> Value:
        """Reduce axes by ``sum``, ``prod``, ``max``, ``min`` or ``argmax`` (int32); of no axes it is x."""
        rank = len(x.shape)
        named = tuple(axis_of(a, rank) for a in axes)
        dtype = "i32" if kind == "argmax" else x.dtype
        if not named and kind != "argmax":
            return x
        left = tuple(n for i, n in enumerate(x.shape) if i not in named)
        kept = tuple(1 if i in named else n for i, n in enumerate(x.shape))
        if isinstance(x, Constant):
            if x.array.size == 0 and kind not in ("sum", "prod"):
                raise RefusedError(f"the {kind} of no elements")
            if self.quick and kind in _QUICK and x.array.dtype == np.float32:
                found = np.asarray(_QUICK[kind](x.array, axis=named))
            else:
                found = np.asarray(numpy_kernels().reduce(kind, x.array[None], named)[0])
            return Constant(found.reshape(kept if keep else left), dtype)
        there = tuple(x.order[a] for a in named)
        made = self.builder.apply(Reduce(kind, there), x.base)
        stay = sorted(a for a in x.order if a not in there)
        order = tuple(stay.index(a) for i, a in enumerate(x.order) if i not in named)
        row: Value = Row(made, order, dtype, x.inputs)
        if keep:
            row = self.reshape(row, kept)
        return self.wrap(row) if kind in ("sum", "prod") else row

    def cumulate(self, kind: str, x: Value, axis: int) -> Value:
        """Return running sums or products along an axis."""
        axis = axis_of(axis, len(x.shape))
        if isinstance(x, Constant):
            return self.wrap(Constant(numpy_kernels().cumulate(kind, x.array[None], axis)[0], x.dtype))
        made = self.builder.cumulate(kind, x.base, x.order[axis])
        return self.wrap(Row(made, x.order, x.dtype, x.inputs))

    def order(self, x: Value, axis: int) -> Value:
        """Return the int32 positions along an axis in ascending order of the elements, stable."""
        axis = axis_of(axis, len(x.shape))
        if isinstance(x, Constant):
            return Constant(numpy_kernels().order(x.array[None], axis)[0], "i32")
        return Row(self.builder.apply(Order(x.order[axis]), x.base), x.order, "i32", x.inputs)

    # -- moves ---------------------------------------------------------------------------------------
    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        """Return a value with its axes in another order, which moves nothing yet."""
        order = tuple(axis_of(a, len(x.shape)) for a in axes)
        if sorted(order) != list(range(len(x.shape))):
            raise RefusedError(f"{order} is no order of {len(x.shape)} axes")
        if isinstance(x, Constant):
            return Constant(x.array.transpose(order), x.dtype)
        return Row(x.base, tuple(x.order[a] for a in order), x.dtype, x.inputs)

    def strided(
        self,
        x: Value,
        shape: Sequence[int],
        strides: Sequence[int],
        offset: int = 0,
        low: Sequence[int] = (),
        high: Sequence[int] = (),
        fill: Number = 0,
    ) -> Value:
        """Read the flat value, axes in their order, as docs/spec/primitives.md says of a view."""
        shape = guard(shape)
        bits = int.from_bytes(np.array(fill).astype(ELEMENTS[STORED[x.dtype]]).tobytes(), "little")
        op = View(shape, tuple(strides), offset, tuple(low), tuple(high), bits)
        if isinstance(x, Constant):
            if 0 in shape:
                return Constant(np.zeros(shape, x.array.dtype), x.dtype)
            flat = np.ascontiguousarray(x.array).reshape(1, -1)
            return Constant(numpy_kernels().view(flat, op.view)[0], x.dtype)
        if 0 in shape:
            return empty(shape, x.dtype)
        return self.row(self.builder.view(self.tensor(x), op), x.dtype, x.inputs)

    def slice(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """Return part of an axis, as Python's range says; ``step`` may be negative."""
        axis, n = axis_of(axis, len(x.shape)), len(range(start, stop, step))
        if (start, step, n) == (0, 1, x.shape[axis]):
            return x
        if isinstance(x, Constant):
            return Constant(np.take(x.array, np.arange(start, stop, step), axis), x.dtype)
        if n == 0:
            return empty((*x.shape[:axis], 0, *x.shape[axis + 1 :]), x.dtype)
        at = x.order[axis]
        strides = list(contiguous(x.base.shape))
        offset = strides[at] * start
        strides[at] *= step
        shape = tuple(n if i == at else size for i, size in enumerate(x.base.shape))
        made = self.builder.view(x.base, View(shape, tuple(strides), offset))
        return Row(made, x.order, x.dtype, x.inputs)

    def pad(self, x: Value, low: Sequence[int], high: Sequence[int], fill: Number = 0) -> Value:
        """Return a value with margins of one element's value; negative margins cut."""
        for axis, (a, b) in enumerate(zip(low, high, strict=True)):
            if a < 0 or b < 0:
                x = self.slice(x, axis, max(0, -a), x.shape[axis] - max(0, -b))
        first, last = [max(0, a) for a in low], [max(0, b) for b in high]
        if not any(first) and not any(last):
            return x
        shape = guard([a + n + b for a, n, b in zip(first, x.shape, last, strict=True)])
        if isinstance(x, Constant):
            margins = list(zip(first, last, strict=True))
            filled = np.array(fill).astype(x.array.dtype)
            return Constant(np.pad(x.array, margins, constant_values=filled), x.dtype)
        there = sorted(range(len(shape)), key=lambda i: x.order[i])
        value = bool(fill) if x.dtype == "bool" else float(fill) if STORED[x.dtype] == "f32" else int(fill)
        made = self.builder.pad(x.base, [first[i] for i in there], [last[i] for i in there], value=value)
        return Row(made, x.order, x.dtype, x.inputs)

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        """Return a value repeated to a shape, as NumPy broadcasts."""
        shape = guard(shape)
        if x.shape == shape:
            return x
        if isinstance(x, Constant):
            try:
                return Constant(np.broadcast_to(x.array, shape), x.dtype)
            except ValueError:
                raise RefusedError(f"{list(x.shape)} does not broadcast to {list(shape)}") from None
        return self.row(self.builder.broadcast(self.tensor(x), shape), x.dtype, x.inputs)

    def concat(self, xs: Sequence[Value], axis: int) -> Value:
        """Join values of one type along an axis; those without elements are left out."""
        axis = axis_of(axis, len(xs[0].shape))
        rest = [(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs]
        if any(r != rest[0] or x.dtype != xs[0].dtype for x, r in zip(xs, rest, strict=True)):
            raise RefusedError("what is joined differs in type, or in another axis")
        guard((*xs[0].shape[:axis], sum(x.shape[axis] for x in xs), *xs[0].shape[axis + 1 :]))
        full = [x for x in xs if x.shape[axis]] or list(xs[:1])
        if len(full) == 1:
            return full[0]
        if all(isinstance(x, Constant) for x in full):
            return Constant(np.concatenate([self.known(x, "") for x in full], axis), xs[0].dtype)
        order = self._order(full, len(full[0].shape))
        back = tuple(order.index(j) for j in range(len(order)))
        tensors = [self._placed(x, back) for x in full]
        made = self.builder.concat(tensors, order[axis])
        return Row(made, order, xs[0].dtype, self._inputs(*full))

    def _placed(self, x: Value, back: tuple[int, ...]) -> Tensor:
        if isinstance(x, Constant):
            return self._constant(np.ascontiguousarray(x.array.transpose(back)))
        return self._aligned(x, x.shape, back)

    def take(self, x: Value, numbers: Value) -> Value:
        """Return entries of the first axis by numbers inside it: the numbers' axes, then the others."""
        if isinstance(x, Constant) and isinstance(numbers, Constant):
            guard((*numbers.shape, *x.shape[1:]))
            if numbers.array.size and not (
                0 <= int(numbers.array.min()) and int(numbers.array.max()) < x.shape[0]
            ):
                raise RefusedError(f"a number is outside an axis of {x.shape[0]}")
            return Constant(np.asarray(x.array[numbers.array]), x.dtype)
        if 0 in (*numbers.shape, *x.shape[1:]):
            return empty((*numbers.shape, *x.shape[1:]), x.dtype)
        if isinstance(x, Constant) and x.array.size > MAX_WIDTH:
            return self._take_in_parts(x, numbers)
        made = self.builder.apply(Take(), self.tensor(x), self.tensor(numbers))
        return self.row(made, x.dtype, self._inputs(x, numbers))

    def _take_in_parts(self, x: Constant, numbers: Value) -> Value:
        """Take entries of a table that is too large for one constant, some of its columns at a time."""
        rows = x.shape[0]
        wide = MAX_WIDTH // rows
        if not wide:
            raise RefusedError(f"a table of {rows} entries; a constant has at most {MAX_WIDTH} elements")
        flat = x.array.reshape(rows, math.prod(x.shape[1:]))
        parts = [flat[:, a : a + wide] for a in range(0, flat.shape[1], wide)]
        taken = [self.take(Constant(part, x.dtype), numbers) for part in parts]
        return self.reshape(self.concat(taken, -1), (*numbers.shape, *x.shape[1:]))

    def put(self, x: Value, numbers: Value, values: Value, how: str = "none") -> Value:
        """Return x with entries of its first axis updated, in the order of the numbers."""
        if 0 in values.shape:
            return x
        if all(isinstance(v, Constant) for v in (x, numbers, values)):
            arrays = [np.ascontiguousarray(self.known(v, ""))[None] for v in (x, numbers, values)]
            return self.wrap(Constant(numpy_kernels().put(arrays[0], arrays[1], arrays[2], how)[0], x.dtype))
        made = self.builder.apply(Put(how), *(self.tensor(v) for v in (x, numbers, values)))
        return self.wrap(self.row(made, x.dtype, self._inputs(x, numbers, values)))
