"""Functions of elements that a traced function may use, by NumPy's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from proofcompute.functions.values import (
    NUMPY,
    Operand,
    Traced,
    agreeing,
    as_traced,
    cast,
    together,
    type_name,
)
from proofcompute.importers.lowering import elements
from proofcompute.importers.lowering.values import Constant, RefusedError, Value, is_float

__all__ = ["ELEMENTWISE", "astype", "clip", "where"]

_FLOAT_UNARY: Final = {
    "sqrt": "sqrt", "exp": "exp", "log": "log", "sin": "sin", "cos": "cos", "tan": "tan", "tanh": "tanh",
    "sinh": "sinh", "cosh": "cosh", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh", "expm1": "expm1", "log1p": "log1p", "erf": "erf",
    "expit": "sigmoid", "isnan": "is_nan", "reciprocal": "reciprocal",
}  # fmt: skip
"""Functions of floats; integers become floats first."""
_UNARY: Final = {
    "negative": "neg", "absolute": "abs", "abs": "abs", "fabs": "abs", "sign": "sign", "floor": "floor",
    "ceil": "ceil", "rint": "round",
}  # fmt: skip
"""Functions of any numbers."""


def _unary(t: Traced, x: Operand, *, name: str, floats: bool) -> Traced:
    found = as_traced(t, x)
    if floats:
        found = cast(found, "f32")
    if found.value.dtype == "bool":
        raise RefusedError("arithmetic of booleans; convert them with astype first")
    return found.like(elements.UNARY[name](found.graph, found.value))


def _binary(function: str) -> Callable[..., Traced]:
    def made(t: Traced, x: Operand, y: Operand) -> Traced:
        (a, b), rows = together(t, x, y)
        if a.value.dtype == "bool":
            raise RefusedError("arithmetic of booleans; convert them with astype first")
        return t.like(t.graph.map(function, a.value, b.value), rows=rows)

    return made


def _compared(function: str, *, swapped: bool = False, negated: bool = False) -> Callable[..., Traced]:
    def made(t: Traced, x: Operand, y: Operand) -> Traced:
        (a, b), rows = together(t, x, y)
        if a.value.dtype == "bool" and function != "eq":
            raise RefusedError("an order of booleans; convert them with astype first")
        first, second = (b, a) if swapped else (a, b)
        found = t.graph.map(function, first.value, second.value)
        return t.like(t.graph.map("not", found) if negated else found, rows=rows)

    return made


def _bits(function: str) -> Callable[..., Traced]:
    def made(t: Traced, x: Operand, y: Operand) -> Traced:
        (a, b), rows = together(t, x, y)
        if is_float(a.value.dtype):
            raise RefusedError("bits of floats")
        return t.like(t.graph.map(function, a.value, b.value), rows=rows)

    return made


def _logical(function: str) -> Callable[..., Traced]:
    def made(t: Traced, x: Operand, y: Operand) -> Traced:
        (a, b), rows = together(t, x, y)
        truth = [elements.logical(t.graph, v.value) for v in (a, b)]
        return t.like(t.graph.map(function, *truth), rows=rows)

    return made


def _divide(t: Traced, x: Operand, y: Operand) -> Traced:
    (a, b), rows = together(t, x, y)
    return t.like(t.graph.map("div", cast(a, "f32").value, cast(b, "f32").value), rows=rows)


def _floor_divide(t: Traced, x: Operand, y: Operand) -> Traced:
    (a, b), rows = together(t, x, y)
    g = t.graph
    if a.value.dtype == "bool":
        raise RefusedError("arithmetic of booleans; convert them with astype first")
    rest = _remainder_of(t, a.value, b.value)
    found = g.map("div", g.map("sub", a.value, rest), b.value)
    return t.like(elements.UNARY["round"](g, found), rows=rows)


def _remainder_of(t: Traced, x: Value, y: Value) -> Value:
    g = t.graph
    if not is_float(x.dtype):
        return elements.floor_mod(g, x, y)
    rest = g.map("rem", x, y)
    other = g.map("lt", g.map("mul", elements.sign(g, rest), elements.sign(g, y)), 0.0)
    return g.select(other, g.map("add", rest, y), rest)


def _remainder(t: Traced, x: Operand, y: Operand) -> Traced:
    (a, b), rows = together(t, x, y)
    if a.value.dtype == "bool":
        raise RefusedError("arithmetic of booleans; convert them with astype first")
    return t.like(_remainder_of(t, a.value, b.value), rows=rows)


def _power(t: Traced, x: Operand, y: Operand) -> Traced:
    (a, b), rows = together(t, x, y)
    if not is_float(a.value.dtype) and not (
        isinstance(b.value, Constant)
        and b.value.array.size
        and 0 <= b.value.array.min() <= b.value.array.max() <= 64
    ):
        raise RefusedError("integers to a power that is not a number from 0 to 64")
    return t.like(elements.power(t.graph, a.value, b.value), rows=rows)


def _scaled_log(t: Traced, x: Operand, *, base: float) -> Traced:
    found = _unary(t, x, name="log", floats=True)
    return found.like(found.graph.map("mul", found.value, 1 / math.log(base)))


def _square(t: Traced, x: Operand) -> Traced:
    return _binary("mul")(t, x, x)


def _exp2(t: Traced, x: Operand) -> Traced:
    return _power(t, 2.0, cast(as_traced(t, x), "f32"))


def _positive(t: Traced, x: Operand) -> Traced:
    return as_traced(t, x)


def _not(t: Traced, x: Operand) -> Traced:
    found = as_traced(t, x)
    return found.like(found.graph.map("not", elements.logical(found.graph, found.value)))


def _invert(t: Traced, x: Operand) -> Traced:
    found = as_traced(t, x)
    if is_float(found.value.dtype):
        raise RefusedError("bits of floats")
    return found.like(found.graph.map("not", found.value))


def _infinite(t: Traced, x: Operand) -> Traced:
    found = cast(as_traced(t, x), "f32")
    return found.like(elements.is_infinite(found.graph, found.value))


def _finite(t: Traced, x: Operand) -> Traced:
    found = cast(as_traced(t, x), "f32")
    g = found.graph
    return found.like(g.map("lt", g.map("abs", found.value), math.inf))


def _round(t: Traced, x: Operand, decimals: int = 0) -> Traced:
    if decimals:
        raise RefusedError("rounding to decimals")
    return _unary(t, x, name="round", floats=False)


def where(t: Traced, condition: Operand, x: Operand, y: Operand) -> Traced:
    """Return x where a condition holds, else y."""
    (a, b), _ = together(t, x, y)
    truth = as_traced(t, condition)
    held = elements.logical(t.graph, truth.value)
    return t.like(t.graph.select(held, a.value, b.value), rows=agreeing(truth, a, b))


def clip(
    t: Traced, x: Operand, a_min: Operand | None = None, a_max: Operand | None = None, **named: Operand
) -> Traced:
    """Return min(max(x, a_min), a_max); the limits are also named ``min`` and ``max``."""
    low, high = named.pop("min", a_min), named.pop("max", a_max)
    if named:
        raise RefusedError(f"clip with {', '.join(named)}")
    found = as_traced(t, x)
    if low is not None:
        found = _binary("max")(t, found, low)
    return found if high is None else _binary("min")(t, found, high)


def astype(t: Traced, x: Operand, dtype: Any, *, copy: bool = True) -> Traced:
    """Return elements in another type. Floats lose their fraction; integers become wider ones only."""
    del copy
    found, to = as_traced(t, x), type_name(dtype)
    own = found.value.dtype
    g = found.graph
    if to == "bool":
        return found.like(elements.logical(g, found.value))
    if is_float(own) and not is_float(to):
        towards = g.map("floor", g.map("abs", found.value))
        whole = g.map("mul", elements.sign(g, found.value), towards)
        return found.like(g.cast(whole, to))
    if not is_float(to) and not np.can_cast(NUMPY[own], NUMPY[to]):
        raise RefusedError(f"{own} as {to}, which does not hold all of its numbers")
    return cast(found, to)


ELEMENTWISE: Final[dict[str, Callable[..., Any]]] = {
    **{name: partial(_unary, name=ours, floats=True) for name, ours in _FLOAT_UNARY.items()},
    **{name: partial(_unary, name=ours, floats=False) for name, ours in _UNARY.items()},
    "add": _binary("add"),
    "subtract": _binary("sub"),
    "multiply": _binary("mul"),
    "maximum": _binary("max"),
    "minimum": _binary("min"),
    "divide": _divide,
    "true_divide": _divide,
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "mod": _remainder,
    "power": _power,
    "square": _square,
    "exp2": _exp2,
    "log2": partial(_scaled_log, base=2.0),
    "log10": partial(_scaled_log, base=10.0),
    "positive": _positive,
    "less": _compared("lt"),
    "less_equal": _compared("le"),
    "greater": _compared("lt", swapped=True),
    "greater_equal": _compared("le", swapped=True),
    "equal": _compared("eq"),
    "not_equal": _compared("eq", negated=True),
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "logical_xor": _logical("xor"),
    "logical_not": _not,
    "bitwise_and": _bits("and"),
    "bitwise_or": _bits("or"),
    "bitwise_xor": _bits("xor"),
    "invert": _invert,
    "bitwise_not": _invert,
    "isinf": _infinite,
    "isfinite": _finite,
    "round": _round,
    "around": _round,
    "where": where,
    "clip": clip,
    "astype": astype,
}
"""Each takes any array of the trace, then what NumPy's function takes."""
