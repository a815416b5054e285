"""Check the arguments of primitives, once for every backend, as :mod:`.contracts` does for other operations.

Each function returns the sizes that it found. It raises InputError, or FormatError or LimitError of
:mod:`.primitives`, before anything is allocated. Axes are those of a row: axis 0 follows the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from proofcompute.arithmetic.operands import Matrix
from proofcompute.arithmetic.primitives import (
    CUMULATIONS,
    ELEMENTS,
    Expression,
    View,
    check_expression,
    check_view,
    infer_put,
    infer_reduce,
)
from proofcompute.errors import InputError, LimitError
from proofcompute.limits import MAX_RANK, MAX_WIDTH

__all__ = [
    "contract",
    "cumulate",
    "evaluate",
    "join",
    "linear_through",
    "name_of",
    "order",
    "put",
    "reduce",
    "reduced",
    "row_size",
    "take",
    "view",
]

A: TypeAlias = Any
"""An array of any backend."""
_NAMES: Final = {dtype: name for name, dtype in ELEMENTS.items()}
_INDICES: Final = ("i32", "i64")


def name_of(x: A) -> str:
    """Return the name of the type of an array's elements."""
    name = _NAMES.get(np.dtype(x.dtype))
    if name is None:
        raise InputError(f"elements are of the types {', '.join(ELEMENTS)}, and not {x.dtype}")
    return name


def row_size(shape: Sequence[int]) -> int:
    """Return the number of elements of a row. Raises LimitError if there are too many, or too many axes."""
    if len(shape) > MAX_RANK or math.prod(shape) > MAX_WIDTH:
        raise LimitError(f"a row has at most {MAX_RANK} axes and {MAX_WIDTH} elements")
    return math.prod(shape)


def _row(x: A) -> tuple[int, ...]:
    """Return the shape of a row of ``x``."""
    if not x.shape:
        raise InputError("an array without rows")
    row_size(x.shape[1:])
    return tuple(x.shape[1:])


def _rows(*arrays: A) -> int:
    """Return the number of rows of arrays, of which those with one row are constants."""
    counts = {len(x) for x in arrays} - {1}
    if len(counts) > 1:
        raise InputError(f"arrays of {', '.join(map(str, sorted(counts)))} rows do not fit together")
    return counts.pop() if counts else 1


def _axis(axis: int, rank: int) -> None:
    if not 0 <= axis < rank:
        raise InputError(f"there is no axis {axis} in a row of {rank} axes")


def evaluate(
    expression: Expression, inputs: Sequence[A], n: int, shape: Sequence[int], views: Sequence[View | None]
) -> list[tuple[int, ...]]:
    """Check the arguments of ``evaluate``. Return the shape of the row of each input, after its view."""
    check_expression(expression)
    if [name_of(x) for x in inputs] != list(expression.inputs):
        raise InputError("the inputs are not of the types that the expression names")
    if views and len(views) != len(inputs):
        raise InputError("there is a view for some inputs, but not for each")
    row_size(shape)
    shapes = []
    for i, x in enumerate(inputs):
        row, seen = _row(x), views[i] if views else None
        if seen is not None:
            check_view(seen, expression.inputs[i], math.prod(row))
            row = seen.shape
        _broadcasts(x, n, row, shape)
        shapes.append(tuple(row))
    return shapes


def _broadcasts(x: A, n: int, row: Sequence[int], shape: Sequence[int]) -> None:
    """Raise InputError unless an array has n rows or one, and rows of ``row`` broadcast to ``shape``."""
    if len(x) not in (1, n):
        raise InputError(f"an input of {len(x)} rows where there are {n}")
    sizes = zip(reversed(row), reversed(shape), strict=False)
    if len(row) > len(shape) or any(have not in (1, want) for have, want in sizes):
        raise InputError(f"rows of shape {list(row)} do not broadcast to {list(shape)}")


def reduce(kind: str, x: A, axes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Check the arguments of ``reduce``. Return the shape that is left, and how many elements are reduced."""
    return reduced(kind, name_of(x), _row(x), axes)


def reduced(kind: str, dtype: str, row: Sequence[int], axes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Return what :func:`reduce` does, for rows of a type and a shape."""
    infer_reduce(kind, dtype)
    for axis in axes:
        _axis(axis, len(row))
    if len(set(axes)) != len(axes):
        raise InputError(f"an axis is named twice: {list(axes)}")
    count = math.prod(row[axis] for axis in axes)
    if not count and kind in ("max", "min", "argmax"):
        raise InputError(f"the {kind} of no elements")
    return tuple(size for axis, size in enumerate(row) if axis not in axes), count


def cumulate(kind: str, x: A, axis: int) -> tuple[int, int, int]:
    """Check the arguments of ``cumulate``. Return the elements before, along and after the axis of a row."""
    row = _row(x)
    if name_of(x) not in CUMULATIONS.get(kind, ()):
        raise InputError(f"no {kind!r} along an axis of {x.dtype}")
    _axis(axis, len(row))
    return math.prod(row[:axis]), row[axis], math.prod(row[axis + 1 :])


def view(x: A, v: View) -> int:
    """Check the arguments of ``view``. Return the number of elements of a row of the result."""
    check_view(v, name_of(x), math.prod(_row(x)))
    return math.prod(v.shape)


def join(xs: Sequence[A], axis: int) -> tuple[int, tuple[int, ...]]:
    """Check the arguments of ``join``. Return the rows, and the shape of a row, of the result."""
    if not xs:
        raise InputError("there are no arrays to join")
    first = _row(xs[0])
    _axis(axis, len(first))
    for x in xs:
        row = _row(x)
        others = row[:axis] + row[axis + 1 :], first[:axis] + first[axis + 1 :]
        if name_of(x) != name_of(xs[0]) or others[0] != others[1]:
            raise InputError("arrays that are joined have one type, and one shape but for the axis")
    shape = (*first[:axis], sum(x.shape[1 + axis] for x in xs), *first[axis + 1 :])
    row_size(shape)
    return _rows(*xs), shape


def _index(index: A) -> tuple[int, ...]:
    row = _row(index)
    if name_of(index) not in _INDICES:
        raise InputError(f"an index is of the types {' and '.join(_INDICES)}, and not {index.dtype}")
    return row


def take(x: A, index: A) -> tuple[int, tuple[int, ...]]:
    """Check the arguments of ``take``. Return the rows, and the shape of a row, of the result."""
    row, chosen = _row(x), _index(index)
    _axis(0, len(row))
    name_of(x)
    shape = (*chosen, *row[1:])
    row_size(shape)
    return _rows(x, index), shape


def put(x: A, index: A, values: A, how: str) -> int:
    """Check the arguments of ``put``. Return the rows of the result."""
    row, chosen = _row(x), _index(index)
    _axis(0, len(row))
    infer_put(how, name_of(x))
    if name_of(values) != name_of(x) or _row(values) != (*chosen, *row[1:]):
        raise InputError("values have the type of what they are put into, and a shape for the index")
    return _rows(x, index, values)


def order(x: A, axis: int) -> tuple[int, int, int]:
    """Check the arguments of ``order``. Return the elements before, along and after the axis of a row."""
    row = _row(x)
    name_of(x)
    _axis(axis, len(row))
    return math.prod(row[:axis]), row[axis], math.prod(row[axis + 1 :])


def contract(a: A, b: A, limbs: int) -> tuple[int, tuple[int, ...], int, int, int]:
    """Check the arguments of ``contract``. Return n, the batch's shape, p, d and q."""
    left, right = _row(a), _row(b)
    types = {name_of(a), name_of(b)}
    if limbs not in (0, 1, 2):
        raise InputError(f"a contraction has one or two limbs, or is of integers, and not {limbs}")
    if not types <= ({"f32"} if limbs else {"i8", "u8", "i32"}):
        raise InputError(f"a contraction of {limbs} limbs is not of {' and '.join(sorted(types))}")
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise InputError(f"factors of rows {list(left)} and {list(right)} do not fit together")
    rank = max(len(left), len(right)) - 2
    outer = [(1,) * (rank + 2 - len(row)) + row[:-2] for row in (left, right)]
    if any(i != j and 1 not in (i, j) for i, j in zip(*outer, strict=True)):
        raise InputError(f"factors of rows {list(left)} and {list(right)} do not broadcast")
    batch = tuple(j if i == 1 else i for i, j in zip(*outer, strict=True))
    row_size((*batch, left[-2], right[-1]))
    return _rows(a, b), batch, left[-2], left[-1], right[-1]


def linear_through(
    x: A, views: Sequence[View], w: Matrix, limbs: int, after: Expression | None, others: Sequence[A]
) -> tuple[int, ...]:
    """Return n, the axes that are rows of the product, and its contraction."""
    row, dtype = _row(x), name_of(x)
    for v in views:
        check_view(v, dtype, math.prod(row))
        row = v.shape
    if dtype != "f32" or not row:
        raise InputError("a product needs rows of float32 with an axis")
    *places, d = row
    limbs_of_weight, m, width = w.q.shape if len(w.q.shape) == 3 else (0, 0, -1)
    if width != d or w.scale.shape != (m,) or (w.bias is not None and w.bias.shape != (m,)):
        raise InputError(f"weights {list(w.q.shape)}, scales and biases do not fit rows of {list(row)}")
    if limbs not in (1, 2) or limbs_of_weight not in (1, 2):
        raise InputError("a number has one or two limbs")
    if d < 1:
        raise InputError("a contraction without elements")
    if after is not None:
        check_expression(after)
        result = (*places, m)
        row_size(result)
        if [dtype, *map(name_of, others)] != list(after.inputs):
            raise InputError("the product and what is beside it are not of the types of the expression")
        for other in others:
            _broadcasts(other, len(x), _row(other), result)
    elif others:
        raise InputError("arrays beside a product without an expression of them")
    return (len(x), *places, d)
