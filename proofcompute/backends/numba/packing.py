"""Integers of 1 to 32 bits to a stream of bits and back (numerics.bitpack defines it).

Eight values of b bits are b bytes, so a unit of eight values starts and ends at a byte.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from proofcompute.backends.numba.cache import kernel, read, write

__all__ = ["UNIT", "fits", "pack", "unpack"]

UNIT: Final = 8
"""Values of a unit."""
_LOW: Final = np.uint64(0xFFFFFFFF)
_32, _8 = np.uint64(32), np.uint64(8)

_i64, _i32, _u8 = types.int64, types.int32, types.uint8


@kernel(types.boolean(_i64, _i64, read(_i32, 1), _i64))
def fits(a: Any, b: Any, values: Any, bits: Any) -> Any:
    """Whether values[a:b] are all in -2^(bits-1)..2^(bits-1)-1: what v >> (bits - 1) leaves is a sign."""
    part = values[a:b]
    shift = np.int32(bits - 1)
    bad = np.int32(0)
    for i in range(part.size):
        v = part[i]
        bad = np.int32(bad | (np.int32(v >> shift) ^ np.int32(v >> np.int32(31))))
    return bad == 0


@kernel(types.void(_i64, _i64, read(_i32, 1), _i64, write(_u8, 1)))
def pack(a: Any, b: Any, values: Any, bits: Any, out: Any) -> None:
    """Units a..b of values (the last may be short) into out, which holds them all."""
    width = np.uint64(bits)
    mask = (np.uint64(1) << width) - np.uint64(1)
    at = a * bits
    held = np.uint64(0)
    have = np.uint64(0)
    for i in range(a * UNIT, min(b * UNIT, values.size)):
        held |= (np.uint64(np.int64(values[i])) & mask) << have
        have += width
        if have >= _32:  # have stays below 32, and held below 2^64
            for _ in range(4):
                out[at] = np.uint8(held)
                held >>= _8
                at += 1
            have -= _32
    while have > np.uint64(0):
        out[at] = np.uint8(held)
        held >>= _8
        at += 1
        have -= min(have, _8)


@kernel(types.void(_i64, _i64, read(_u8, 1), _i64, write(_i32, 1)))
def unpack(a: Any, b: Any, data: Any, bits: Any, out: Any) -> None:
    """Units a..b of out (the last may be short) from data."""
    width = np.uint64(bits)
    left = np.int64(64 - bits)
    at = a * bits
    held = np.uint64(0)
    have = np.uint64(0)
    for i in range(a * UNIT, min(b * UNIT, out.size)):
        if have < width:
            if at + 4 <= data.size:
                word = (
                    np.uint64(data[at])
                    | np.uint64(data[at + 1]) << _8
                    | np.uint64(data[at + 2]) << np.uint64(16)
                    | np.uint64(data[at + 3]) << np.uint64(24)
                )
                held |= word << have
                have += _32
                at += 4
            else:
                while have < width:
                    held |= np.uint64(data[at]) << have
                    have += _8
                    at += 1
        out[i] = np.int32(np.int64(held << np.uint64(left)) >> left)
        held >>= width
        have -= width
