"""Checks of rows that an opening holds (numerics.rows defines them)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.backends.numba import signatures as types
from proofcompute.backends.numba.cache import kernel
from proofcompute.backends.numba.signatures import read
from proofcompute.backends.scalar.functions import FINITE_BITS

__all__ = ["is_settled"]

_NEGATIVE_ZERO: Final = np.int32(-(2**31))
_MAGNITUDE: Final = np.int32(2**31 - 1)


@kernel(types.boolean(read(types.int32, 1)))
def is_settled(bits: Any) -> Any:
    """Whether no float32 with these bits is -0, an infinity or NaN."""
    wrong = np.int32(0)
    for i in range(bits.size):
        wrong |= np.int32(bits[i] == _NEGATIVE_ZERO) | np.int32((bits[i] & _MAGNITUDE) >= FINITE_BITS)
    return wrong == 0
