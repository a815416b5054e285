"""Unpacking integers of 1 to 32 bits in kernels (numerics.bitpack defines it), 8 or 16 at a time.

So many values of b bits take b or 2 b bytes, so all groups of a run begin at the same bit of a byte. A group
is read as 32-bit words; a value lies in two of them, side by side.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, helper
from proofcompute.arithmetic.backends.numba.codegen.shapes import PERMUTES

__all__ = ["ask", "byte", "unpack", "unpacker"]

_LINE: Final = 64
"""Bytes of a cache line."""
_WORD: Final = 8
"""Bytes that one value is taken from: 32 bits and a shift of up to 7."""


_word, byte, _ask = (emitted("gathering", name) for name in ("word", "byte", "ask"))


@helper
def ask(address: Any, bits: Any, first: Any, count: Any) -> None:
    """Ask for values first..first+count of packed integers."""
    for at in range(first * bits >> 3, (first + count) * bits >> 3, _LINE):
        _ask(address, at)


def unpacker(lanes: int) -> Any:
    """The function that unpacks, by groups of so many values; 0: without the instruction for that."""
    groups, permutes = emitted("gathering", "groups_of", lanes), lanes > 0

    @helper
    def unpack(address: Any, size: Any, bits: Any, first: Any, count: Any, out: Any) -> None:
        """Values first..first+count of packed integers into out; ``size`` bytes are at the address."""
        left = np.uint64(64 - bits)
        position = first * bits
        done = 0
        if permutes:
            # groups whose bytes are all there
            inside = 1 + (size - (position >> 3) - 4 * lanes) // (lanes // 8 * bits)
            whole = max(0, min(count // lanes, inside))
            groups(address, position >> 3, position & 7, bits, whole, out)
            done = whole * lanes
        last = (size - _WORD) * 8 // bits + 1 if size >= _WORD else 0  # values whose word lies inside
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
