"""Defines the canonical functions of one number, as plain Python that Numba compiles.

Each function repeats a sequence of :mod:`proofcompute.arithmetic.definition` operation by operation, with its
constants. Every constant is a binary32 or int32 object, since a Python float would make Numba compute in
binary64, and integer results are cast back, since Numba computes integers in 64 bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.scalar.rounded import minus, over, plus, root, shared, times
from proofcompute.arithmetic.definition import transcendental as t
from proofcompute.arithmetic.definition.rows import SQRT_HALF

__all__ = [
    "FINITE_BITS",
    "LARGEST",
    "LOWEST_BITS",
    "absolute_bits",
    "bits_of",
    "dequantised",
    "erf",
    "exp",
    "exp_below",
    "exp_beside_one",
    "from_bits",
    "from_ordered_bits",
    "gated",
    "gelu_of",
    "horner_step",
    "normalised",
    "ordered_bits",
    "quantised",
    "reciprocal",
    "relu_of",
    "root_of_mean",
    "round_even",
    "settled",
]

ZERO: Final = np.float32(0)
ONE: Final = np.float32(1)
HALF: Final = np.float32(0.5)
LARGEST: Final = np.finfo(np.float32).max
FINITE_BITS: Final = np.int32(0x7F800000)
"""x is finite if the bits of |x| are below this."""

LOWEST_BITS: Final = np.int32(-0x80000000)
"""Less than or equal to every :func:`ordered_bits`."""

_ABSOLUTE: Final = np.int32(0x7FFFFFFF)
_SIGN: Final = np.int32(-0x80000000)
_ROUNDER: Final = np.float32(12582912.0)
_BIAS: Final = np.int32(127)

_EXP_HIGH, _EXP_LOW, _LOG2_E = t.EXP_HIGH, t.EXP_LOW, t.LOG2_E
_ROUNDER_BITS = t.ROUNDER_BITS
_SHIFT: Final = np.int32(64)
_UNSHIFT: Final = np.float32(2**-64)
_RESHIFT: Final = np.float32(2**64)
_UNSEEN: Final = np.float32(-40)
_LN2_HIGH, _LN2_LOW = t.LN2_HIGH, t.LN2_LOW
_E0, _E1, _E2, _E3, _E4 = t.EXP_P
_ERF_CUT, _ERF_END = t.ERF_CUT, t.ERF_END
_P0, _P1, _P2, _P3, _P4, _P5 = t.ERF_P
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = t.ERFC_P


@shared
def from_bits(bits: Any) -> Any:
    """Return the binary32 number with these int32 bits."""
    return np.int32(bits).view(np.float32)


@shared
def bits_of(x: Any) -> Any:
    """Return the bits of x as int32."""
    return np.float32(x).view(np.int32)


@shared
def absolute_bits(x: Any) -> Any:
    """Return the bits of |x| as int32: they order as |x| does, with NaN above infinity."""
    return np.int32(bits_of(x) & _ABSOLUTE)


@shared
def ordered_bits(x: Any) -> Any:
    """Return an int32 that orders as x does, -0 below +0: LLVM vectorises a maximum of integers."""
    bits = bits_of(x)
    return np.int32(bits ^ (np.int32(bits >> np.int32(31)) & _ABSOLUTE))


@shared
def from_ordered_bits(bits: Any) -> Any:
    """Return the number of which these are the :func:`ordered_bits`."""
    return from_bits(np.int32(bits ^ (np.int32(bits >> np.int32(31)) & _ABSOLUTE)))


@shared
def round_even(x: Any) -> Any:
    """Return x rounded half to even as int32, for |x| <= 2^22: 1.5 2^23 + x has no fraction bits.

    The integer stands in the low bits of the sum, so an integer of 16 bits needs no subtraction.
    """
    return np.int32(bits_of(plus(x, _ROUNDER)) - _ROUNDER_BITS)


# -- transcendental functions ----------------------------------------------------------------------------
@shared
def horner_step(p: Any, x: Any, c: Any) -> Any:
    """Return p x + c, with two roundings."""
    return plus(times(p, x), c)


@shared
def _power_of_two(k: Any) -> Any:
    return from_bits(np.int32(np.int32(k + _BIAS) << np.int32(23)))


@shared
def _mantissa(x: Any) -> Any:
    """Return v, and the rounder's bits plus i, such that e^x is v 2^i, for -104 <= x <= 89."""
    shifted = horner_step(x, _LOG2_E, _ROUNDER)
    k = minus(shifted, _ROUNDER)
    r = minus(minus(x, times(k, _LN2_HIGH)), times(k, _LN2_LOW))
    p = horner_step(horner_step(horner_step(horner_step(_E4, r, _E3), r, _E2), r, _E1), r, _E0)
    w = horner_step(times(r, r), p, r)
    return plus(w, ONE), bits_of(shifted)


@shared
def exp(x: Any) -> Any:
    """Return e^x (definition.transcendental.exp)."""
    x = _EXP_HIGH if x > _EXP_HIGH else x
    x = _EXP_LOW if x < _EXP_LOW else x
    v, t = _mantissa(x)
    i = np.int32(t - _ROUNDER_BITS)
    first = np.int32(i >> np.int32(1))
    return times(times(v, _power_of_two(first)), _power_of_two(np.int32(i - first)))


@shared
def _raised(v: Any, t: Any, shift: Any) -> Any:
    """Return v 2^(i + shift) exactly, by adding to the exponent's bits; the rounder's own are shifted out."""
    return from_bits(
        np.int32(np.int32(bits_of(v) + np.int32(t << np.int32(23))) + np.int32(shift << np.int32(23)))
    )


@shared
def exp_below(x: Any) -> Any:
    """Return :func:`exp` for x <= 0: then 2^(i + 64) is in range, and only the step back by 2^-64 rounds.

    From EXP_LOW down v is replaced by +0, for which that step gives +0 at no cost: a subnormal result takes a
    CPU more than a hundred cycles.
    """
    low = x <= _EXP_LOW
    v, t = _mantissa(_EXP_LOW if low else x)
    return times(ZERO if low else _raised(v, t, _SHIFT), _UNSHIFT)


@shared
def exp_beside_one(x: Any) -> Any:
    """Return :func:`exp` for use in 1 + e^x, so x may be cut at -40: 2^(i - 64) is then in range."""
    x = _EXP_HIGH if x > _EXP_HIGH else x
    x = _UNSEEN if x < _UNSEEN else x
    v, t = _mantissa(x)
    return times(_raised(v, t, np.int32(-_SHIFT)), _RESHIFT)


@shared
def erf(x: Any) -> Any:
    """Return the error function (definition.transcendental.erf)."""
    bits = bits_of(x)
    a = from_bits(np.int32(bits & _ABSOLUTE))
    s = times(a, a)
    p = horner_step(horner_step(horner_step(_P5, s, _P4), s, _P3), s, _P2)
    p = horner_step(horner_step(p, s, _P1), s, _P0)
    small = plus(a, times(a, p))
    c = _ERF_END if a > _ERF_END else a
    p = horner_step(horner_step(horner_step(_C6, c, _C5), c, _C4), c, _C3)
    p = horner_step(horner_step(horner_step(p, c, _C2), c, _C1), c, _C0)
    large = minus(ONE, exp(minus(times(c, p), c)))
    value = large if a > _ERF_CUT else small
    return from_bits(np.int32(np.int32(bits_of(value) & _ABSOLUTE) | np.int32(bits & _SIGN)))


# -- the quantiser ---------------------------------------------------------------------------------------
@shared
def reciprocal(levels: Any, largest: Any) -> Any:
    """Return levels / largest, the quantiser's r, or 0 if largest is 0 or the quotient overflows."""
    if largest == ZERO:
        return ZERO
    r = over(levels, largest)
    return r if r <= LARGEST else ZERO


@shared
def quantised(x: Any, r: Any) -> Any:
    """Return x r rounded half to even, as int32, for |x r| <= 2^22."""
    return round_even(times(x, r))


@shared
def dequantised(q: Any, scale: Any) -> Any:
    """Return an integer of at most 24 bits times a scale."""
    return times(np.float32(q), scale)


# -- row-wise and elementwise operations (definition.rows) -------------------------------------------------
@shared
def root_of_mean(total: Any, n: Any, eps: Any) -> Any:
    """Return sqrt(total / n + eps) for the sum of n squares."""
    return root(plus(over(total, np.float32(n)), eps))


@shared
def normalised(x: Any, size: Any, w: Any) -> Any:
    """Return x / size * w."""
    return times(over(x, size), w)


@shared
def gated(g: Any, u: Any) -> Any:
    """Return g / (1 + exp(-g)) * u."""
    return times(over(g, plus(ONE, exp_beside_one(-g))), u)


@shared
def gelu_of(x: Any) -> Any:
    """Return (0.5 x) (1 + erf(x SQRT_HALF))."""
    return times(times(HALF, x), plus(ONE, erf(times(x, SQRT_HALF))))


@shared
def relu_of(x: Any) -> Any:
    """Return x if x > 0, else +0."""
    return x if x > ZERO else ZERO


@shared
def settled(x: Any) -> Any:
    """Return x + 0: -0 becomes +0."""
    return plus(x, ZERO)
