"""Defines the scalar functions of expressions (docs/spec/primitives.md#scalar-functions).

They are written as those of :mod:`.functions`. Integers are computed in 64 bits; whoever calls a function
casts its result to the element's type, which wraps. For arguments without a result a function gives any
number; whoever calls it finds them out. Transcendental functions are in :mod:`.curves`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.scalar.functions import (
    absolute_bits,
    bits_of,
    from_bits,
    ordered_bits,
)
from proofcompute.arithmetic.backends.scalar.rounded import over, plus, root, shared, times
from proofcompute.arithmetic.definition.powers import TWO_23

__all__ = [
    "absolute",
    "divided",
    "greater",
    "is_nan",
    "least_of",
    "logical_shift",
    "negative",
    "quotient",
    "remainder",
    "remainder_of",
    "root_of",
    "saturated",
    "shifted_left",
    "shifted_right",
    "truncated",
    "whole",
    "with_sign",
]

_ZERO: Final = np.float32(0)
_NAN: Final = np.float32(np.nan)
_SIGN: Final = np.int32(-0x80000000)
_INFINITE: Final = np.int32(0x7F800000)
_MANTISSA: Final = np.int32(0x007FFFFF)
_HIDDEN: Final = np.int32(0x00800000)
_BIAS: Final = np.int32(127)
_23: Final = np.int32(23)
_1: Final = np.int32(1)


# -- numbers ---------------------------------------------------------------------------------------------
@shared
def is_nan(x: Any) -> Any:
    """Return whether x, binary32, is a NaN."""
    return absolute_bits(x) > _INFINITE


@shared
def negative(x: Any) -> Any:
    """Return x, binary32, with the other sign."""
    return from_bits(np.int32(bits_of(x) ^ _SIGN))


@shared
def absolute(x: Any) -> Any:
    """Return |x|, binary32."""
    return from_bits(absolute_bits(x))


@shared
def with_sign(x: Any, of: Any) -> Any:
    """Return x with the sign of another number; both binary32."""
    return from_bits(np.int32(absolute_bits(x) | np.int32(bits_of(of) & _SIGN)))


@shared
def greater(x: Any, y: Any) -> Any:
    """Return the greater of two binary32 numbers, -0 being less than +0; NaN if one is NaN."""
    chosen = x if ordered_bits(x) > ordered_bits(y) else y
    return plus(x, y) if is_nan(x) or is_nan(y) else chosen


@shared
def least_of(x: Any, y: Any) -> Any:
    """Return the lesser of two binary32 numbers, -0 being less than +0; NaN if one is NaN."""
    chosen = x if ordered_bits(x) < ordered_bits(y) else y
    return plus(x, y) if is_nan(x) or is_nan(y) else chosen


@shared
def divided(x: Any, y: Any) -> Any:
    """Return x / y, binary32."""
    return over(x, y)


@shared
def root_of(x: Any) -> Any:
    """Return the square root of x, binary32."""
    return root(x)


@shared
def truncated(x: Any) -> Any:
    """Return x, binary32, rounded to a whole number towards zero."""
    size = absolute(x)
    inside = size < TWO_23
    whole_part = np.float32(np.int32(size if inside else _ZERO))
    return with_sign(whole_part, x) if inside else x


@shared
def whole(x: Any, low: Any, beyond: Any) -> Any:
    """Return x, binary32, cut to low <= x < beyond, and 0 where it is outside or NaN; as int64."""
    cut = truncated(x)
    return np.int64(cut if low <= cut and cut < beyond else _ZERO)


@shared
def saturated(x: Any, low: Any, high: Any) -> Any:
    """Return x, int64, cut to low..high."""
    return low if x < low else (high if x > high else x)


@shared
def remainder(x: Any, y: Any) -> Any:
    """Return x - y q exactly, q being x / y rounded towards zero; binary32.

    Both are whole numbers of 24 bits times powers of two. That of x is multiplied by up to 2^39 at a time,
    and its remainder is taken, until its power is that of y.
    """
    bits, divisor = absolute_bits(x), absolute_bits(y)
    if bits >= _INFINITE or divisor > _INFINITE or divisor == np.int32(0):
        return _NAN
    if bits < divisor:
        return x
    high, low = np.int32(bits >> _23), np.int32(divisor >> _23)
    m = np.int64(bits & _MANTISSA) if high == 0 else np.int64(np.int32(bits & _MANTISSA) | _HIDDEN)
    d = np.int64(divisor & _MANTISSA) if low == 0 else np.int64(np.int32(divisor & _MANTISSA) | _HIDDEN)
    high = _1 if high == 0 else high
    low = _1 if low == 0 else low
    apart = np.int64(high) - np.int64(low)
    m = m % d
    while apart > 0:
        step = apart if apart < 39 else np.int64(39)
        m = (m << step) % d
        apart -= step
    k = np.int32(low - np.int32(150))
    half = np.int32(k >> _1)
    value = times(np.float32(m), from_bits(np.int32(np.int32(half + _BIAS) << _23)))
    value = times(value, from_bits(np.int32(np.int32(k - half + _BIAS) << _23)))
    return with_sign(value, x)


# -- integers --------------------------------------------------------------------------------------------
@shared
def quotient(x: Any, y: Any) -> Any:
    """Return x / y, int64, rounded towards zero; for y = -1, -x, which wraps. Anything for y = 0."""
    if y == 0 or y == -1:
        return -x
    q = x // y
    return q + 1 if q * y != x and (x < 0) != (y < 0) else q


@shared
def remainder_of(x: Any, y: Any) -> Any:
    """Return x - y (x / y), int64, rounded towards zero; 0 for y = -1. Anything for y = 0."""
    if y == 0 or y == -1:
        return np.int64(0)
    return x - quotient(x, y) * y


@shared
def shifted_left(x: Any, by: Any, bits: Any) -> Any:
    """Return x, int64, shifted left; 0 unless 0 <= by < bits."""
    inside = by >= 0 and by < bits
    return x << (by if inside else np.int64(0)) if inside else np.int64(0)


@shared
def shifted_right(x: Any, by: Any, bits: Any) -> Any:
    """Return x, int64, shifted right; -1 or 0 unless 0 <= by < bits."""
    return x >> (by if by >= 0 and by < bits else bits - 1)


@shared
def logical_shift(x: Any, by: Any, bits: Any) -> Any:
    """Return x >= 0, int64, shifted right; 0 unless 0 <= by < bits."""
    return x >> by if by >= 0 and by < bits else np.int64(0)
