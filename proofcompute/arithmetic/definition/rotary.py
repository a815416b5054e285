"""Compute the tables of rotary position embedding by rule 2 (Su et al. 2021, arXiv:2104.09864)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.arithmetic.definition.elementwise import ONE
from proofcompute.arithmetic.definition.powers import power
from proofcompute.arithmetic.definition.transcendental import cos, sin
from proofcompute.arrays import F32, I64
from proofcompute.errors import ExecutionError

__all__ = ["rope_frequencies", "rope_table"]

_LEAST: Final = 2.0**-30
_MOST: Final = 2.0**40


def rope_frequencies(base: float, dimensions: int, factors: Sequence[float] | None = None) -> F32:
    """Return the frequency base^(-2i / dimensions) / factors[i] of each pair i: binary32 [dimensions / 2].

    The exponent is one binary32 division. Raises ExecutionError unless the base is in [2^-30, 2^40].
    """
    if not _LEAST <= base <= _MOST:
        raise ExecutionError("the base of rotary frequencies must lie between 2^-30 and 2^40")
    exponent = -np.arange(0, dimensions, 2, dtype=np.float32) / np.float32(dimensions)
    freqs = power(np.full_like(exponent, base), exponent)
    if factors is None:
        return freqs
    divisors: F32 = np.array(factors, dtype=np.float32)
    return freqs / divisors


def rope_table(positions: I64, freqs: F32, scale: np.float32 = ONE) -> tuple[F32, F32]:
    """Return cosines and sines of f32(position) * frequency, times ``scale``: [n, r] each.

    The angle is rounded once, and so is each product with the scale. Raises ExecutionError where an angle is
    beyond 2^20, the domain of sin and cos.
    """
    angles = positions.astype(np.float32)[:, None] * freqs[None, :]
    return cos(angles) * scale, sin(angles) * scale
