"""Define the scalar functions of expressions, on whole arrays (docs/spec/primitives.md#scalar-functions).

:func:`apply` applies one to arrays that broadcast. Integers wrap, and a value without a meaning in the
result's type is an error; binary32 numbers follow rule 1, and NaN and infinities are values like others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.definition.elementwise import ZERO, bits_of, quiet
from proofcompute.arithmetic.definition.powers import log, power
from proofcompute.arithmetic.definition.transcendental import atan, cos, erf, exp, sin, tanh
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import F32, Array
from proofcompute.errors import ExecutionError

__all__ = ["apply", "constant", "greater", "less"]

_ABSOLUTE: Final = np.int32(0x7FFFFFFF)


def constant(bits: int, dtype: str) -> Array:
    """Return the element with a zero-extended bit pattern, as an array without axes."""
    element = ELEMENTS[dtype]
    return np.frombuffer(bits.to_bytes(element.itemsize, "little"), element).reshape(())


def _is_float(x: Array) -> bool:
    return x.dtype.kind == "f"


# -- order -----------------------------------------------------------------------------------------------
def _rank(x: F32) -> Array:
    """Return an int32 that orders as x does, -0 below +0."""
    bits = bits_of(x)
    return np.where(bits < 0, bits ^ _ABSOLUTE, bits)


def less(x: Array, y: Array) -> Array:
    """Return the lesser of two numbers: -0 is less than +0, and NaN wins over all."""
    return _chosen(x, y, np.less)


def greater(x: Array, y: Array) -> Array:
    """Return the greater of two numbers: -0 is less than +0, and NaN wins over all."""
    return _chosen(x, y, np.greater)


def _chosen(x: Array, y: Array, before: Callable[[Any, Any], Any]) -> Array:
    if not _is_float(x):
        return np.where(before(x, y), x, y)
    chosen = np.where(before(_rank(x), _rank(y)), x, y)
    return np.where(np.isnan(x), x, np.where(np.isnan(y), y, chosen))


# -- integers --------------------------------------------------------------------------------------------
def _divisor(y: Array) -> Array:
    if (y == 0).any():
        raise ExecutionError("an integer was divided by zero")
    return y


def _remainder(x: Array, y: Array) -> Array:
    if _is_float(x):
        return np.fmod(x, y)
    # the remainder by -1 is 0; the least integer has no quotient by -1
    one = y.dtype.type(1)
    signed = y.dtype.kind == "i"
    return np.fmod(x, np.where(y == -1, one, _divisor(y)) if signed else _divisor(y))


def _quotient(x: Array, y: Array) -> Array:
    if _is_float(x):
        return x / y
    whole = x - _remainder(x, y)
    if y.dtype.kind != "i":
        return whole // y
    one = y.dtype.type(1)
    return np.where(y == -1, -x, whole // np.where(y == -1, one, y))


def _negative(x: Array) -> Array:
    return -x if _is_float(x) else x.dtype.type(0) - x


def _absolute(x: Array) -> Array:
    if _is_float(x):
        return np.abs(x)
    return np.where(x < 0, _negative(x), x)


def _amount(x: Array, by: Array) -> tuple[Array, Array]:
    """Return the distance of a shift, at most the width less one, and whether it was less than the width."""
    width = 8 * x.dtype.itemsize
    inside = (by >= 0) & (by < width)
    return np.where(inside, by, x.dtype.type(width - 1)).astype(x.dtype), inside


def _shifted_left(x: Array, by: Array) -> Array:
    amount, inside = _amount(x, by)
    return np.where(inside, np.left_shift(x, amount), x.dtype.type(0))


def _shifted_right(x: Array, by: Array) -> Array:
    amount, inside = _amount(x, by)
    shifted: Array = np.right_shift(x, amount)
    return shifted if x.dtype.kind == "i" else np.where(inside, shifted, x.dtype.type(0))


# -- types -----------------------------------------------------------------------------------------------
def _whole(x: F32, to: np.dtype[Any]) -> Array:
    """Round binary32 numbers to integers, towards zero, and saturate."""
    limits = np.iinfo(to)
    low, beyond = np.float32(limits.min), np.float32(limits.max // 2 + 1) * np.float32(2)
    whole = np.trunc(x)
    inside = np.where((whole >= low) & (whole < beyond), whole, ZERO).astype(to)
    return np.where(whole >= beyond, to.type(limits.max), np.where(whole < low, to.type(limits.min), inside))


def _cast(x: Array, to: np.dtype[Any]) -> Array:
    """Convert elements to another type, to the nearest number that it has."""
    if x.dtype == to:
        return x
    if _is_float(x):
        if np.isnan(x).any():
            raise ExecutionError("NaN cannot be converted to another type")
        return x != ZERO if to.kind == "b" else _whole(x, to)
    if to.kind == "b":
        return np.not_equal(x, 0)
    if to.kind == "f" or x.dtype.kind == "b":
        return x.astype(to)
    limits = np.iinfo(to)
    return np.clip(x.astype(np.int64), limits.min, limits.max).astype(to)


def _bitcast(x: Array, to: np.dtype[Any]) -> Array:
    if _is_float(x) and np.isnan(x).any():
        raise ExecutionError("NaN has no defined bits")
    return np.ascontiguousarray(x).view(to).reshape(x.shape)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _quotient,
    "rem": _remainder,
    "neg": _negative,
    "abs": _absolute,
    "min": less,
    "max": greater,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "rint": np.rint,
    "exp": exp,
    "log": log,
    "sin": sin,
    "cos": cos,
    "tanh": tanh,
    "erf": erf,
    "atan": atan,
    "pow": power,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": _shifted_left,
    "shr": _shifted_right,
    "select": np.where,
}


@quiet
def apply(function: str, args: Sequence[Array], dtype: str) -> Array:
    """Return a scalar function of arrays that broadcast; ``dtype`` is the type of the result.

    Raises ExecutionError where an integer is divided by zero, a NaN is converted to another type, or sine or
    cosine is asked of a number beyond 2^20.
    """
    to = ELEMENTS[dtype]
    if function == "cast":
        return np.asarray(_cast(args[0], to))
    if function == "bitcast":
        return np.asarray(_bitcast(args[0], to))
    found = np.asarray(_FUNCTIONS[function](*args))
    assert found.dtype == to, (function, found.dtype)  # noqa: S101 - nothing here may promote
    return found
