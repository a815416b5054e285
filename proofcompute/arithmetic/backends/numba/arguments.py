"""Convert the backend's arguments for compiled code, and turn its result into errors."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import GatePrologue, Prologue
from proofcompute.arrays import F32, I8
from proofcompute.errors import NonFiniteError

__all__ = [
    "ABOVE",
    "NOT_BELOW",
    "NO_BIAS",
    "NO_RESIDUAL",
    "finite",
    "in_limbs",
    "preparation",
    "rows_of_limbs",
    "up",
]

NO_BIAS: Final = np.zeros(0, dtype=np.float32)
NO_RESIDUAL: Final = np.zeros((0, 0), dtype=np.float32)
ABOVE: Final = 1
"""What is not above 0 becomes +0, and so does NaN."""
NOT_BELOW: Final = 2
"""What is not above 0 becomes +0, but NaN stays as it is."""
_ZERO: Final = np.float32(0)


def finite(good: bool, what: str) -> None:
    """Raise NonFiniteError, which names ``what``, unless a kernel found everything finite."""
    if not good:
        raise NonFiniteError(f"{what} must be finite")


def up(n: int, step: int) -> int:
    """Return the least multiple of ``step`` that is at least n."""
    return -(-n // step) * step


def in_limbs(q: I8, heads: int, limbs: int) -> I8:
    """Return rows of limbs [n, heads limbs, d] as [n, heads, d], or [n, heads, 2, d]."""
    return q if limbs == 1 else q.reshape(len(q), heads, limbs, q.shape[2])


def rows_of_limbs(q: I8) -> I8:
    """Return rows [n, heads, d], or [n, heads, 2, d], as [n, heads limbs, d]."""
    return q if q.ndim == 3 else q.reshape(len(q), 2 * q.shape[1], q.shape[3])


def preparation(linear: Any, prologue: Prologue) -> tuple[int, F32, np.float32]:
    """Return a prologue as kernels take it: its mode, the weight of its norm, and eps."""
    if prologue is None:
        return linear.PLAIN, NO_BIAS, _ZERO
    if isinstance(prologue, GatePrologue):
        return linear.GATED, NO_BIAS, _ZERO
    return linear.NORM, prologue.weight, np.float32(prologue.eps)
