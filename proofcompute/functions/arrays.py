"""Functions that move elements or make arrays, which a traced function may use, by NumPy's names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np

from proofcompute.functions.elementwise import ELEMENTWISE
from proofcompute.functions.sums import SUMS
from proofcompute.functions.values import (
    NUMPY,
    Operand,
    Rows,
    Traced,
    as_traced,
    inner_axes,
    of_one_type,
    type_name,
)
from proofcompute.importers.lowering import moves
from proofcompute.importers.lowering.values import RefusedError, constant, is_float

__all__ = ["ARRAYS"]

Axes = int | Sequence[int] | None


# -- shapes ------------------------------------------------------------------------------------------------
def _lengths(shape: Any) -> tuple[tuple[int, ...], bool]:
    """Return a shape with 1 for the number of rows, and whether it begins with that number."""
    given = (shape,) if isinstance(shape, int | np.integer | Rows) else tuple(shape)
    if any(isinstance(n, Rows) for n in given[1:]):
        raise RefusedError("the number of rows may only stand first in a shape")
    rows = bool(given) and isinstance(given[0], Rows)
    return tuple(1 if isinstance(n, Rows) else int(n) for n in given), rows


def _reshape(t: Traced, x: Operand, *shape: Any) -> Traced:
    found = as_traced(t, x)
    wanted, rows = _lengths(shape[0] if len(shape) == 1 else shape)
    size = math.prod(found.value.shape)
    if found.rows and not rows:
        if wanted[:1] != (-1,) or any(n < 0 for n in wanted[1:]):
            raise RefusedError("a reshape mixes rows; begin the shape with the array's own first length")
        wanted = (1, *wanted[1:])
    if rows and not found.rows:
        raise RefusedError("an array without rows in a shape with rows")
    if wanted.count(-1) == 1:
        rest = math.prod(n for n in wanted if n != -1)
        if rest < 1 or size % rest:
            raise RefusedError(f"{list(found.shape)} has no shape {list(wanted)}")
        wanted = tuple(size // rest if n == -1 else n for n in wanted)
    if math.prod(wanted) != size:
        raise RefusedError(f"{list(found.shape)} has no shape {list(wanted)} that keeps rows apart")
    return found.like(t.graph.reshape(found.value, wanted))


def _transpose(t: Traced, x: Operand, *axes: Any) -> Traced:
    found = as_traced(t, x)
    given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    order = tuple(range(found.ndim))[::-1] if not given else tuple(int(a) for a in given)
    return _ordered(found, tuple(a % found.ndim if -found.ndim <= a else a for a in order))


def _ordered(x: Traced, order: Sequence[int]) -> Traced:
    if x.rows and tuple(order[:1]) != (0,):
        raise RefusedError("a transpose moves the axis of rows; keep it first")
    return x.like(x.graph.transpose(x.value, order))


def _swapaxes(t: Traced, x: Operand, axis1: int, axis2: int) -> Traced:
    found = as_traced(t, x)
    order = list(range(found.ndim))
    (i,), (j,) = (inner_axes(found, a, "an exchange") for a in (axis1, axis2))
    order[i], order[j] = order[j], order[i]
    return _ordered(found, order)


def _moveaxis(t: Traced, x: Operand, source: int, destination: int) -> Traced:
    found = as_traced(t, x)
    (i,), (j,) = (inner_axes(found, a, "a move") for a in (source, destination))
    order = [a for a in range(found.ndim) if a != i]
    order.insert(j, i)
    return _ordered(found, order)


def _expand_dims(t: Traced, x: Operand, axis: int) -> Traced:
    found = as_traced(t, x)
    at = axis % (found.ndim + 1) if -found.ndim - 1 <= axis else axis
    if at > found.ndim or (found.rows and at == 0):
        raise RefusedError(f"a new axis {axis} would stand before the rows, or beyond the last one")
    own = found.value.shape
    return found.like(t.graph.reshape(found.value, (*own[:at], 1, *own[at:])))


def _squeeze(t: Traced, x: Operand, axis: Axes = None) -> Traced:
    found = as_traced(t, x)
    axes = inner_axes(found, axis, "a squeeze")
    if axis is not None and any(found.value.shape[a] != 1 for a in axes):
        raise RefusedError("a squeezed axis is longer than 1")
    kept = [n for a, n in enumerate(found.value.shape) if a not in axes or n != 1]
    return found.like(t.graph.reshape(found.value, kept))


def _broadcast_to(t: Traced, x: Operand, shape: Any) -> Traced:
    found = as_traced(t, x)
    wanted, rows = _lengths(shape)
    if found.rows and (not rows or len(wanted) != found.ndim):
        raise RefusedError("a broadcast moves rows; begin the shape with the array's own first length")
    if rows and not found.rows and found.ndim == len(wanted) and found.value.shape[0] != 1:
        raise RefusedError("an array has entries along the axis of rows")
    return found.like(t.graph.broadcast(found.value, wanted), rows=rows)


# -- joining and taking ------------------------------------------------------------------------------------
def _concatenate(t: Traced, arrays: Sequence[Operand], axis: int = 0) -> Traced:
    found = of_one_type(t, arrays)
    (at,) = inner_axes(next((x for x in found if x.rows), found[0]), axis, "joining")
    rows = any(x.rows for x in found)
    if rows and not all(x.rows for x in found):
        raise RefusedError("arrays with and without rows are joined; make the others with zeros_like and add")
    return t.like(t.graph.concat([x.value for x in found], at), rows=rows)


def _stack(t: Traced, arrays: Sequence[Operand], axis: int = 0) -> Traced:
    return _concatenate(t, [_expand_dims(t, as_traced(t, x), axis) for x in arrays], axis)


def _split(t: Traced, x: Operand, parts: int | Sequence[int], axis: int = 0) -> list[Traced]:
    found = as_traced(t, x)
    (at,) = inner_axes(found, axis, "a split")
    n = found.value.shape[at]
    if isinstance(parts, int):
        if parts < 1 or n % parts:
            raise RefusedError(f"an axis of {n} has no {parts} equal parts")
        cuts = [n // parts * i for i in range(1, parts)]
    else:
        cuts = [int(i) for i in parts]
    edges = [0, *(range(n)[slice(i, None)].start for i in cuts), n]
    return [found.like(t.graph.slice(found.value, at, a, max(a, b))) for a, b in pairwise(edges)]


def _take(t: Traced, x: Operand, indices: Any, axis: int | None = None) -> Traced:
    found, numbers = as_traced(t, x), as_traced(t, indices)
    (at,) = inner_axes(found, axis if axis is not None or found.ndim != 1 else 0, "taking")[:1] or (0,)
    if axis is None and found.ndim != 1:
        raise RefusedError("taking from all axes; give one")
    if is_float(numbers.value.dtype) or numbers.value.dtype == "bool":
        raise RefusedError(f"indices of type {numbers.value.dtype}; give integers")
    if numbers.rows and (found.rows or at):
        raise RefusedError("indices that depend on rows take from axis 0 of an array without rows only")
    return t.like(moves.gather(t.graph, found.value, numbers.value, at), rows=found.rows or numbers.rows)


def _take_along(t: Traced, x: Operand, indices: Operand, axis: int) -> Traced:
    found, numbers = as_traced(t, x), as_traced(t, indices)
    (at,) = inner_axes(found, axis, "taking")
    shapes = [v.value.shape[:at] + v.value.shape[at + 1 :] for v in (found, numbers)]
    if found.rows != numbers.rows or shapes[0] != shapes[1]:
        raise RefusedError("the indices have other axes than the array")
    return found.like(moves.gather_elements(t.graph, found.value, numbers.value, at))


def _getitem(t: Traced, x: Traced, index: Any) -> Traced:
    entries = list(index) if isinstance(index, tuple) else [index]
    named = sum(e is not None and e is not Ellipsis for e in entries)
    if sum(e is Ellipsis for e in entries) == 0:
        entries.append(Ellipsis)
    if sum(e is Ellipsis for e in entries) != 1 or named > x.ndim:
        raise RefusedError(f"an index of {named} axes into an array with {x.ndim}")
    at = next(i for i, e in enumerate(entries) if e is Ellipsis)
    entries[at : at + 1] = [slice(None)] * (x.ndim - named)
    if x.rows and not (isinstance(entries[0], slice) and entries[0] == slice(None)):
        raise RefusedError("an index takes rows apart; begin it with a colon")
    arrays = [e for e in entries if not (e is None or isinstance(e, slice | int | np.integer))]
    if arrays and (len(arrays) > 1 or any(isinstance(e, int | np.integer) for e in entries)):
        raise RefusedError("an index of several arrays or of arrays and numbers")
    made, axis = x, 0
    for e in entries:
        if e is None:
            made = _expand_dims(t, made, axis)
            axis += 1
        elif isinstance(e, slice):
            n = made.value.shape[axis]
            if not (made.rows and axis == 0):
                made = made.like(t.graph.slice(made.value, axis, *e.indices(n)))
            axis += 1
        elif isinstance(e, bool):
            raise RefusedError("an index of a boolean")
        else:
            taken = _take(t, made, int(e) if isinstance(e, int | np.integer) else e, axis)
            axis += taken.ndim - made.ndim + 1
            made = taken
    return made


def _flip(t: Traced, x: Operand, axis: int) -> Traced:
    found = as_traced(t, x)
    (at,) = inner_axes(found, axis, "a flip")
    return found.like(moves.flip(t.graph, found.value, at))


def _repeat(t: Traced, x: Operand, repeats: int, axis: int) -> Traced:
    found = as_traced(t, x)
    (at,) = inner_axes(found, axis, "a repetition")
    n = found.value.shape[at]
    return _take(t, found, np.repeat(np.arange(n), repeats).tolist(), at)


def _triangle(t: Traced, x: Operand, k: int = 0, *, upper: bool) -> Traced:
    found = as_traced(t, x)
    if found.ndim < (3 if found.rows else 2):
        raise RefusedError("a triangle of rows")
    return found.like(moves.triangle(t.graph, found.value, k, upper=upper))


# -- new arrays --------------------------------------------------------------------------------------------
def _full(t: Traced, shape: Any, fill_value: Any, dtype: Any = None) -> Traced:
    lengths, rows = _lengths(shape)
    kind = type_name(np.asarray(fill_value).dtype if dtype is None else dtype)
    return t.like(constant(np.full(lengths, fill_value), kind), rows=rows)


def _filled(t: Traced, shape: Any, dtype: Any = float, *, fill: int) -> Traced:
    return _full(t, shape, fill, dtype)


def _like(t: Traced, x: Operand, dtype: Any = None, *, fill: int) -> Traced:
    found = as_traced(t, x)
    return _full(t, found.shape, fill, NUMPY[found.value.dtype] if dtype is None else dtype)


def _full_like(t: Traced, x: Operand, fill_value: Any, dtype: Any = None) -> Traced:
    found = as_traced(t, x)
    return _full(t, found.shape, fill_value, NUMPY[found.value.dtype] if dtype is None else dtype)


def _made(function: Callable[..., Any]) -> Callable[..., Traced]:
    def made(t: Traced, *args: Any, **kwargs: Any) -> Traced:
        found = np.asarray(function(*args, **kwargs))
        return t.like(constant(found, type_name(found.dtype)), rows=False)

    return made


def _array(t: Traced, x: Any, dtype: Any = None) -> Traced:
    found = as_traced(t, x)
    made: Traced = found if dtype is None else ELEMENTWISE["astype"](t, found, dtype)
    return made


def _copy(t: Traced, x: Operand) -> Traced:
    return as_traced(t, x)


ARRAYS: Final[dict[str, Callable[..., Any]]] = {
    **SUMS,
    "reshape": _reshape,
    "transpose": _transpose,
    "swapaxes": _swapaxes,
    "moveaxis": _moveaxis,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "broadcast_to": _broadcast_to,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "take": _take,
    "take_along_axis": _take_along,
    "getitem": _getitem,
    "flip": _flip,
    "repeat": _repeat,
    "tril": partial(_triangle, upper=False),
    "triu": partial(_triangle, upper=True),
    "full": _full,
    "zeros": partial(_filled, fill=0),
    "ones": partial(_filled, fill=1),
    "full_like": _full_like,
    "zeros_like": partial(_like, fill=0),
    "ones_like": partial(_like, fill=1),
    "arange": _made(np.arange),
    "linspace": _made(np.linspace),
    "eye": _made(np.eye),
    "array": _array,
    "asarray": _array,
    "copy": _copy,
}
"""Each takes any array of the trace, then what NumPy's function takes."""
