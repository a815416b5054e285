"""Binary32 arithmetic with exact fractions and one explicit rounding, for the vectors of numerics.

A binary32 number is held as the Python float of the same value; every result is computed exactly as a
fraction and rounded by :func:`rounded`. Infinities, NaNs and signs of zeros follow IEEE 754-2019 (section 6).
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction

MANTISSA, LEAST, LARGEST = 24, -149, 127


def from_bits(pattern: int) -> float:
    value: float = struct.unpack(">f", pattern.to_bytes(4, "big"))[0]
    return value


def bits(x: float) -> int:
    if math.isnan(x):
        return 0x7FC00000
    return int.from_bytes(struct.pack(">f", x), "big")


def rounded(x: Fraction, zero: float = 0.0) -> float:
    """To nearest, ties to even; ``zero`` gives the sign of a zero."""
    if x == 0:
        return math.copysign(0.0, zero)
    size = abs(x)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - MANTISSA + 1, LEAST)
    count, rest = divmod(size, unit)
    if rest * 2 > unit or (rest * 2 == unit and count % 2 == 1):
        count += 1
    result = count * unit
    if result >= Fraction(2) ** (LARGEST + 1):
        return math.copysign(math.inf, float(x.numerator))
    return math.copysign(float(result), 1 if x > 0 else -1)


def _special(*values: float) -> bool:
    return not all(map(math.isfinite, values))


def add(a: float, b: float) -> float:
    exact = 0 if _special(a, b) else Fraction(a) + Fraction(b)
    return a + b if exact == 0 else rounded(Fraction(exact))


def sub(a: float, b: float) -> float:
    return add(a, -b)


def mul(a: float, b: float) -> float:
    sign = math.copysign(1, a) * math.copysign(1, b)
    return a * b if _special(a, b) else rounded(Fraction(a) * Fraction(b), sign)


def div(a: float, b: float) -> float:
    sign = math.copysign(1, a) * math.copysign(1, b)
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else sign * math.inf
    if _special(a, b):
        return a / b
    return rounded(Fraction(a) / Fraction(b), sign)


def sqrt(a: float) -> float:
    """Correctly rounded: the integer root has 40 bits more than needed, and an odd last bit if inexact."""
    if math.isnan(a) or a == 0 or a == math.inf:
        return a
    if a < 0:
        return math.nan
    scale = 240  # the root of the least subnormal times 2^240 still has 165 bits
    whole = Fraction(a) * Fraction(4) ** scale
    assert whole.denominator == 1
    root = math.isqrt(whole.numerator)
    sticky = Fraction(1, 2) if root * root != whole.numerator else Fraction(0)
    return rounded((root + sticky) / Fraction(2) ** scale)


def rint(a: float) -> float:
    return a if _special(a) else math.copysign(float(round(Fraction(a))), a)


def f32(n: int) -> float:
    return rounded(Fraction(n))


def scaled(x: float, k: int) -> float:
    """x 2^k: times 2^(k >> 1), then times what is missing."""
    return mul(mul(x, 2.0 ** (k >> 1)), 2.0 ** (k - (k >> 1)))
