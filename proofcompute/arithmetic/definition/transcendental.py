"""Define transcendental functions as fixed sequences of binary32 operations (rule 2).

Every function below *is* its sequence of rule-1 operations, evaluated left to right with one rounding each;
another backend repeats it operation by operation. There are no tables and no data-dependent branches: where
two formulas meet, both are evaluated and one is selected. Polynomials are evaluated by Horner's rule,
``c[n]``, then ``p = p * x + c[i]`` down to i = 0 (:func:`horner`). All stay within 2 ulp of the true value;
``tests/numerics/test_transcendental.py`` measures it against mpmath.

The coefficients are near-minimax fits on the intervals given beside them (weighted for relative error of
the result, rounded to binary32 one after another, the rest refitted each time). They are stated as bit
patterns, lowest degree first.

Arguments are reduced as in W. J. Cody and W. Waite, *Software Manual for the Elementary Functions* (1980).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arithmetic.definition.elementwise import (
    ONE,
    ZERO,
    bits_of,
    quiet,
    times_power_of_two,
)
from proofcompute.arithmetic.definition.pairs import two_sum
from proofcompute.arrays import F32, I32
from proofcompute.errors import ExecutionError

__all__ = ["atan", "cos", "erf", "exp", "sigmoid", "sin", "tanh"]


def coefficient(pattern: int) -> np.float32:
    """Return the number with this bit pattern."""
    return np.uint32(pattern).view(np.float32)


_f = coefficient
HALF: Final = np.float32(0.5)
TWO: Final = np.float32(2.0)

# -- exp -------------------------------------------------------------------------------------------------
EXP_HIGH: Final = np.float32(89.0)
"""exp(89) > 2^128 overflows to infinity by itself; larger arguments are cut to it."""
EXP_LOW: Final = np.float32(-104.0)
"""exp(-104) < 2^-150 rounds to +0 by itself; smaller arguments are cut to it."""
LOG2_E: Final = _f(0x3FB8AA3B)
"""1 / ln 2."""
ROUNDER: Final = _f(0x4B400000)
"""1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits."""
ROUNDER_BITS: Final = np.int32(0x4B400000)
LN2_HIGH: Final = _f(0x3F317200)
"""The upper 15 bits of ln 2, so that its products with integers below 2^9 are exact."""
LN2_LOW: Final = _f(0x35BFBE8E)
"""ln 2 - LN2_HIGH."""
EXP_P: Final = tuple(map(_f, (0x3F000000, 0x3E2AAA48, 0x3D2AAA5F, 0x3C091D7F, 0x3AB6BE4F)))
"""(e^r - 1 - r) / r^2 for |r| <= 0.3473."""

# -- erf -------------------------------------------------------------------------------------------------
ERF_CUT: Final = np.float32(0.875)
ERF_END: Final = np.float32(4.0)
"""1 - erf(4) < 2^-25: from here on the result is 1."""
ERF_P: Final = tuple(map(_f, (0x3E0375D3, 0xBEC09377, 0x3DE70DF8, 0xBCDB5125, 0x3BA3E364, 0xBA1E2F3E)))
"""erf(x) / x - 1 in s = x^2, |x| <= 0.875."""
ERFC_P: Final = tuple(
    map(_f, (0xBE03B5B9, 0xBF22A032, 0xBDD935CD, 0x3CC163FC, 0xBB69DA0B, 0x399F8FD2, 0xB71D213E))
)
"""log(1 - erf(t)) / t + 1 in t, 0.875 <= t <= 4."""

# -- tanh ------------------------------------------------------------------------------------------------
TANH_CUT: Final = np.float32(0.625)
TANH_P: Final = tuple(map(_f, (0xBEAAAA9A, 0x3E0883B1, 0xBD5C21CD, 0x3CA92994, 0xBBBB4EFC)))
"""(tanh(x) / x - 1) / s in s = x^2, |x| <= 0.625."""

# -- atan ------------------------------------------------------------------------------------------------
ATAN_P: Final = tuple(
    map(
        _f,
        (
            *(0xBEAAAA9F, 0x3E4CC8F2, 0xBE121042, 0x3DE0460D, 0xBDAC040B, 0x3D6D1271),
            *(0xBCFEB812, 0x3C3208D4, 0xBAE997E7),
        ),
    )
)
"""(atan(z) / z - 1) / s in s = z^2, 0 <= z <= 1."""
RIGHT_ANGLE: Final = (_f(0x3FC90FDB), _f(0xB33BBD2E))
"""pi / 2 as an unevaluated sum."""

# -- sin, cos --------------------------------------------------------------------------------------------
CIRCLE_LIMIT: Final = np.float32(1048576.0)
"""sin and cos are defined for |x| up to 2^20."""
TWO_OVER_PI: Final = _f(0x3F22F983)
TWO_10: Final = np.float32(1024.0)
TWO_M10: Final = np.float32(0.0009765625)
HALF_PI: Final = tuple(map(_f, (0x3FC91000, 0xB6957800, 0x2E85A400, 0xA6F72C00, 0x9EECE800, 0x17451800)))
"""pi / 2 as a sum of numbers of 14 bits; their products with integers of 10 bits are exact."""
SIN_P: Final = tuple(map(_f, (0xBE2AAAA0, 0x3C088291, 0xB94C46CF)))
"""(sin(r) / r - 1) / s in s = r^2, |r| <= 0.83."""
COS_P: Final = tuple(map(_f, (0x3D2AAAA3, 0xBAB604DD, 0x37CC9C5B)))
"""(cos(r) - 1 + s / 2) / s^2 in s = r^2, |r| <= 0.83."""


def horner(x: F32, coefficients: tuple[np.float32, ...]) -> F32:
    """Return ``c[0] + x * (c[1] + x * (...))``, each step ``p * x + c[i]`` with two roundings."""
    p = coefficients[-1] * x + coefficients[-2]
    for c in coefficients[-3::-1]:
        p = p * x + c
    return p


def _exp_parts(x: F32) -> tuple[F32, I32]:
    """Return w and the integer i with e^x = (1 + w) 2^i, -0.30 < w < 0.42, for any x cut to the range of exp.

    .. code-block:: text

        x = 89 if x > 89 else x;  x = -104 if x < -104 else x
        t = x * LOG2_E + ROUNDER;  k = t - ROUNDER;  i = bits(t) - bits(ROUNDER)   # the integer k
        r = (x - k * LN2_HIGH) - k * LN2_LOW
        w = (r * r) * horner(r, EXP_P) + r

    k * LN2_HIGH and the first difference are exact; -150 <= k <= 128.
    """
    x = np.where(x > EXP_HIGH, EXP_HIGH, x)
    x = np.where(x < EXP_LOW, EXP_LOW, x)
    t = x * LOG2_E + ROUNDER
    k = t - ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    return (r * r) * horner(r, EXP_P) + r, bits_of(t) - ROUNDER_BITS


@quiet
def exp(x: F32) -> F32:
    """Return e^x for every binary32 x: exp(-inf) = +0, exp(+inf) = +inf, gradual underflow, NaN for NaN.

    .. code-block:: text

        w, i = _exp_parts(x)
        exp = ((w + 1) * 2^(i >> 1)) * 2^(i - (i >> 1))

    exp(+-0) is exactly 1.
    """
    w, i = _exp_parts(np.asarray(x, dtype=np.float32))
    return times_power_of_two(w + ONE, i)


@quiet
def erf(x: F32) -> F32:
    """Return the error function for every binary32 x; odd, erf(-0) = -0, NaN for NaN.

    .. code-block:: text

        t = |x|
        small = t + t * horner(t * t, ERF_P)
        c = 4 if t > 4 else t
        large = 1 - exp(c * horner(c, ERFC_P) - c)
        erf = (large if t > 0.875 else small), with the sign bit of x
    """
    x = np.asarray(x, dtype=np.float32)
    t = np.abs(x)
    small = t + t * horner(t * t, ERF_P)
    c = np.where(t > ERF_END, ERF_END, t)
    large = ONE - exp(c * horner(c, ERFC_P) - c)
    return np.copysign(np.where(t > ERF_CUT, large, small), x)


@quiet
def tanh(x: F32) -> F32:
    """Return the hyperbolic tangent for every binary32 x; odd, tanh(-0) = -0, NaN for NaN.

    .. code-block:: text

        t = |x|;  s = t * t
        small = t + t * (s * horner(s, TANH_P))
        large = 1 - 2 / (exp(t + t) + 1)
        tanh = (large if t > 0.625 else small), with the sign bit of x
    """
    x = np.asarray(x, dtype=np.float32)
    t = np.abs(x)
    s = t * t
    small = t + t * (s * horner(s, TANH_P))
    large = ONE - TWO / (exp(t + t) + ONE)
    return np.copysign(np.where(t > TANH_CUT, large, small), x)


@quiet
def atan(x: F32) -> F32:
    """Return the arc tangent for every binary32 x; odd, atan(-0) = -0, atan(+inf) = pi/2, NaN for NaN.

    .. code-block:: text

        t = |x|;  z = 1 / t if t > 1 else t;  s = z * z
        bend = z * (s * horner(s, ATAN_P))
        large = RIGHT_ANGLE[0] - (z + (bend - RIGHT_ANGLE[1]))
        atan = (large if t > 1 else z + bend), with the sign bit of x
    """
    x = np.asarray(x, dtype=np.float32)
    t = np.abs(x)
    z = np.where(t > ONE, ONE / t, t)
    s = z * z
    bend = z * (s * horner(s, ATAN_P))
    large = RIGHT_ANGLE[0] - (z + (bend - RIGHT_ANGLE[1]))
    return np.copysign(np.where(t > ONE, large, z + bend), x)


@quiet
def sigmoid(x: F32) -> F32:
    """Return 1 / (1 + e^-x) for every binary32 x, with gradual underflow; NaN for NaN.

    .. code-block:: text

        w, i = _exp_parts(-|x|)
        c = w + 1;  cl = w - (c - 1)                           # c + cl = 1 + w exactly
        e = (c * 2^(i >> 1)) * 2^(i - (i >> 1));  el likewise from cl
        d = 1 + e;  dl = (e - (d - 1)) + el
        n, nl = (e, el) if x < 0 else (1, 0)
        q = n / d
        sigmoid = q + (nl - q * dl) / d
    """
    x = np.asarray(x, dtype=np.float32)
    w, i = _exp_parts(-np.abs(x))
    c = w + ONE
    e, el = times_power_of_two(c, i), times_power_of_two(w - (c - ONE), i)
    d = ONE + e
    dl = (e - (d - ONE)) + el
    negative = x < ZERO
    q = np.where(negative, e, ONE) / d
    result: F32 = q + (np.where(negative, el, ZERO) - q * dl) / d
    return result


def _circle(x: F32) -> tuple[F32, F32, I32]:
    """Return sine and cosine of the remainder r of x by pi/2, and the quadrant 0..3; |x| <= 2^20.

    .. code-block:: text

        k = rint(x * TWO_OVER_PI);  u = rint(k * 2^-10) * 1024;  v = k - u
        h, l = x, 0
        for c in HALF_PI:
            h, e = two_sum(h, -(u * c));  l = l + e
            h, e = two_sum(h, -(v * c));  l = l + e
        h, l = two_sum(h, l)                                   # r = h + l
        s = h * h
        sine = h + (h * (s * horner(s, SIN_P)) + l)
        q = 0.5 * s
        w = 1 - q
        cosine = w + (((1 - w) - q) + ((s * s) * horner(s, COS_P) - h * l))
        quadrant = int(k) & 3

    The products with the pieces of pi/2 are exact, because u / 1024 and v have at most 10 bits.
    """
    if not (np.abs(x) <= CIRCLE_LIMIT).all():
        raise ExecutionError("sine or cosine of an argument beyond 2^20")
    k: F32 = np.rint(x * TWO_OVER_PI)
    u: F32 = np.rint(k * TWO_M10) * TWO_10
    v = k - u
    h: F32 = x
    low: F32 = np.zeros_like(x)
    for c in HALF_PI:
        h, e = two_sum(h, -(u * c))
        low = low + e
        h, e = two_sum(h, -(v * c))
        low = low + e
    h, low = two_sum(h, low)
    s: F32 = h * h
    bend: F32 = s * horner(s, SIN_P)
    sine: F32 = h + (h * bend + low)
    q = HALF * s
    w = ONE - q
    cosine: F32 = w + (((ONE - w) - q) + ((s * s) * horner(s, COS_P) - h * low))
    quadrant: I32 = k.astype(np.int32) & np.int32(3)
    return sine, cosine, quadrant


@quiet
def sin(x: F32) -> F32:
    """Return the sine. Raises ExecutionError unless every |x| <= 2^20.

    It is sine, cosine, -sine, -cosine of :func:`_circle` in quadrants 0, 1, 2, 3. sin(+-0) = +0.
    """
    sine, cosine, quadrant = _circle(np.asarray(x, dtype=np.float32))
    value = np.where(quadrant & np.int32(1), cosine, sine)
    return np.where(quadrant & np.int32(2), -value, value)


@quiet
def cos(x: F32) -> F32:
    """Return the cosine. Raises ExecutionError unless every |x| <= 2^20.

    It is cosine, -sine, -cosine, sine of :func:`_circle` in quadrants 0, 1, 2, 3.
    """
    sine, cosine, quadrant = _circle(np.asarray(x, dtype=np.float32))
    value = np.where(quadrant & np.int32(1), sine, cosine)
    return np.where((quadrant + np.int32(1)) & np.int32(2), -value, value)
