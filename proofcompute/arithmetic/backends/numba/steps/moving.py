"""Say which commands each call becomes that moves rows and elements, for one row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.axes import axes_of, has_margin
from proofcompute.arithmetic.backends.numba.steps.arena import Value
from proofcompute.arithmetic.backends.numba.steps.recording import Recording, UnknownCallError
from proofcompute.arithmetic.primitives import View
from proofcompute.arrays import I32, Array, Span

__all__ = ["gather", "join", "positions", "slice_columns", "take", "view", "write_rows"]

_MOST_PARTS: Final = 1 << 16
"""Most parts of a row that a copy moves."""


def write_rows(r: Recording, result: None, target: Array, a: int, b: int, rows: Array) -> None:
    """Record ``write_rows``."""
    to = target[a:b]
    if rows.dtype != to.dtype or rows.shape != to.shape:
        raise UnknownCallError
    r.add("WRITE", x=r.row(rows), buffer=r.column(to), width=rows.nbytes)


def gather(r: Recording, result: Array, table: Array, ids: Array) -> None:
    """Record ``gather``."""
    if ids.dtype != np.int32 or ids.shape != (1,) or not table.flags.c_contiguous:
        raise UnknownCallError
    sizes = {"m": len(table), "width": table.strides[0]}
    r.add("TAKE", x=r.fixed(table), ids=r.row(ids), **sizes, out=r.made(result))


def take(r: Recording, result: Array, x: Array, index: Array) -> None:
    """Record ``take``."""
    if index.dtype != np.int32 or len(x) != 1 or len(index) != 1 or not x.size:
        raise UnknownCallError
    where, step = r.operand(x)
    sizes = {"m": x.shape[1], "d": step, "width": x.nbytes // x.shape[1], "count": index.size}
    r.add("TAKE", x=where, ids=r.row(index), **sizes, out=r.made(result))


def positions(r: Recording, result: I32, spans: Sequence[Span]) -> None:
    """Record ``positions``."""
    if tuple(spans) != (r.span,):
        raise UnknownCallError
    r.add("POSITION", out=r.made(result))


def _copied(r: Recording, x: Array, places: Array, size: int, out: Value) -> None:
    """Copy parts of ``size`` bytes of a row, from and to places [parts, 2], in bytes."""
    where, step = r.operand(x)
    sizes = {"d": step, "width": out.width, "m": len(places), "share": size}
    r.add("COPY", x=where, ids=r.table(np.ascontiguousarray(places, np.int64)), **sizes, out=out)


def slice_columns(r: Recording, result: Array, x: Array, a: int, b: int) -> None:
    """Record ``slice_columns``."""
    if len(x) != 1:
        raise UnknownCallError
    _copied(r, x, np.array([[a * x.itemsize, 0]]), result.nbytes, r.made(result))


def join(r: Recording, result: Array, xs: Sequence[Array], axis: int) -> None:
    """Record ``join``."""
    if len(result) != 1:
        raise UnknownCallError
    outer = np.arange(math.prod(result.shape[1 : 1 + axis]))
    whole, at, out = result.nbytes // max(1, len(outer)), 0, r.made(result)
    for x in xs:
        size = x.nbytes // max(1, len(outer))
        if size:
            _copied(r, x, np.stack((outer * size, outer * whole + at), axis=1), size, out)
        at += size


def view(r: Recording, result: Array, x: Array, v: View) -> None:
    """Record ``view`` without a margin."""
    if len(x) != 1 or has_margin(v) or not result.size:
        raise UnknownCallError
    axes = axes_of(1, v.shape, [(1, x.shape[1:], v)])
    sizes, strides, size = axes.sizes, axes.strides[0], 1
    if strides[-1] == 1:
        sizes, strides, size = sizes[:-1], strides[:-1], sizes[-1]
    if math.prod(sizes) > _MOST_PARTS:
        raise UnknownCallError
    at = np.indices(sizes).reshape(len(sizes), math.prod(sizes))
    start = axes.offsets[0] + np.array(strides, np.int64) @ at if sizes else np.array([axes.offsets[0]])
    places = np.stack((start, np.arange(len(start)) * size), axis=1) * x.itemsize
    _copied(r, x, places, size * x.itemsize, r.made(result))
