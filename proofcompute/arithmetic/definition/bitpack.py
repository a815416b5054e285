"""Pack integers of 1 to 32 bits: two's complement, least significant bit first, zero-padded to a byte.

Value i takes bits i * bits .. (i + 1) * bits - 1 of the stream; bit b of the stream is bit b % 8 of byte
b // 8.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arrays import I32
from proofcompute.errors import FormatError, InputError

__all__ = ["check_packed", "pack", "packed_size", "unpack"]

_BLOCK: Final = 1 << 16
"""Values handled at a time, with a byte for each bit; a multiple of 8, so that blocks meet at bytes."""


def packed_size(bits: int, count: int) -> int:
    """Return the bytes that ``count`` values take. Raises InputError unless 1 <= bits <= 32, count >= 0."""
    if not 1 <= bits <= 32 or count < 0:
        raise InputError(f"cannot pack {count} values of {bits} bits")
    return (count * bits + 7) // 8


def check_packed(data: bytes | memoryview, bits: int, count: int) -> None:
    """Raise FormatError unless ``data`` has the length of ``count`` values and zeros after them.

    Raises InputError as ``packed_size``.
    """
    size = packed_size(bits, count)
    if len(data) != size:
        raise FormatError(f"{count} values of {bits} bits take {size} bytes, not {len(data)}")
    spare = 8 * size - count * bits
    if spare and data[-1] >> (8 - spare):
        raise FormatError("the padding of packed integers is not zero")


def pack(values: I32, bits: int) -> bytes:
    """Return the values in two's complement, ``bits`` bits each.

    Raises InputError if a value does not fit, or as ``packed_size``.
    """
    flat = np.ascontiguousarray(values, dtype=np.int32).reshape(-1)
    packed_size(bits, flat.size)
    bound = 1 << (bits - 1)
    if flat.size and (int(flat.min()) < -bound or int(flat.max()) >= bound):
        raise InputError(f"a value does not fit {bits} bits")
    parts = []
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK].astype("<i4").view(np.uint8).reshape(-1, 4)
        every = np.unpackbits(block, axis=1, bitorder="little")
        parts.append(np.packbits(every[:, :bits].reshape(-1), bitorder="little").tobytes())
    return b"".join(parts)


def unpack(data: bytes | memoryview, bits: int, count: int) -> I32:
    """Return the values that ``pack`` packed: int32 [count].

    Raises FormatError for a wrong length or padding that is not zero, before anything is allocated.
    """
    check_packed(data, bits, count)
    out = np.zeros(count, dtype=np.int32)
    source = np.frombuffer(data, dtype=np.uint8)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        first, last = start * bits // 8, (stop * bits + 7) // 8
        stream = np.unpackbits(source[first:last], bitorder="little", count=(stop - start) * bits)
        every = np.empty((stop - start, 32), dtype=np.uint8)
        every[:, :bits] = stream.reshape(-1, bits)
        every[:, bits:] = every[:, bits - 1 : bits]  # the sign
        out[start:stop] = np.packbits(every, axis=1, bitorder="little").view("<i4").reshape(-1)
    return out
