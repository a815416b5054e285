"""Unpack integers of 1 to 32 bits in kernels, in groups of 8 or 16.

:mod:`proofcompute.arithmetic.definition.bitpack` defines the stream. A group of 8 or 16 values of b bits
takes b or 2 b bytes, so all groups of a run begin at the same bit of a byte. A group is read as 32-bit words,
and a value lies in two adjacent words.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import PERMUTES

__all__ = ["ask", "byte", "unpack", "unpacker"]

_LINE: Final = 64
"""The size of a cache line in bytes."""
_WORD: Final = 8
"""The number of bytes that one value is taken from: 32 bits and a shift of up to 7."""


_word, byte, _ask = (emitted("gathering", name) for name in ("word", "byte", "ask"))


@helper
def ask(address: Any, bits: Any, first: Any, count: Any) -> None:
    """Prefetch values first..first+count of packed integers."""
    for at in range(first * bits >> 3, (first + count) * bits >> 3, _LINE):
        _ask(address, at)


def unpacker(lanes: int) -> Any:
    """Return a function that unpacks in groups of ``lanes`` values, or one by one if ``lanes`` is 0."""
    groups, permutes = emitted("gathering", "groups_of", lanes), lanes > 0

    @helper
    def unpack(address: Any, size: Any, bits: Any, first: Any, count: Any, out: Any) -> None:
        """Unpack values first..first+count of the ``size`` bytes at the address into out."""
        left = np.uint64(64 - bits)
        position = first * bits
        done = 0
        if permutes:
            # Only groups whose bytes all lie inside are read.
            inside = 1 + (size - (position >> 3) - 4 * lanes) // (lanes // 8 * bits)
            whole = max(0, min(count // lanes, inside))
            groups(address, position >> 3, position & 7, bits, whole, out)
            done = whole * lanes
        # The word of a value lies inside the ``size`` bytes if its index is below ``last``.
        last = (size - _WORD) * 8 // bits + 1 if size >= _WORD else 0
        whole = min(count, max(done, last - first))
        for i in range(done, whole):
            place = position + i * bits
            word = _word(address, place >> 3) >> np.uint64(place & 7)
            out[i] = np.int32(np.int64(word << left) >> np.int64(left))
        for i in range(whole, count):
            place = position + i * bits
            word = np.uint64(0)
            for j in range(min(_WORD, size - (place >> 3))):
                word |= byte(address, (place >> 3) + j) << np.uint64(8 * j)
            word >>= np.uint64(place & 7)
            out[i] = np.int32(np.int64(word << left) >> np.int64(left))

    return unpack


unpack: Final = unpacker(PERMUTES)
