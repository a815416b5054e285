"""The scalar functions of primitives on single values: floats that are binary32 numbers, ints, and bools.

Written from docs/spec/primitives.md, on exact integers and fractions. A value without a result raises
:class:`NoResult`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from oracle import numerics_functions as functions
from oracle.numerics_binary32 import add, bits, div, f32, from_bits, mul, rint, sqrt, sub

Value = float | int | bool
WIDTHS = {"i8": 8, "u8": 8, "i32": 32, "i64": 64}
NAN, INF = math.nan, math.inf
ATAN = [
    from_bits(int(word, 16))
    for word in "BEAAAA9F 3E4CC8F2 BE121042 3DE0460D BDAC040B 3D6D1271 BCFEB812 3C3208D4 BAE997E7".split()
]
RIGHT, RIGHT_LOW = from_bits(0x3FC90FDB), from_bits(0xB33BBD2E)


class NoResult(Exception):
    """Raised where a function has no result."""


def ends(dtype: str) -> tuple[int, int]:
    width = WIDTHS[dtype]
    return (0, 255) if dtype == "u8" else (-(1 << width - 1), (1 << width - 1) - 1)


def wrapped(x: int, dtype: str) -> int:
    low, _ = ends(dtype)
    return (x - low) % (1 << WIDTHS[dtype]) + low


# -- numbers -----------------------------------------------------------------------------------------------
def _towards_zero(x: int, y: int) -> int:
    if y == 0:
        raise NoResult
    q = abs(x) // abs(y)
    return q if (x < 0) == (y < 0) else -q


def _remainder(x: float, y: float) -> float:
    if math.isnan(x) or math.isnan(y) or math.isinf(x) or y == 0:
        return NAN
    if math.isinf(y):
        return x
    size = Fraction(abs(x)) % Fraction(abs(y))
    return math.copysign(float(size), x)


def _first(x: float, y: float) -> bool:
    """Whether x is less than y, -0 being less than +0."""
    return x < y or (x == y and math.copysign(1, x) < math.copysign(1, y))


def _least(x: float, y: float) -> float:
    return NAN if math.isnan(x) or math.isnan(y) else x if _first(x, y) else y


def _greatest(x: float, y: float) -> float:
    return NAN if math.isnan(x) or math.isnan(y) else y if _first(x, y) else x


def log(x: float) -> float:
    if math.isnan(x) or x < 0:
        return NAN
    if x in (0, INF):
        return INF if x else -INF
    return functions.log(x)


def atan(x: float) -> float:
    if math.isnan(x):
        return x
    t = abs(x)
    z = div(1.0, t) if t > 1 else t
    s = mul(z, z)
    bend = mul(z, mul(s, functions.horner(s, ATAN)))
    value = sub(RIGHT, add(z, sub(bend, RIGHT_LOW))) if t > 1 else add(z, bend)
    return math.copysign(value, x)


def power(base: float, y: float) -> float:
    if y == 0 or base == 1:
        return 1.0
    if math.isnan(base) or math.isnan(y):
        return NAN
    size = abs(base)
    whole = math.isinf(y) or y == int(y)
    if size in (0, INF):
        value = 0.0 if (size == 0) == (y > 0) else INF
    elif base < 0 and not whole:
        return NAN
    else:
        value = functions.power(size, min(max(y, -(2.0**31)), 2.0**31))
    odd = whole and math.isfinite(y) and int(y) % 2 == 1
    return -value if odd and math.copysign(1, base) < 0 else value


def _circular(function: Callable[[float], float]) -> Callable[[float], float]:
    def checked(x: float) -> float:
        if not abs(x) <= 2.0**20:
            raise NoResult
        return function(x)

    return checked


FLOATS: dict[str, Callable[..., float]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    "rem": _remainder,
    "neg": lambda x: -x,
    "abs": abs,
    "min": _least,
    "max": _greatest,
    "sqrt": sqrt,
    "floor": lambda x: x if not math.isfinite(x) else math.copysign(float(math.floor(x)), x),
    "rint": rint,
    "exp": functions.exp,
    "log": log,
    "sin": _circular(functions.sin),
    "cos": _circular(functions.cos),
    "tanh": functions.tanh,
    "erf": functions.erf,
    "atan": atan,
    "pow": power,
}
WHOLE: dict[str, Callable[..., int]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": _towards_zero,
    "rem": lambda x, y: x - y * _towards_zero(x, y),
    "neg": lambda x: -x,
    "abs": abs,
    "min": min,
    "max": max,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
    "not": lambda x: ~x,
}
COMPARED: dict[str, Callable[..., bool]] = {
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "eq": lambda x, y: x == y,
}
TRUTH: dict[str, Callable[..., bool]] = {
    "and": lambda x, y: x and y,
    "or": lambda x, y: x or y,
    "xor": lambda x, y: x != y,
    "not": lambda x: not x,
    "eq": lambda x, y: x == y,
}


def _shifted(function: str, x: int, by: int, dtype: str) -> int:
    outside = not 0 <= by < WIDTHS[dtype]
    if function == "shl":
        return 0 if outside else wrapped(x << by, dtype)
    return (-1 if x < 0 else 0) if outside else x >> by


def cast(x: Value, of: str, to: str) -> Value:
    if of == to:
        return x
    if isinstance(x, float) and math.isnan(x):
        raise NoResult
    if to == "bool":
        return x != 0
    if to == "f32":
        return f32(int(x))
    low, high = ends(to)
    if isinstance(x, float) and math.isinf(x):
        return high if x > 0 else low
    return min(max(int(x), low), high)


def bitcast(x: Any, of: str, to: str) -> Value:
    if of == "f32":
        if math.isnan(x):
            raise NoResult
        return wrapped(bits(x), "i32")
    return from_bits(x % (1 << 32)) if to == "f32" else wrapped(x, to)


def applied(function: str, dtypes: tuple[str, ...], to: str, args: tuple[Any, ...]) -> Value:
    """The value of a function; ``to`` is the type of the result."""
    if function == "cast":
        return cast(args[0], dtypes[0], to)
    if function == "bitcast":
        return bitcast(args[0], dtypes[0], to)
    if function == "select":
        chosen: Value = args[1] if args[0] else args[2]
        return chosen
    if dtypes[0] == "bool":
        return TRUTH[function](*args)
    if to == "bool":
        return COMPARED[function](*args)
    if to == "f32":
        return FLOATS[function](*args)
    if function in ("shl", "shr"):
        x, by = args
        return _shifted(function, x, by, to)
    return wrapped(WHOLE[function](*args), to)


__all__ = ["COMPARED", "FLOATS", "TRUTH", "WHOLE", "WIDTHS", "NoResult", "applied", "ends"]
