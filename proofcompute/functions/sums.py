"""Products and reductions that a traced function may use, by NumPy's names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from proofcompute.functions.elementwise import ELEMENTWISE
from proofcompute.functions.values import (
    Operand,
    Traced,
    as_traced,
    cast,
    inner_axes,
    of_one_type,
)
from proofcompute.importers.lowering import elements, moves, norms, products
from proofcompute.importers.lowering.values import RefusedError, is_float

__all__ = ["SUMS"]

Axes = int | Sequence[int] | None


# -- products ----------------------------------------------------------------------------------------------
def _matmul(t: Traced, x: Operand, y: Operand) -> Traced:
    a, b = of_one_type(t, (x, y))
    if a.ndim == 0 or b.ndim == 0:
        raise RefusedError("a matrix product of a number")
    rows = a.rows or b.rows
    if not is_float(a.value.dtype):
        raise RefusedError(f"a matrix product of {a.value.dtype}; convert to float32 first")
    if rows:
        _check_product(a, b)
    return t.like(products.matmul(t.graph, a.value, b.value), rows=rows)


def _check_product(a: Traced, b: Traced) -> None:
    """Raise RefusedError unless axis 0 of the operands with rows is axis 0 of the product, and not summed."""
    rank = max(a.ndim, b.ndim)
    for x, other, least in ((a, b, 2), (b, a, 3)):
        # a matrix with rows may be multiplied by a constant matrix or vector from the right only
        if x.rows and x.ndim < (least if not other.rows else 3):
            raise RefusedError(f"a product of arrays with {a.ndim} and {b.ndim} axes mixes rows")
        if x.rows and x.ndim != rank:
            raise RefusedError(f"in a product of arrays with {a.ndim} and {b.ndim} axes, rows are not axis 0")
        stacked = x.ndim == rank and rank > 2 and not x.rows
        if stacked and x.value.shape[0] != 1:
            raise RefusedError(f"a stack of {x.value.shape[0]} matrices along the axis of rows")


def _dot(t: Traced, x: Operand, y: Operand) -> Traced:
    a, b = as_traced(t, x), as_traced(t, y)
    if a.ndim == 0 or b.ndim == 0:
        found: Traced = ELEMENTWISE["multiply"](t, a, b)
        return found
    if b.ndim > 2:
        raise RefusedError("dot with more than two axes on the right; use matmul or einsum")
    return _matmul(t, a, b)


def _einsum(t: Traced, equation: str, *xs: Operand) -> Traced:
    found = of_one_type(t, xs)
    spaced = equation.replace(" ", "")
    left, arrow, right = spaced.partition("->")
    terms = left.split(",")
    if not arrow or "." in spaced or len(terms) != len(found):
        raise RefusedError(f"equation {equation!r}: give one term for each array, an arrow, and no dots")
    if not is_float(found[0].value.dtype):
        raise RefusedError(f"an einsum of {found[0].value.dtype}; convert to float32 first")
    for term, x in zip(terms, found, strict=True):
        if len(term) != x.ndim:
            raise RefusedError(f"term {term!r} does not name {x.ndim} axes")
    firsts = {term[:1] for term, x in zip(terms, found, strict=True) if x.rows}
    if firsts:
        rows = firsts.pop()
        others = [term[1:] if x.rows else term for term, x in zip(terms, found, strict=True)]
        if firsts or right[:1] != rows or rows in "".join((*others, right[1:])):
            raise RefusedError(f"equation {equation!r} mixes rows, or does not put them first")
        return t.like(products.einsum(t.graph, spaced, [x.value for x in found]), rows=True)
    return t.like(products.einsum(t.graph, spaced, [x.value for x in found]), rows=False)


# -- reductions --------------------------------------------------------------------------------------------
def _reduce(t: Traced, x: Operand, axis: Axes = None, *, keepdims: bool = False, kind: str) -> Traced:
    found = as_traced(t, x)
    axes = inner_axes(found, axis, kind)
    own = found.value.dtype
    if own == "bool" and kind in ("max", "min"):
        raise RefusedError(f"the {kind} of booleans; use any or all")
    if kind == "mean":
        found = cast(found, "f32")
    elif kind in ("sum", "prod") and not is_float(own):
        found = cast(found, "u64" if own in ("u8", "u16", "u32", "u64") else "i64")
    return found.like(norms.reduced(t.graph, kind, found.value, axes, keep=keepdims))


def _truth(t: Traced, x: Operand, axis: Axes = None, *, keepdims: bool = False, kind: str) -> Traced:
    found = as_traced(t, x)
    axes = inner_axes(found, axis, "any" if kind == "max" else "all")
    g = t.graph
    bits = g.cast(elements.logical(g, found.value), "i32")
    return found.like(elements.logical(g, g.reduce(kind, bits, axes, keep=keepdims)))


def _variance(
    t: Traced, x: Operand, axis: Axes = None, *, ddof: int = 0, keepdims: bool = False, root: bool = False
) -> Traced:
    found = cast(as_traced(t, x), "f32")
    axes, g = inner_axes(found, axis, "std" if root else "var"), t.graph
    count = math.prod(found.value.shape[a] for a in axes) - ddof
    if count < 1:
        raise RefusedError("a variance of too few elements")
    centred = g.map("sub", found.value, norms.mean(g, found.value, axes, keep=True))
    total = g.reduce("sum", g.map("mul", centred, centred), axes, keep=keepdims)
    spread = g.map("div", total, float(count))
    return found.like(g.map("sqrt", spread) if root else spread)


def _arg(t: Traced, x: Operand, axis: int | None = None, *, keepdims: bool = False, kind: str) -> Traced:
    found = as_traced(t, x)
    if found.value.dtype == "bool":
        found = cast(found, "i32")
    axes = inner_axes(found, axis, f"arg{kind}")
    if len(axes) != 1:
        raise RefusedError(f"arg{kind} over several axes")
    return found.like(norms.arg_extreme(t.graph, kind, found.value, axes[0], keep=keepdims, last=False))


def _running(t: Traced, x: Operand, axis: int | None = None, *, kind: str) -> Traced:
    found = as_traced(t, x)
    (at,) = inner_axes(found, axis, f"a running {kind}") if found.ndim == 1 or axis is not None else (-1,)
    if at < 0:
        raise RefusedError(f"a running {kind} over all axes")
    own = found.value.dtype
    if not is_float(own):
        found = cast(found, "u64" if own in ("u8", "u16", "u32", "u64") else "i64")
    return found.like(moves.running(t.graph, kind, found.value, at))


SUMS: Final[dict[str, Callable[..., Any]]] = {
    **{kind: partial(_reduce, kind=kind) for kind in ("sum", "prod", "mean", "max", "min")},
    "amax": partial(_reduce, kind="max"),
    "amin": partial(_reduce, kind="min"),
    "any": partial(_truth, kind="max"),
    "all": partial(_truth, kind="min"),
    "var": _variance,
    "std": partial(_variance, root=True),
    "argmax": partial(_arg, kind="max"),
    "argmin": partial(_arg, kind="min"),
    "cumsum": partial(_running, kind="sum"),
    "cumprod": partial(_running, kind="prod"),
    "matmul": _matmul,
    "dot": _dot,
    "einsum": _einsum,
}
"""Each takes any array of the trace, then what NumPy's function takes."""
