"""Pack integers of 1 to 32 bits into a stream of bits.

:mod:`proofcompute.arithmetic.definition.bitpack` defines the stream. 32 values of b bits are b words of 32
bits, so a unit of 32 values starts and ends at the boundary of a word.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted
from proofcompute.arithmetic.backends.numba.codegen.shapes import PERMUTES
from proofcompute.arithmetic.backends.numba.codegen.signatures import read, write
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.definition.bitpack import packed_size
from proofcompute.arrays import I32
from proofcompute.errors import InputError

__all__ = ["pack", "packed"]

_UNIT: Final = 32
"""The number of values of a unit."""
_PART: Final = 1 << 13
"""The fewest units that make a part worth a thread."""
_32: Final = np.uint64(32)
_HEAD: Final = 3
"""Bytes before that of the number of bits, so that the packed values begin with a word."""

_i64, _i32, _u32 = types.int64, types.int32, types.uint32


@kernel(types.boolean(_i64, _i64, read(_i32, 1), _i64))
def _fits(a: Any, b: Any, values: Any, bits: Any) -> Any:
    """Return whether values[a:b] are all in -2^(bits-1)..2^(bits-1)-1.

    A value v is in this range if v >> (bits - 1) leaves only its sign, 0 or -1.
    """
    part = values[a:b]
    shift = np.int32(bits - 1)
    bad = np.int32(0)
    for i in range(part.size):
        v = part[i]
        bad = np.int32(bad | (np.int32(v >> shift) ^ np.int32(v >> np.int32(31))))
    return bad == 0


_units = emitted("narrow", "pack_units")
_WIDE: Final = PERMUTES == 16
"""Whether units are packed as vectors."""


@kernel(types.void(_i64, _i64, read(_i32, 1), _i64, write(_u32, 1)))
def _pack(a: Any, b: Any, values: Any, bits: Any, words: Any) -> None:
    """Pack units a..b of values, the last of which may be short, into their words."""
    done = a
    end = min(b * bits, words.size)
    if _WIDE and bits >= 16:  # 32 words are written of each unit, of which those after it are written again
        done = max(a, (end - _UNIT) // bits + 1)
        _units(values, a * _UNIT, bits, done - a, words, a * bits)
    width = np.uint64(bits)
    mask = (np.uint64(1) << width) - np.uint64(1)
    part = values[done * _UNIT : b * _UNIT]
    to = words[done * bits : end]
    at = np.uint64(0)
    held = np.uint64(0)
    have = np.uint64(0)
    for i in range(part.size):
        held |= (np.uint64(np.int64(part[i])) & mask) << have  # at most 31 bits are held before this
        have += width
        if have >= _32:
            to[at] = np.uint32(held)
            at += np.uint64(1)
            held >>= _32
            have -= _32
    if have > np.uint64(0):
        to[at] = np.uint32(held)


def pack(values: I32, bits: int) -> bytes:
    """Return the values in two's complement of ``bits`` bits each.

    Raises InputError if a value does not fit or bits is not in 1..32.
    """
    flat = np.ascontiguousarray(values, dtype=np.int32).reshape(-1)
    packed_size(bits, flat.size)
    if not threads.split(_fits, flat.size, _PART * _UNIT, flat, bits):
        raise InputError(f"a value does not fit {bits} bits")
    return bytes(packed(flat, bits)[1:])


def packed(values: I32, bits: int) -> memoryview:
    """Return a byte with the number of bits, and then the packed values, all of which fit so many bits."""
    flat = values.reshape(-1)
    words = np.empty((packed_size(bits, flat.size) + 3) // 4 + 1, dtype=np.uint32)
    threads.split(_pack, -(-flat.size // _UNIT), _PART, flat, bits, words[1:])
    data = words.view(np.uint8)[_HEAD : _HEAD + 1 + packed_size(bits, flat.size)]
    data[0] = bits
    return data.data
