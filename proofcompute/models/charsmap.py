"""Checks SentencePiece's precompiled map of characters before the library reads it.

The map is a u32, the size of a trie in bytes; the trie, a double array of u32 units (Aoe 1989; the layout is
that of Darts-clone, as in SentencePiece's ``normalizer.cc``); and the replacements, each with a zero byte at
its end.
The library follows the trie without comparing positions with its size, so a wrong map would end the process.
Here every position that any text can reach is visited, at most once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.errors import FormatError

__all__ = ["check_charsmap"]

GROWTH: Final = 16
"""The most bytes of a replacement for each byte that it replaces; NFKC needs 11."""
_BYTES: Final = np.arange(1, 256, dtype=np.uint32)
_BLOCK: Final = 1 << 12
"""Units that are followed at once, which bounds the memory."""


def check_charsmap(data: bytes) -> None:
    """Raise FormatError unless ``data`` is a map whose trie and replacements stay inside it."""
    size = int.from_bytes(data[:4], "little")
    if len(data) < 4 or size % 4 or not 4 <= size <= len(data) - 4:
        raise FormatError(f"vocabulary: a map of characters of {len(data)} bytes has a trie of {size}")
    units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.uint32)
    texts = data[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError:
        raise FormatError("vocabulary: the replacements of a map of characters are not UTF-8") from None
    ends = _ends(texts)
    seen = np.zeros(len(units), np.bool_)
    base, depth = _offset(units[:1]), 0
    while len(base):
        depth += 1
        if int(base.max()) | 0xFF >= len(units):
            raise FormatError("vocabulary: the trie of a map of characters leads out of it")
        at = np.unique(
            np.concatenate([_below(units, base[a : a + _BLOCK]) for a in range(0, len(base), _BLOCK)])
        )
        at = at[~seen[at]]
        seen[at] = True
        here = units[at]
        base = at ^ _offset(here)
        leaves = base[(here >> np.uint32(8)) & np.uint32(1) == 1]
        if len(leaves) and int(leaves.max()) >= len(units):
            raise FormatError("vocabulary: the trie of a map of characters leads out of it")
        _check_values(units[leaves] & np.uint32(0x7FFFFFFF), texts, ends, depth)


def _below(units: npt.NDArray[np.uint32], base: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the positions of the units that one more byte leads to."""
    at = base[:, None] ^ _BYTES
    # a unit that is a value has bit 31, which belongs to the label, and so matches no byte
    found: npt.NDArray[np.uint32] = at[(units[at] & np.uint32(0x800000FF)) == _BYTES]
    return found


def _check_values(
    values: npt.NDArray[np.uint32], texts: bytes, ends: npt.NDArray[np.int64], depth: int
) -> None:
    if not len(values):
        return
    if int(values.max()) >= len(texts):
        raise FormatError("vocabulary: a map of characters names a replacement that is not there")
    first = np.frombuffer(texts, np.uint8)[values]
    if ((first & 0xC0) == 0x80).any():
        raise FormatError("vocabulary: a replacement of a map of characters begins inside a character")
    if int((ends[values] - values).max()) > GROWTH * depth:
        raise FormatError(f"vocabulary: a replacement of a map of characters grows more than {GROWTH} times")


def _ends(texts: bytes) -> npt.NDArray[np.int64]:
    """Return for each position where the replacement that begins there ends."""
    zero = np.frombuffer(texts, np.uint8) == 0
    position = np.where(zero, np.arange(len(texts)), len(texts))
    return np.minimum.accumulate(position[::-1])[::-1].astype(np.int64)


def _offset(units: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the offset in a unit: 21 bits, or these times 256 if bit 9 is set."""
    return (units >> np.uint32(10)) << ((units & np.uint32(1 << 9)) >> np.uint32(6))
