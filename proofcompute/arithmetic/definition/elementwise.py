"""Define rule 1 (docs/spec/arithmetic.md#elementwise-operations): one IEEE rounding for each operation.

NumPy's add, subtract, multiply, divide, sqrt, rint and floor on binary32 arrays are single IEEE operations,
rounded to nearest even, each with its own rounding. :func:`check_platform` tests what could still differ
from machine to machine. Nothing here may promote to binary64: constants are ``np.float32`` objects.

A NaN that an operation produces has no defined sign or payload. That is harmless because no NaN is ever
committed: the quantiser, ``settle``, ``attention`` and ``sample`` refuse it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import numpy as np

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arrays import F32, I32, I64
from proofcompute.errors import DeviceError, NonFiniteError

__all__ = [
    "ONE",
    "ZERO",
    "bits_of",
    "check_platform",
    "from_bits",
    "quiet",
    "require_finite",
    "times_power_of_two",
    "to_int32",
]

ZERO: Final = np.float32(0.0)
ONE: Final = np.float32(1.0)


_TWO_31: Final = np.float32(2147483648.0)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def quiet(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a function so that overflow, underflow and NaN give the IEEE result without a warning.

    The function raises DeviceError where this thread computes in another way
    (:func:`proofcompute.arithmetic.ieee.require_ieee`).
    """
    silent = np.errstate(all="ignore")(function)

    @wraps(function)
    def checked(*arguments: _P.args, **named: _P.kwargs) -> _T:
        require_ieee()
        return silent(*arguments, **named)

    return checked


def bits_of(x: F32) -> I32:
    """Return the bit patterns of ``x`` as int32, same shape."""
    return np.asarray(x, dtype=np.float32).view(np.int32)


def from_bits(b: I32) -> F32:
    """Return the binary32 numbers with the bit patterns ``b``, same shape."""
    return np.asarray(b, dtype=np.int32).view(np.float32)


def times_power_of_two(x: F32, k: I32) -> F32:
    """Return ``x * 2**k`` for -252 <= k <= 254 in two steps: times 2^(k >> 1), then times 2^(k - (k >> 1)).

    Both factors are normal numbers made by a shift into the exponent field. For x near 1 the first step is
    exact, so only the second one rounds, and only when the result is subnormal.
    """
    first = k >> np.int32(1)
    second = k - first
    bias, field = np.int32(127), np.int32(23)
    return (x * from_bits((first + bias) << field)) * from_bits((second + bias) << field)


@quiet
def to_int32(x: F32) -> I32:
    """Round half to even, then saturate to int32.

    Raises NonFiniteError for a NaN (an infinity saturates).
    """
    if np.isnan(x).any():
        raise NonFiniteError("NaN cannot be converted to an integer")
    whole = np.rint(x)
    inside = np.where((whole >= -_TWO_31) & (whole < _TWO_31), whole, ZERO).astype(np.int32)
    high = np.where(whole >= _TWO_31, np.int32(2**31 - 1), inside)
    return np.where(whole < -_TWO_31, np.int32(-(2**31)), high)


def require_finite(x: F32, what: str) -> None:
    """Raise NonFiniteError, naming ``what``, if any element is NaN or infinite."""
    if not np.isfinite(x).all():
        raise NonFiniteError(f"{what} must be finite")


def _f(*patterns: int) -> F32:
    """Return numbers by bit pattern, eight times over, to test vector loops as well as their ends."""
    return np.array(list(patterns) * 8, dtype=np.uint32).view(np.float32)


def _same(found: F32, *expected: int) -> bool:
    return bool(found.view(np.uint32).tolist() == list(expected) * 8)


def _subnormals() -> bool:
    tiny, halves = _f(0x00800000, 0x00000001, 0x00400000), _f(0x3F000000, 0x3F000000, 0x3F000000)
    return (
        _same(tiny * halves, 0x00400000, 0, 0x00200000)
        and _same(tiny + tiny, 0x01000000, 2, 0x00800000)
        and _same(_f(0x00800001) - _f(0x00800000), 1)
        and _same(_f(0x00800000) / _f(0x4B000000), 1)
        and _same(np.sqrt(_f(0x00000001)), 0x1A3504F3)
        and bool((_f(0x00000001) > _f(0)).all())
    )


def _nearest_even() -> bool:
    # 1 + 2^-24 and (1 + 2^-23) + 2^-24 are ties: the first goes down, the second up.
    return (
        _same(_f(0x3F800000, 0x3F800001) + _f(0x33800000, 0x33800000), 0x3F800000, 0x3F800002)
        and _same(_f(0x3F800000) / _f(0x40400000), 0x3EAAAAAB)
        and _same(np.sqrt(_f(0x40000000)), 0x3FB504F3)
        and _same(np.rint(_f(0x3F000000, 0x3FC00000, 0x40200000)), 0, 0x40000000, 0x40000000)
        and _same(np.floor(_f(0xBF000000, 0x3F7FFFFF)), 0xBF800000, 0)
    )


def _not_fused() -> bool:
    # (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 if fused, and 0 if the product is rounded first.
    a = _f(0x3F800800)
    return _same(a * a - _f(0x3F801000), 0)


def _integers() -> bool:
    # Through binary64 the first would be rounded twice and come out as 2^54.
    wide: I64 = np.array([2**54 + 2**30 + 1, 2**24 + 1, 2**24 + 3] * 8, dtype=np.int64)
    return _same(wide.astype(np.float32), 0x5A800001, 0x4B800000, 0x4B800002)


@quiet
def check_platform() -> None:
    """Test that this machine's binary32 is the canonical one. Raises DeviceError naming what is not."""
    checks = {
        "subnormals survive": _subnormals(),
        "rounding to nearest even": _nearest_even(),
        "products are rounded before sums": _not_fused(),
        "integers are converted with one rounding": _integers(),
    }
    failed = [name for name, passed in checks.items() if not passed]
    if failed:
        raise DeviceError(f"this machine's binary32 arithmetic is not canonical; failed: {', '.join(failed)}")
