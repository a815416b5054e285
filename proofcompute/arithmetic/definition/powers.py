"""Define logarithms and powers of binary32 numbers (rule 2, docs/spec/arithmetic.md#log).

:mod:`.transcendental` says how functions are written.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arithmetic.definition.elementwise import (
    ONE,
    ZERO,
    bits_of,
    from_bits,
    quiet,
    times_power_of_two,
)
from proofcompute.arithmetic.definition.pairs import two_product, two_sum
from proofcompute.arithmetic.definition.transcendental import (
    EXP_P,
    HALF,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    TWO,
    coefficient,
    horner,
)
from proofcompute.arrays import F32

__all__ = ["log", "power"]

_f = coefficient

INFINITY: Final = np.float32(np.inf)
LEAST_NORMAL: Final = _f(0x00800000)
TWO_23: Final = np.float32(8388608.0)
SQRT_HALF_BITS: Final = np.int32(0x3F3504F3)
"""The bits of sqrt(1/2): mantissas are taken from [sqrt(1/2), sqrt 2)."""
MANTISSA: Final = np.int32(0x007FFFFF)
LOG_R: Final = tuple(map(_f, (0x3F2AAAAA, 0x3ECCCE13, 0x3E91E9EB, 0x3E789F33)))
"""(2 atanh(s) / s - 2) / z for z = s^2, 0 <= z <= 0.0295."""
POWER_EXPONENT: Final = np.float32(2147483648.0)
POWER_HIGH: Final = np.float32(129.0)
POWER_LOW: Final = np.float32(-151.0)
TWO_24: Final = np.float32(16777216.0)
NOT_A_NUMBER: Final = np.float32(np.nan)
TWO_THIRDS: Final = (_f(0x3F2AAAAB), _f(0xB2AAAAAB))
"""2/3 as an unevaluated sum."""
LOG2_E_PAIR: Final = (LOG2_E, _f(0x32A57060))
"""1 / ln 2 as an unevaluated sum."""
LN2_PAIR: Final = (_f(0x3F317218), _f(0xB102E308))
"""ln 2 as an unevaluated sum."""
POWER_R: Final = tuple(map(_f, (0x3ECCCCCC, 0x3E9249DB, 0x3E631EC2, 0x3E484538)))
"""((2 atanh(s) / s - 2) / z - 2/3) / z for z = s^2, 0 <= z <= 0.0295."""


def _mantissa(x: F32) -> tuple[F32, F32]:
    """Return f and the whole number k with x = (1 + f) 2^k, sqrt 1/2 <= 1 + f < sqrt 2; x > 0 and finite."""
    small = x < LEAST_NORMAL
    x = np.where(small, x * TWO_23, x)
    b = bits_of(x) - SQRT_HALF_BITS
    k = (np.where(small, np.int32(-23), np.int32(0)) + (b >> np.int32(23))).astype(np.float32)
    return from_bits((b & MANTISSA) + SQRT_HALF_BITS) - ONE, k


@quiet
def log(x: F32) -> F32:
    """Return the natural logarithm for every binary32 x: log(+-0) = -inf, log(+inf) = +inf.

    It is NaN for a NaN and for x < 0.

    .. code-block:: text

        if x < 2^-126: x = x * 2^23, and k starts at -23 (else 0)
        b = bits(x) - bits(sqrt 1/2);  k += b >> 23
        f = float((b & 0x7fffff) + bits(sqrt 1/2)) - 1
        s = f / (2 + f);  z = s * s;  R = z * horner(z, LOG_R);  h = (0.5 * f) * f
        log = (((s * (h + R) + k * LN2_LOW) - h) + f) + k * LN2_HIGH

    since log(1 + f) = 2 atanh(s) = f - h + s (h + R).
    """
    x = np.asarray(x, dtype=np.float32)
    inside = (x > ZERO) & np.isfinite(x)
    f, k = _mantissa(np.where(inside, x, ONE))
    s = f / (TWO + f)
    z = s * s
    rest = z * horner(z, LOG_R)
    h = (HALF * f) * f
    result: F32 = (((s * (h + rest) + k * LN2_LOW) - h) + f) + k * LN2_HIGH
    # the root of a negative number is NaN, as is that of a NaN
    outside = np.where(x == ZERO, -INFINITY, np.sqrt(x))
    return np.where(inside, result, outside)


def _log2(x: F32) -> tuple[F32, F32]:
    """Return log2 of positive finite x as an unevaluated sum, with a relative error near 2^-44.

    .. code-block:: text

        k, f as in log
        d, dl = two_sum(2, f)
        s = f / d;  p, e = two_product(s, d);  sl = (((f - p) - e) - s * dl) / d      # s + sl = f / (2 + f)
        z, e = two_product(s, s);  zl = e + (s + s) * sl
        a, e = two_sum(TWO_THIRDS[0], z * horner(z, POWER_R));  al = e + TWO_THIRDS[1]
        b, e = two_product(z, a);  bl = e + (z * al + zl * a)
        c, e = two_sum(2, b);  cl = e + bl
        g, e = two_product(s, c);  gl = e + (s * cl + sl * c)                          # log(1 + f)
        m, e = two_product(g, LOG2_E);  ml = e + (g * LOG2_E_PAIR[1] + gl * LOG2_E)
        h, e = two_sum(k, m);  log2 = h + (e + ml)
    """
    f, k = _mantissa(x)
    two: F32 = np.full_like(f, TWO)
    d, dl = two_sum(two, f)
    s: F32 = f / d
    p, e = two_product(s, d)
    rest: F32 = ((f - p) - e) - s * dl
    sl: F32 = rest / d
    z, e = two_product(s, s)
    zl: F32 = e + (s + s) * sl
    a, e = two_sum(np.full_like(f, TWO_THIRDS[0]), z * horner(z, POWER_R))
    al = e + TWO_THIRDS[1]
    w, e = two_product(z, a)
    wl: F32 = e + (z * al + zl * a)
    c, e = two_sum(two, w)
    cl: F32 = e + wl
    g, e = two_product(s, c)
    gl = e + (s * cl + sl * c)
    m, e = two_product(g, np.full_like(f, LOG2_E_PAIR[0]))
    ml = e + (g * LOG2_E_PAIR[1] + gl * LOG2_E_PAIR[0])
    h, e = two_sum(k, m)
    low: F32 = e + ml
    return h, low


@quiet
def power(base: F32, y: F32) -> F32:
    """Return base^y for every two binary32 numbers, elementwise (broadcasting).

    .. code-block:: text

        h, l = _log2(|base|);  y' = y cut to -2^31..2^31
        t, e = two_product(h, y');  tl = e + l * y'                                    # y log2 |base|
        if t >= 129: t, tl = 129, 0;  if t <= -151: t, tl = -151, 0
        k = rint(t);  r, e = two_sum(t - k, tl)
        g, a = two_product(r, LN2_PAIR[0]);  gl = a + (r * LN2_PAIR[1] + e * LN2_PAIR[0])
        v = 1 + (g + (gl + (g * g) * horner(g, EXP_P)))
        power = (v * 2^(k >> 1)) * 2^(k - (k >> 1))

    2^129 overflows to infinity, and 2^-151 rounds to +0; the cut y' changes nothing, since a base beside 1
    is 2^-24 away from it. Then, the first that applies:

    1. base^(+-0) = 1 and 1^y = 1, also for a NaN;
    2. NaN if base or y is NaN;
    3. 0 if |base| = 0 and y > 0, or |base| is infinite and y < 0; +inf the other way round;
    4. NaN if base < 0 is finite and y is not whole;
    5. where base has a sign bit and y is odd, the sign of the result is negative. Every |y| >= 2^24 is even.
    """
    base, y = np.broadcast_arrays(np.asarray(base, dtype=np.float32), np.asarray(y, dtype=np.float32))
    size = np.abs(base)
    inside = (size > ZERO) & (size < INFINITY)
    h, low = _log2(np.where(inside, size, ONE))
    cut = np.where(y > POWER_EXPONENT, POWER_EXPONENT, y)
    cut = np.where(cut < -POWER_EXPONENT, -POWER_EXPONENT, cut)
    t, e = two_product(h, cut)
    tl = e + low * cut
    high = t >= POWER_HIGH
    inner = (t > POWER_LOW) & (t < POWER_HIGH)
    t = np.where(inner, t, np.where(high, POWER_HIGH, POWER_LOW))
    tl = np.where(inner, tl, ZERO)
    k = np.rint(t)
    r, e = two_sum(t - k, tl)
    g, a = two_product(r, np.full_like(r, LN2_PAIR[0]))
    gl = a + (r * LN2_PAIR[1] + e * LN2_PAIR[0])
    v = ONE + (g + (gl + (g * g) * horner(g, EXP_P)))
    value = times_power_of_two(v, k.astype(np.int32))
    value = np.where(inside, value, np.where((size == ZERO) == (y > ZERO), ZERO, INFINITY))
    whole = np.rint(y) == y
    odd = whole & (np.abs(y) < TWO_24) & (np.rint(y * HALF) != y * HALF)
    value = np.where(np.signbit(base) & odd, -value, value)
    value = np.where((base < ZERO) & inside & ~whole, NOT_A_NUMBER, value)
    value = np.where(np.isnan(base) | np.isnan(y), NOT_A_NUMBER, value)
    return np.where((y == ZERO) | (base == ONE), ONE, value)
