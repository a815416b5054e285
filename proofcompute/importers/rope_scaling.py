"""Computes frequencies of rotary embeddings, and other constants of a model, each rounded once to binary32.

The values are real numbers given by formulas. They are computed with 50 decimal digits, whose logarithms and
exponentials :mod:`decimal` rounds correctly, and rounded once; so they are the same on every machine,
whatever its C library, and can be checked with any other arithmetic of enough digits.

For a head with r rotated columns, pair i of plain rotary embedding (Su et al. 2021, arXiv:2104.09864) has
the frequency ``f_i = base ^ (-2 i / r)``. The scalings change it as follows:

- linear: ``f_i / factor``.
- llama3 (Llama 3.1): with the wavelength ``w = 2 pi / f_i`` and the original context ``n``, ``f_i`` if
  ``w < n / high``, ``f_i / factor`` if ``w > n / low``, and between them ``(1 - s) f_i / factor + s f_i``
  with ``s = (n / w - low) / (high - low)``.
- yarn (Peng et al. 2023, arXiv:2309.00071): ``f_i ((1 - m_i) + m_i / factor)``, where m_i rises linearly from
  0 to 1 between the pairs that turn ``beta_fast`` and ``beta_slow`` times within the original context.
- longrope (Ding et al. 2024, arXiv:2402.13753): ``f_i / factors[i]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from typing import Final

import numpy as np

from proofcompute.errors import InputError

__all__ = [
    "Real",
    "binary32",
    "inverse_root",
    "linear",
    "llama3",
    "logarithm",
    "longrope",
    "plain",
    "root",
    "yarn",
    "yarn_magnitude",
]

Real = Decimal | Fraction | float | int
"""A real number; a float stands for its exact value."""

_EXACT: Final = Context(prec=50, rounding=ROUND_HALF_EVEN, Emin=-9999, Emax=9999)
_TWO_PI: Final = Decimal("6.2831853071795864769252867665590057683943387987502116419498891846156")


def binary32(x: Real) -> float:
    """Return the binary32 number nearest to ``x``, ties to even; InputError if there is none."""
    try:
        exact = Fraction(x)
    except (ValueError, OverflowError) as e:
        raise InputError(f"{x} is not a finite number") from e
    if exact == 0:
        return 0.0
    numerator, denominator = abs(exact).as_integer_ratio()
    shift = max(numerator.bit_length() - denominator.bit_length() - 24, -149)
    scaled = round(abs(exact) / Fraction(2) ** shift)  # at most 25 bits; one more step if there are 25
    if scaled >= 1 << 24:
        shift += 1
        scaled = round(abs(exact) / Fraction(2) ** shift)
    if scaled * Fraction(2) ** shift >= Fraction(2) ** 128:
        raise InputError(f"{x} is beyond the range of binary32")
    return float(scaled) * 2.0**shift * (1 if exact > 0 else -1)


def root(x: Real) -> float:
    """Return the square root of a number that is not negative, in binary32."""
    with localcontext(_EXACT):
        return binary32(_decimal(x).sqrt())


def inverse_root(x: Real, factor: Real = 1) -> float:
    """Return factor / sqrt(x) for positive ``x``, in binary32."""
    with localcontext(_EXACT):
        return binary32(_decimal(factor) / _decimal(x).sqrt())


def logarithm(x: Real) -> Decimal:
    """Return the natural logarithm of a positive number, to 50 digits."""
    with localcontext(_EXACT):
        return _decimal(x).ln()


def plain(base: Real, columns: int) -> tuple[int, ...]:
    """Return the binary32 bit patterns of the unscaled frequencies of ``columns / 2`` pairs."""
    return _bits(_frequencies(base, columns))


def linear(base: Real, columns: int, factor: Real) -> tuple[int, ...]:
    """Return the bit patterns of linearly scaled frequencies."""
    with localcontext(_EXACT):
        return _bits([f / _decimal(factor) for f in _frequencies(base, columns)])


def longrope(base: Real, columns: int, factors: Sequence[Real]) -> tuple[int, ...]:
    """Return the bit patterns of frequencies with a divisor for each pair."""
    with localcontext(_EXACT):
        pairs = zip(_frequencies(base, columns), factors, strict=True)
        return _bits([f / _decimal(divisor) for f, divisor in pairs])


def llama3(base: Real, columns: int, factor: Real, low: Real, high: Real, context: int) -> tuple[int, ...]:
    """Return the bit patterns of Llama 3.1's frequencies; ``context`` is the original one."""
    with localcontext(_EXACT):
        lo, hi, by = _decimal(low), _decimal(high), _decimal(factor)
        found = []
        for f in _frequencies(base, columns):
            turns = context * f / _TWO_PI  # context / wavelength
            s = min(max((turns - lo) / (hi - lo), Decimal(0)), Decimal(1))
            found.append((1 - s) * f / by + s * f)
        return _bits(found)


def yarn(
    base: Real,
    columns: int,
    factor: Real,
    context: int,
    beta_fast: Real = 32,
    beta_slow: Real = 1,
    truncate: bool = True,
) -> tuple[int, ...]:
    """Return the bit patterns of YaRN's frequencies.

    ``context`` is the original one; ``truncate`` says whether the bounds of the ramp are rounded outwards to
    whole pairs.
    """
    with localcontext(_EXACT):
        by, log_base = _decimal(factor), _decimal(base).ln()

        def pair(turns: Real) -> Decimal:
            return columns * (context / (_decimal(turns) * _TWO_PI)).ln() / (2 * log_base)

        low, high = pair(beta_fast), pair(beta_slow)
        if truncate:
            low, high = Decimal(low.__floor__()), Decimal(high.__ceil__())
        low, high = max(low, Decimal(0)), min(high, Decimal(columns - 1))
        if low == high:
            high += Decimal("0.001")
        found = []
        for i, f in enumerate(_frequencies(base, columns)):
            m = min(max((i - low) / (high - low), Decimal(0)), Decimal(1))
            found.append(f * ((1 - m) + m / by))
        return _bits(found)


def yarn_magnitude(factor: Real, scale: Real = 1) -> Decimal:
    """Return 0.1 scale ln(factor) + 1, or 1 for a factor of at most 1; YaRN's factor on cosines and sines."""
    with localcontext(_EXACT):
        by = _decimal(factor)
        return Decimal(1) if by <= 1 else Decimal("0.1") * _decimal(scale) * by.ln() + 1


def _frequencies(base: Real, columns: int) -> list[Decimal]:
    with localcontext(_EXACT):
        log_base = _decimal(base).ln()
        return [(-2 * i * log_base / columns).exp() for i in range(columns // 2)]


def _decimal(x: Real) -> Decimal:
    return Decimal(x.numerator) / x.denominator if isinstance(x, Fraction) else Decimal(x)


def _bits(values: Sequence[Decimal]) -> tuple[int, ...]:
    rounded = np.array([binary32(v) for v in values], np.float32)
    return tuple(int(b) for b in rounded.view(np.uint32))
