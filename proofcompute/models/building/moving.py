"""Builds operations that move elements of a row: shapes, slices, margins, windows, joins, look-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType
from typing import TypeAlias

from proofcompute.errors import InputError
from proofcompute.models.building.assembly import bits_of
from proofcompute.models.building.elements import Elements, axis_of
from proofcompute.models.building.tensor import Index, Number, Tensor
from proofcompute.program.operations import Concat, Put, Take, View, contiguous, reshape

__all__ = ["Margin", "Moving", "each", "margins"]

Margin: TypeAlias = int | Sequence[int | tuple[int, int]]
"""Elements outside of the axes of places: one number for all ends, or for each axis a number or two."""


def each(value: int | Sequence[int], count: int, what: str) -> tuple[int, ...]:
    """Return one number for each of ``count`` axes. Raises InputError for another number of them."""
    numbers = (value,) * count if isinstance(value, int) else tuple(value)
    if len(numbers) != count:
        raise InputError(f"{what}: {len(numbers)} numbers for {count} axes")
    return numbers


def margins(value: Margin, count: int, what: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the elements before and after each of ``count`` axes.

    Raises InputError for another number of them, or for negative ones.
    """
    given = (value,) * count if isinstance(value, int) else tuple(value)
    pairs = [(m, m) if isinstance(m, int) else tuple(m) for m in given]
    if len(pairs) != count or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise InputError(f"{what}: {value} are no margins of {count} axes")
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


class Moving(Elements):
    """Methods that move elements. All but ``concat``, ``take`` and ``put`` are views."""

    def view(self, x: Tensor, view: View, *, name: str | None = None) -> Tensor:
        """Add any view of a row (docs/spec/primitives.md#view)."""
        return self._add(self._name("view", name), view, (x,))

    def reshape(self, x: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
        """Add the row in another shape; one axis may be -1, for what is left."""
        known = math.prod(n for n in shape if n != -1)
        full = tuple(x.width // max(1, known) if n == -1 else n for n in shape)
        if math.prod(full) != x.width or list(shape).count(-1) > 1:
            raise InputError(f"a row of {list(x.shape)} has no shape {list(shape)}")
        return self._add(self._name("reshape", name), reshape(full), (x,))

    def transpose(self, x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
        """Add the row with its axes in another order; reversed, if none is given."""
        rank = len(x.shape)
        order = tuple(axis_of(a, rank) for a in axes) if axes is not None else tuple(reversed(range(rank)))
        if sorted(order) != list(range(rank)):
            raise InputError(f"{order} is no order of {rank} axes")
        strides = contiguous(x.shape)
        op = View(tuple(x.shape[a] for a in order), tuple(strides[a] for a in order))
        return self._add(self._name("transpose", name), op, (x,))

    def slice(self, x: Tensor, index: Index, *, name: str | None = None) -> Tensor:
        """Add part of a row, chosen by numbers and slices as in NumPy; also written ``x[index]``."""
        parts: list[int | slice | EllipsisType] = list(index) if isinstance(index, tuple) else [index]
        if parts.count(...) > 1:
            raise InputError("at most one ellipsis stands in brackets")
        missing = len(x.shape) - sum(p is not ... for p in parts)
        at = parts.index(...) if ... in parts else len(parts)
        parts[at : at + 1] = [slice(None)] * missing
        if missing < 0 or len(parts) != len(x.shape):
            raise InputError(f"{x.name}: a row of {len(x.shape)} axes has no {index!r}")
        shape, strides, offset = [], [], 0
        for part, size, step in zip(parts, x.shape, contiguous(x.shape), strict=True):
            if isinstance(part, slice):
                if not all(isinstance(n, int | None) for n in (part.start, part.stop, part.step)):
                    raise InputError(f"{x.name}: {part} is not a slice of whole numbers")
                if part.step == 0:
                    raise InputError(f"{x.name}: a slice has the step 0")
                first, last, by = part.indices(size)
                shape.append(len(range(first, last, by)))
                strides.append(by * step)
            elif isinstance(part, int):
                first = axis_of(part, size)
            else:
                raise InputError(f"{part!r} is neither a number nor a slice")
            offset += first * step
        return self._add(self._name("slice", name), View(tuple(shape), tuple(strides), offset), (x,))

    def split(self, x: Tensor, sizes: Sequence[int], axis: int = -1) -> tuple[Tensor, ...]:
        """Add consecutive pieces of a row along an axis, of these sizes, which must add up."""
        axis = axis_of(axis, len(x.shape))
        if sum(sizes) != x.shape[axis]:
            raise InputError(f"pieces of {list(sizes)} are not an axis of {x.shape[axis]}")
        before: tuple[slice, ...] = (slice(None),) * axis
        out, a = [], 0
        for size in sizes:
            out.append(self.slice(x, (*before, slice(a, a + size))))
            a += size
        return tuple(out)

    def flip(self, x: Tensor, axes: int | Sequence[int], *, name: str | None = None) -> Tensor:
        """Add the row with the elements along some axes in reverse order."""
        found = {axis_of(a, len(x.shape)) for a in ((axes,) if isinstance(axes, int) else axes)}
        steps = contiguous(x.shape)
        strides = tuple(-s if i in found else s for i, s in enumerate(steps))
        offset = sum(steps[i] * (x.shape[i] - 1) for i in found)
        return self._add(self._name("flip", name), View(x.shape, strides, offset), (x,))

    def pad(
        self,
        x: Tensor,
        low: int | Sequence[int],
        high: int | Sequence[int] | None = None,
        *,
        value: Number = 0,
        name: str | None = None,
    ) -> Tensor:
        """Add the row with so many elements of a value before and after each axis.

        ``high`` is ``low`` if None. Fewer numbers than axes are those of the first axes; the others get no
        margin.
        """
        rank = len(x.shape)
        count = rank if isinstance(low, int) else len(low)
        first = each(low, count, "pad")
        last = first if high is None else each(high, count, "pad")
        if count > rank or min((*first, *last), default=0) < 0:
            raise InputError(f"pad: {first} and {last} are no margins of {rank} axes")
        before, after = (tuple(m) + (0,) * (rank - count) for m in (first, last))
        strides = contiguous(x.shape)
        shape = tuple(a + n + b for a, n, b in zip(before, x.shape, after, strict=True))
        op = View(
            shape,
            strides,
            -sum(a * s for a, s in zip(before, strides, strict=True)),
            before,
            tuple(a + n for a, n in zip(before, x.shape, strict=True)),
            bits_of(float(value) if x.dtype == "f32" else value, x.dtype),
        )
        return self._add(self._name("pad", name), op, (x,))

    def broadcast(self, x: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
        """Add the row repeated to a shape, as NumPy broadcasts."""
        rank = len(shape)
        sizes = (1,) * (rank - len(x.shape)) + x.shape
        if len(sizes) != rank or any(n not in (1, m) for n, m in zip(sizes, shape, strict=True)):
            raise InputError(f"a row of {list(x.shape)} does not broadcast to {list(shape)}")
        strides = tuple(0 if n == 1 else s for n, s in zip(sizes, contiguous(sizes), strict=True))
        return self._add(self._name("broadcast", name), View(tuple(shape), strides), (x,))

    def windows(
        self,
        x: Tensor,
        size: Sequence[int],
        strides: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        *,
        name: str | None = None,
    ) -> Tensor:
        """Add windows over the first axes: [places ..., *size, other axes ...]."""
        count = len(size)
        by, apart = each(strides, count, "windows"), each(dilation, count, "windows")
        if not 1 <= count <= len(x.shape) or min((*size, *by, *apart)) < 1:
            raise InputError(f"windows of {list(size)} over a row of {list(x.shape)}")
        axes = list(zip(x.shape, size, by, apart, strict=False))
        places = tuple((n - (k - 1) * a - 1) // s + 1 for n, k, s, a in axes)
        if min(places) < 1:
            raise InputError(f"windows of {list(size)} are larger than a row of {list(x.shape)}")
        steps = contiguous(x.shape)
        op = View(
            (*places, *size, *x.shape[count:]),
            (
                *(step * s for step, s in zip(steps, by, strict=False)),
                *(step * a for step, a in zip(steps, apart, strict=False)),
                *steps[count:],
            ),
        )
        return self._add(self._name("windows", name), op, (x,))

    def spread(self, x: Tensor, strides: int | Sequence[int], *, name: str | None = None) -> Tensor:
        """Add the row with zeros between its places: element i of an axis goes to i times its stride.

        The first axes are spread, one for each number; each becomes as long as its length times its stride.
        """
        by = each(strides, len(x.shape) if isinstance(strides, int) else len(strides), "spread")
        count = len(by)
        if count > len(x.shape) or min(by, default=1) < 1:
            raise InputError(f"spread: {by} are no strides of a row of {list(x.shape)}")
        steps = contiguous(x.shape)
        shape, strides_, high = [], [], []
        for i, (n, step) in enumerate(zip(x.shape, steps, strict=True)):
            shape += [n, by[i]] if i < count else [n]
            strides_ += [step, step] if i < count else [step]
            high += [n, 1] if i < count else [n]
        if set(by) <= {1}:
            return self.reshape(x, x.shape, name=name)
        op = View(tuple(shape), tuple(strides_), 0, (0,) * len(shape), tuple(high))
        apart = self._add(self._name("zeros", None), op, (x,))
        wide = tuple(n * s for n, s in zip(x.shape, by, strict=False))
        return self.reshape(apart, (*wide, *x.shape[count:]), name=name)

    # -- joins and look-ups --------------------------------------------------------------------------
    def concat(self, xs: Sequence[Tensor], axis: int = 0, *, name: str | None = None) -> Tensor:
        """Add rows of one type one after the other along an axis."""
        if not xs:
            raise InputError("concat: needs a tensor")
        return self._add(self._name("concat", name), Concat(axis_of(axis, len(xs[0].shape)), len(xs)), xs)

    def take(self, x: Tensor, numbers: Tensor, axis: int = 0, *, name: str | None = None) -> Tensor:
        """Add entries of an axis, chosen by int32 or int64 numbers, whose axes stand where the axis was."""
        axis, rank, new = axis_of(axis, len(x.shape)), len(x.shape), len(numbers.shape)
        if axis == 0:
            return self._add(self._name("take", name), Take(), (x, numbers))
        front = self.transpose(x, (axis, *(a for a in range(rank) if a != axis)))
        taken = self._add(self._name("take", None), Take(), (front, numbers))
        order = (*range(new, new + axis), *range(new), *range(new + axis, new + rank - 1))
        return self.transpose(taken, order, name=name)

    def put(
        self, x: Tensor, numbers: Tensor, values: Tensor, how: str = "none", *, name: str | None = None
    ) -> Tensor:
        """Add x with entries of its first axis updated in the order of the numbers.

        ``how`` is ``none`` (the last value wins), ``add``, ``mul``, ``max`` or ``min``.
        """
        return self._add(self._name("put", name), Put(how), (x, numbers, values))
