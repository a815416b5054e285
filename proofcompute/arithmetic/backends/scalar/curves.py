"""Defines the transcendental functions of expressions, as :mod:`.elements`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.scalar.elements import absolute, is_nan, negative, with_sign
from proofcompute.arithmetic.backends.scalar.functions import bits_of, exp, from_bits, horner_step
from proofcompute.arithmetic.backends.scalar.rounded import minus, over, plus, shared, times
from proofcompute.arithmetic.definition import powers as p
from proofcompute.arithmetic.definition import transcendental as t
from proofcompute.arithmetic.definition.pairs import SPLITTER

__all__ = ["atan", "cosine", "log", "outside_circle", "power", "sine", "tanh"]

_ZERO: Final = np.float32(0)
_ONE: Final = np.float32(1)
_TWO: Final = np.float32(2)
_HALF: Final = np.float32(0.5)
_INFINITY: Final = np.float32(np.inf)
_NAN: Final = np.float32(np.nan)
_MANTISSA: Final = np.int32(0x007FFFFF)
_BIAS: Final = np.int32(127)
_23: Final = np.int32(23)
_1: Final = np.int32(1)
_SPLITTER: Final = SPLITTER
_LEAST_NORMAL, _TWO_23, _ROOT_BITS = p.LEAST_NORMAL, p.TWO_23, p.SQRT_HALF_BITS
_LN2_HIGH, _LN2_LOW = t.LN2_HIGH, t.LN2_LOW
_R0, _R1, _R2, _R3 = p.LOG_R
_T0, _T1, _T2, _T3, _T4 = t.TANH_P
_TANH_CUT: Final = t.TANH_CUT
_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8 = t.ATAN_P
_RIGHT, _RIGHT_LOW = t.RIGHT_ANGLE
_LIMIT, _TWO_OVER_PI, _TWO_10, _TWO_M10 = t.CIRCLE_LIMIT, t.TWO_OVER_PI, t.TWO_10, t.TWO_M10
_PI0, _PI1, _PI2, _PI3, _PI4, _PI5 = t.HALF_PI
_S0, _S1, _S2 = t.SIN_P
_C0, _C1, _C2 = t.COS_P
_EXPONENT, _HIGH, _LOW, _TWO_24 = p.POWER_EXPONENT, p.POWER_HIGH, p.POWER_LOW, p.TWO_24
_THIRDS, _THIRDS_LOW = p.TWO_THIRDS
_LOG2_E, _LOG2_E_LOW = p.LOG2_E_PAIR
_LN2, _LN2_REST = p.LN2_PAIR
_W0, _W1, _W2, _W3 = p.POWER_R
_E0, _E1, _E2, _E3, _E4 = t.EXP_P


@shared
def _parts(x: Any) -> Any:
    """Return f and k with x = (1 + f) 2^k, for positive finite x (definition.powers)."""
    small = x < _LEAST_NORMAL
    b = np.int32(bits_of(times(x, _TWO_23) if small else x) - _ROOT_BITS)
    k = np.int32((np.int32(-23) if small else np.int32(0)) + np.int32(b >> _23))
    return minus(from_bits(np.int32(np.int32(b & _MANTISSA) + _ROOT_BITS)), _ONE), np.float32(k)


@shared
def log(x: Any) -> Any:
    """Return the natural logarithm (definition.powers.log)."""
    inside = x > _ZERO and x < _INFINITY
    f, k = _parts(x if inside else _ONE)
    s = over(f, plus(_TWO, f))
    z = times(s, s)
    rest = times(z, horner_step(horner_step(horner_step(_R3, z, _R2), z, _R1), z, _R0))
    h = times(times(_HALF, f), f)
    value = plus(minus(horner_step(s, plus(h, rest), times(k, _LN2_LOW)), h), f)
    value = plus(value, times(k, _LN2_HIGH))
    outside = -_INFINITY if x == _ZERO else (_INFINITY if x == _INFINITY else _NAN)
    return value if inside else outside


@shared
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent (definition.transcendental.tanh)."""
    a = absolute(x)
    s = times(a, a)
    bend = horner_step(horner_step(horner_step(horner_step(_T4, s, _T3), s, _T2), s, _T1), s, _T0)
    small = plus(a, times(a, times(s, bend)))
    large = minus(_ONE, over(_TWO, plus(exp(plus(a, a)), _ONE)))
    return with_sign(large if a > _TANH_CUT else small, x)


@shared
def atan(x: Any) -> Any:
    """Return the arc tangent (definition.transcendental.atan)."""
    a = absolute(x)
    steep = a > _ONE
    z = over(_ONE, a) if steep else a
    s = times(z, z)
    q = horner_step(horner_step(horner_step(horner_step(_A8, s, _A7), s, _A6), s, _A5), s, _A4)
    q = horner_step(horner_step(horner_step(horner_step(q, s, _A3), s, _A2), s, _A1), s, _A0)
    bend = times(z, times(s, q))
    large = minus(_RIGHT, plus(z, minus(bend, _RIGHT_LOW)))
    return with_sign(large if steep else plus(z, bend), x)


@shared
def _two_sum(a: Any, b: Any) -> Any:
    """Return fl(a + b) and its error (definition.pairs)."""
    s = plus(a, b)
    v = minus(s, a)
    return s, plus(minus(a, minus(s, v)), minus(b, v))


@shared
def _two_product(a: Any, b: Any) -> Any:
    """Return fl(a b) and its error (definition.pairs)."""
    x = times(a, b)
    c = times(_SPLITTER, a)
    ah = minus(c, minus(c, a))
    al = minus(a, ah)
    d = times(_SPLITTER, b)
    bh = minus(d, minus(d, b))
    bl = minus(b, bh)
    e = plus(plus(plus(minus(times(ah, bh), x), times(ah, bl)), times(al, bh)), times(al, bl))
    return x, e


@shared
def _turned(h: Any, low: Any, u: Any, v: Any, c: Any) -> Any:
    """Return h + low less (u + v) c, as a sum of two."""
    h, e = _two_sum(h, negative(times(u, c)))
    low = plus(low, e)
    h, e = _two_sum(h, negative(times(v, c)))
    return h, plus(low, e)


@shared
def outside_circle(x: Any) -> Any:
    """Return whether sine and cosine have no result: |x| > 2^20, or x is NaN."""
    return not absolute(x) <= _LIMIT


@shared
def _circle(x: Any) -> Any:
    """Return sine and cosine of the remainder of x by pi/2, and the quadrant (definition.transcendental)."""
    x = _ZERO if outside_circle(x) else x
    k = np.rint(times(x, _TWO_OVER_PI))
    u = times(np.rint(times(k, _TWO_M10)), _TWO_10)
    v = minus(k, u)
    h, low = _turned(x, _ZERO, u, v, _PI0)
    h, low = _turned(h, low, u, v, _PI1)
    h, low = _turned(h, low, u, v, _PI2)
    h, low = _turned(h, low, u, v, _PI3)
    h, low = _turned(h, low, u, v, _PI4)
    h, low = _turned(h, low, u, v, _PI5)
    h, low = _two_sum(h, low)
    s = times(h, h)
    bend = times(s, horner_step(horner_step(_S2, s, _S1), s, _S0))
    sine = plus(h, plus(times(h, bend), low))
    q = times(_HALF, s)
    w = minus(_ONE, q)
    curve = times(times(s, s), horner_step(horner_step(_C2, s, _C1), s, _C0))
    cosine = plus(w, plus(minus(minus(_ONE, w), q), minus(curve, times(h, low))))
    return sine, cosine, np.int32(np.int32(k) & np.int32(3))


@shared
def sine(x: Any) -> Any:
    """Return the sine (definition.transcendental.sin)."""
    a, b, quadrant = _circle(x)
    value = b if np.int32(quadrant & _1) else a
    return negative(value) if np.int32(quadrant & np.int32(2)) else value


@shared
def cosine(x: Any) -> Any:
    """Return the cosine (definition.transcendental.cos)."""
    a, b, quadrant = _circle(x)
    value = a if np.int32(quadrant & _1) else b
    return negative(value) if np.int32(np.int32(quadrant + _1) & np.int32(2)) else value


@shared
def _log2(x: Any) -> Any:
    """Return log2 of positive finite x as a sum of two (definition.powers)."""
    f, k = _parts(x)
    d, dl = _two_sum(_TWO, f)
    s = over(f, d)
    q, e = _two_product(s, d)
    sl = over(minus(minus(minus(f, q), e), times(s, dl)), d)
    z, e = _two_product(s, s)
    zl = plus(e, times(plus(s, s), sl))
    bend = horner_step(horner_step(horner_step(_W3, z, _W2), z, _W1), z, _W0)
    a, e = _two_sum(_THIRDS, times(z, bend))
    al = plus(e, _THIRDS_LOW)
    w, e = _two_product(z, a)
    wl = plus(e, plus(times(z, al), times(zl, a)))
    c, e = _two_sum(_TWO, w)
    cl = plus(e, wl)
    g, e = _two_product(s, c)
    gl = plus(e, plus(times(s, cl), times(sl, c)))
    m, e = _two_product(g, _LOG2_E)
    ml = plus(e, plus(times(g, _LOG2_E_LOW), times(gl, _LOG2_E)))
    h, e = _two_sum(k, m)
    return h, plus(e, ml)


@shared
def power(x: Any, y: Any) -> Any:
    """Return x^y (definition.powers.power)."""
    size = absolute(x)
    inside = size > _ZERO and size < _INFINITY
    h, low = _log2(size if inside else _ONE)
    cut = _EXPONENT if y > _EXPONENT else y
    cut = -_EXPONENT if cut < -_EXPONENT else cut
    u, e = _two_product(h, cut)
    ul = plus(e, times(low, cut))
    inner = u > _LOW and u < _HIGH
    u = u if inner else (_HIGH if u >= _HIGH else _LOW)
    ul = ul if inner else _ZERO
    k = np.rint(u)
    r, e = _two_sum(minus(u, k), ul)
    g, a = _two_product(r, _LN2)
    gl = plus(a, plus(times(r, _LN2_REST), times(e, _LN2)))
    bend = horner_step(horner_step(horner_step(horner_step(_E4, g, _E3), g, _E2), g, _E1), g, _E0)
    v = plus(_ONE, plus(g, plus(gl, times(times(g, g), bend))))
    i = np.int32(k)
    first = np.int32(i >> _1)
    value = times(v, from_bits(np.int32(np.int32(first + _BIAS) << _23)))
    value = times(value, from_bits(np.int32(np.int32(np.int32(i - first) + _BIAS) << _23)))
    ends = _ZERO if (size == _ZERO) == (y > _ZERO) else _INFINITY
    value = value if inside else ends
    is_whole = np.rint(y) == y
    half = times(y, _HALF)
    odd = is_whole and absolute(y) < _TWO_24 and np.rint(half) != half
    value = negative(value) if odd and bits_of(x) < np.int32(0) else value
    value = _NAN if x < _ZERO and inside and not is_whole else value
    value = _NAN if is_nan(x) or is_nan(y) else value
    return _ONE if y == _ZERO or x == _ONE else value
