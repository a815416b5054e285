"""Lowers functions of single elements that are compositions of scalar functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.importers.lowering.graph import Graph, Operand
from proofcompute.importers.lowering.values import (
    STORED,
    Constant,
    RefusedError,
    Value,
    is_float,
    limits_of,
)

__all__ = [
    "UNARY",
    "ceil",
    "clip",
    "divide",
    "floor_mod",
    "is_infinite",
    "leaky",
    "logical",
    "power",
    "round_to_bfloat16",
    "round_to_half",
    "shift",
    "sign",
    "silu",
]


def _scalar(g: Graph, x: Value, name: str) -> Value:
    return g.map(name, x)


def _sum(g: Graph, x: Operand, y: Operand) -> Value:
    return g.map("add", x, y)


def _mul(g: Graph, x: Operand, y: Operand) -> Value:
    return g.map("mul", x, y)


def ceil(g: Graph, x: Value) -> Value:
    """Return -floor(-x), and x if it is an integer."""
    return g.map("neg", g.map("floor", g.map("neg", x))) if is_float(x.dtype) else x


def sign(g: Graph, x: Value) -> Value:
    """Return -1, 0 or 1; NaN stays."""
    up, down = g.map("lt", 0, x), g.map("lt", x, 0)
    one, zero = Constant(np.ones((), _np(x)), x.dtype), Constant(np.zeros((), _np(x)), x.dtype)
    if STORED[x.dtype] == "u8":
        return g.select(up, one, zero)
    minus = Constant(-np.ones((), _np(x)), x.dtype)
    found = g.select(up, one, g.select(down, minus, zero))
    return g.select(g.map("eq", x, x), found, x) if is_float(x.dtype) else found


def _np(x: Value) -> np.dtype[Any]:
    return ELEMENTS[STORED[x.dtype]]


def is_nan(g: Graph, x: Value) -> Value:
    """Return whether elements are NaN."""
    return g.map("not", g.map("eq", x, x))


def is_infinite(g: Graph, x: Value, *, negative: bool = True, positive: bool = True) -> Value:
    """Return whether elements are infinite, of the signs that are asked for."""
    high, low = g.map("eq", x, math.inf), g.map("eq", x, -math.inf)
    if positive and negative:
        return g.map("or", high, low)
    if positive or negative:
        return high if positive else low
    return g.map("lt", x, -math.inf)  # never


def sigmoid(g: Graph, x: Value) -> Value:
    """Return 1 / (1 + exp(-x))."""
    return g.map("div", 1.0, _sum(g, 1.0, g.map("exp", g.map("neg", x))))


def silu(g: Graph, x: Value, alpha: float = 1.0) -> Value:
    """Return x sigmoid(alpha x)."""
    return _mul(g, x, sigmoid(g, x if alpha == 1 else _mul(g, x, alpha)))


def softplus(g: Graph, x: Value) -> Value:
    """Return log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which never overflows."""
    tail = g.map("log", _sum(g, 1.0, g.map("exp", g.map("neg", g.map("abs", x)))))
    return _sum(g, g.map("max", x, 0.0), tail)


def gelu(g: Graph, x: Value) -> Value:
    """Return x / 2 (1 + erf(x / sqrt 2))."""
    return _mul(g, _mul(g, x, 0.5), _sum(g, 1.0, g.map("erf", _mul(g, x, math.sqrt(0.5)))))


def gelu_tanh(g: Graph, x: Value) -> Value:
    """Return x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    cubed = _mul(g, _mul(g, x, x), x)
    inner = _mul(g, _sum(g, x, _mul(g, cubed, 0.044715)), math.sqrt(2 / math.pi))
    return _mul(g, _mul(g, x, 0.5), _sum(g, 1.0, g.map("tanh", inner)))


def _tan(g: Graph, x: Value) -> Value:
    return g.map("div", g.map("sin", x), g.map("cos", x))


def _asin(g: Graph, x: Value) -> Value:
    # atan(x / sqrt(1 - x^2)); at 1 the quotient is infinite and atan of it pi / 2
    root = g.map("sqrt", _mul(g, g.map("sub", 1.0, x), _sum(g, 1.0, x)))
    return g.map("atan", g.map("div", x, root))


def _acos(g: Graph, x: Value) -> Value:
    return g.map("sub", math.pi / 2, _asin(g, x))


def _sinh(g: Graph, x: Value) -> Value:
    return _mul(g, g.map("sub", g.map("exp", x), g.map("exp", g.map("neg", x))), 0.5)


def _cosh(g: Graph, x: Value) -> Value:
    return _mul(g, _sum(g, g.map("exp", x), g.map("exp", g.map("neg", x))), 0.5)


def _asinh(g: Graph, x: Value) -> Value:
    size = g.map("abs", x)
    root = g.map("sqrt", _sum(g, _mul(g, x, x), 1.0))
    return _mul(g, sign(g, x), g.map("log", _sum(g, size, root)))


def _acosh(g: Graph, x: Value) -> Value:
    root = g.map("sqrt", _mul(g, g.map("sub", x, 1.0), _sum(g, x, 1.0)))
    return g.map("log", _sum(g, x, root))


def _atanh(g: Graph, x: Value) -> Value:
    quotient = g.map("div", _sum(g, 1.0, x), g.map("sub", 1.0, x))
    return _mul(g, g.map("log", quotient), 0.5)


def _softsign(g: Graph, x: Value) -> Value:
    return g.map("div", x, _sum(g, 1.0, g.map("abs", x)))


def _mish(g: Graph, x: Value) -> Value:
    return _mul(g, x, g.map("tanh", softplus(g, x)))


def _relu(g: Graph, x: Value) -> Value:
    return g.map("max", x, 0)


def _hard_swish(g: Graph, x: Value) -> Value:
    return _mul(g, x, clip(g, _sum(g, _mul(g, x, 1 / 6), 0.5), 0.0, 1.0))


def _not(g: Graph, x: Value) -> Value:
    return g.map("not", x)


def _reciprocal(g: Graph, x: Value) -> Value:
    return g.map("div", 1.0, x)


def _floor(g: Graph, x: Value) -> Value:
    return g.map("floor", x) if is_float(x.dtype) else x


def _round(g: Graph, x: Value) -> Value:
    return g.map("rint", x) if is_float(x.dtype) else x


def _rsqrt(g: Graph, x: Value) -> Value:
    return g.map("div", 1.0, g.map("sqrt", x))


def _expm1(g: Graph, x: Value) -> Value:
    # 2 sinh(x / 2) exp(x / 2) loses nothing by cancellation only where x is not tiny; tanh keeps small x:
    # exp(x) - 1 = t (exp(x) + 1) with t = tanh(x / 2); it is inf * 1 for a large x, and -1 for a small one
    return _mul(g, g.map("tanh", _mul(g, x, 0.5)), _sum(g, g.map("exp", x), 1.0))


def _log1p(g: Graph, x: Value) -> Value:
    # log(1 + x) x / ((1 + x) - 1), and x where 1 + x is 1
    y = _sum(g, 1.0, x)
    back = g.map("sub", y, 1.0)
    small = g.map("eq", back, 0.0)
    ratio = g.map("div", x, g.select(small, 1.0, back))
    exact = _mul(g, g.map("log", y), ratio)
    return g.select(g.map("eq", back, math.inf), back, g.select(small, x, exact))


UNARY: Final[dict[str, Callable[[Graph, Value], Value]]] = {
    **{
        name: partial(_scalar, name=name)
        for name in ("abs", "neg", "sqrt", "exp", "log", "sin", "cos", "tanh", "erf", "atan")
    },
    "acos": _acos,
    "acosh": _acosh,
    "asin": _asin,
    "asinh": _asinh,
    "atanh": _atanh,
    "ceil": ceil,
    "cosh": _cosh,
    "expm1": _expm1,
    "floor": _floor,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "hard_swish": _hard_swish,
    "is_nan": is_nan,
    "log1p": _log1p,
    "mish": _mish,
    "not": _not,
    "reciprocal": _reciprocal,
    "relu": _relu,
    "round": _round,
    "rsqrt": _rsqrt,
    "sigmoid": sigmoid,
    "sign": sign,
    "silu": silu,
    "sinh": _sinh,
    "softplus": softplus,
    "softsign": _softsign,
    "tan": _tan,
}
"""Functions of one value, by their usual names."""


def leaky(g: Graph, x: Value, slope: Operand) -> Value:
    """Return x, or slope x where x is negative."""
    return g.select(g.map("lt", x, 0), g.map("mul", x, slope), x)


def clip(g: Graph, x: Value, low: Operand | None, high: Operand | None) -> Value:
    """Return min(max(x, low), high)."""
    if low is not None:
        x = g.map("max", x, low)
    return x if high is None else g.map("min", x, high)


def divide(g: Graph, x: Value, y: Value) -> Value:
    """Return the quotient; integers round towards zero, and by zero they are an error."""
    return g.map("div", x, y)


def floor_mod(g: Graph, x: Value, y: Value) -> Value:
    """Return the remainder that has the sign of y."""
    r = g.map("rem", x, y)
    if STORED[x.dtype] == "u8" or x.dtype in ("u16", "u32", "u64"):
        return r
    other = g.map("and", g.map("not", g.map("eq", r, 0)), g.map("xor", g.map("lt", r, 0), g.map("lt", y, 0)))
    return g.select(other, g.map("add", r, y), r)


def power(g: Graph, x: Value, y: Value) -> Value:
    """Return x to the power of y, of x's type. Whole constant exponents of at most 64 are products."""
    if isinstance(y, Constant) and y.array.size and is_float(x.dtype):
        exponents = np.unique(y.array)
        if len(exponents) == 1 and y.array.ndim <= len(x.shape):
            e = float(exponents[0])
            if e == 0.5:
                return g.map("sqrt", x)
            if e == int(e) and 1 <= e <= 64 and np.broadcast_shapes(x.shape, y.shape) == x.shape:
                return _whole(g, x, int(e))
    if is_float(x.dtype):
        return g.map("pow", x, g.cast(y, x.dtype))
    if isinstance(y, Constant) and y.array.size and y.array.min() >= 0 and y.array.max() <= 64:
        rounded = y.array.astype(np.int64)
        made: Value | None = None
        for e in np.unique(rounded):
            one = _whole(g, x, int(e))
            there = Constant(np.asarray(rounded == e), "bool")
            made = one if made is None else g.select(there, one, made)
        if made is not None:
            return g.broadcast(made, np.broadcast_shapes(x.shape, y.shape))
    # Powers of integers go through floats, as they are exact below 2^24.
    found = g.map("pow", g.cast(x, "f32"), g.cast(y, "f32"))
    return g.cast(g.map("rint", found), x.dtype)


def _whole(g: Graph, x: Value, e: int) -> Value:
    if e == 0:
        return g.map("add", g.map("mul", x, 0), 1)
    found: Value | None = None
    while e:
        if e & 1:
            found = x if found is None else g.map("mul", found, x)
        e >>= 1
        if e:
            x = g.map("mul", x, x)
    if found is None:
        raise RefusedError("a power of no exponent")
    return found


def shift(g: Graph, x: Value, y: Value, *, left: bool) -> Value:
    """Return x shifted by y bits."""
    return g.map("shl" if left else "shr", x, y)


def logical(g: Graph, x: Value) -> Value:
    """Return whether elements are not zero."""
    return x if x.dtype == "bool" else g.cast(x, "bool")


def round_to_bfloat16(g: Graph, x: Value) -> Value:
    """Return floats with the 8 significant bits of bf16, ties to even; NaN stays."""
    nan = is_nan(g, x)
    bits = g.map("bitcast", g.select(nan, 0.0, x), dtype="i32")
    odd = g.map("and", g.map("shr", bits, 16), 1)
    rounded = g.map("and", g.map("add", bits, g.map("add", odd, 0x7FFF)), -0x10000)
    big = g.map("le", 0x7F800000, g.map("and", bits, 0x7FFFFFFF))
    return g.select(nan, x, g.select(big, x, g.map("bitcast", rounded, dtype="f32")))


def round_to_half(g: Graph, x: Value) -> Value:
    """Return floats with the 11 significant bits of f16, ties to even; beyond its range they are infinite."""
    nan = is_nan(g, x)
    x0 = g.select(nan, 0.0, x)
    bits = g.map("bitcast", x0, dtype="i32")
    odd = g.map("and", g.map("shr", bits, 13), 1)
    rounded = g.map("and", g.map("add", bits, g.map("add", odd, 0xFFF)), -0x2000)
    normal = g.map("bitcast", rounded, dtype="f32")
    size = g.map("abs", x0)
    # below 2^-14 the step is 2^-24, the last bit of numbers between 1/2 and 1
    small = g.map("sub", g.map("add", size, 0.75), 0.75)
    small = g.select(g.map("lt", x0, 0.0), g.map("neg", small), small)
    found = g.select(g.map("lt", size, 2.0**-14), small, normal)
    most = limits_of("f16")[1]
    found = g.select(g.map("lt", most, g.map("abs", found)), g.map("mul", sign(g, x0), math.inf), found)
    # an infinity's own bits were rounded too
    found = g.select(g.map("eq", size, math.inf), x0, found)
    return g.select(nan, x, found)
