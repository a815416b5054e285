"""Hashing, Freivalds' projections and packing on the device."""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.backends.cuda.launcher import Launcher, i32, i64
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.field import P31, P61
from proofcompute.hashing import DIGEST
from proofcompute.kernels import I8, I32, U8, U32, U64, Array
from proofcompute.limits import MAX_WIDTH
from proofcompute.numerics.bitpack import packed_size

__all__ = ["fold31", "hash_rows", "pack", "project31", "project61", "unpack"]

_CHUNK: Final = 1024
"""Bytes of a chunk of BLAKE3."""
_GRID_Y: Final = 65535


def hash_rows(on: Launcher, suite: str, prefix: bytes, rows: U8) -> U8:
    """Digest of prefix + row for each row of uint8 [n, w]: uint8 [n, 32]; the suite is known."""
    n, width = rows.shape
    head, data, out = on.put(np.frombuffer(prefix, dtype=np.uint8)), on.put(rows), on.new(np.uint8, n, DIGEST)
    message = (head, i64(len(prefix)), data, i64(n), i64(width))
    if suite == "blake3":
        chunks = max(1, -(-(len(prefix) + width) // _CHUNK))
        values = on.new(np.uint32, n, chunks, 8)
        on.over("blake3_chunks", n * chunks, *message, i64(chunks), values)
        on.over("blake3_parents", n, values, i64(n), i64(chunks), out)
    else:
        on.over(f"{suite}_rows", n, *message, out)
    return on.get(out, np.uint8, n, DIGEST)  # type: ignore[no-any-return]


def _check(
    y: Array, s: Array, widths: tuple[int, ...], residue: type[np.generic], p: int, terms: int
) -> None:
    """InputError as :mod:`proofcompute.field` raises it; LimitError beyond the kernels' sums."""
    if y.ndim != 2 or y.dtype.kind != "i" or y.itemsize not in widths:
        raise InputError(f"expected a matrix of integers of {widths} bytes, not {y.dtype} {list(y.shape)}")
    if s.ndim != 2 or s.dtype != residue or s.shape[1] != terms:
        raise InputError(f"expected columns [k, {terms}], not {s.dtype} {list(s.shape)}")
    if s.size and int(s.max()) >= p:
        raise InputError("a column holds a value that is not a canonical residue")
    if terms > MAX_WIDTH or len(s) > _GRID_Y:
        raise LimitError(f"a projection of {terms} elements onto {len(s)} columns")


def project31(on: Launcher, y: Array, s: U32) -> U32:
    """:func:`proofcompute.field.project31`."""
    _check(y, s, (1, 2, 4), np.uint32, P31, y.shape[-1])
    (n, m), k = y.shape, len(s)
    out = on.new(np.uint32, n, k)
    on.blocks("project31", (n, k), on.put(y), i32(y.itemsize), on.put(s), i64(m), out)
    return on.get(out, np.uint32, n, k)  # type: ignore[no-any-return]


def project61(on: Launcher, y: Array, s: U64) -> U64:
    """:func:`proofcompute.field.project61`."""
    _check(y, s, (1, 2, 4, 8), np.uint64, P61, y.shape[-1])
    (n, m), k = y.shape, len(s)
    out = on.new(np.uint64, n, k)
    on.blocks("project61", (n, k), on.put(y), i32(y.itemsize), on.put(s), i64(m), out)
    return on.get(out, np.uint64, n, k)  # type: ignore[no-any-return]


def fold31(on: Launcher, w: I8, s: U32) -> U32:
    """:func:`proofcompute.field.fold31` of an int8 matrix."""
    _check(w, s, (1,), np.uint32, P31, len(w))
    (m, d), k = w.shape, len(s)
    out = on.new(np.uint32, k, d)
    on.blocks("fold31", (-(-d // 256), k), on.put(w), on.put(s), i64(m), i64(d), out)
    return on.get(out, np.uint32, k, d)  # type: ignore[no-any-return]


def pack(on: Launcher, values: I32, bits: int) -> bytes:
    """:func:`proofcompute.numerics.bitpack.pack`."""
    flat = np.ascontiguousarray(values, dtype=np.int32).reshape(-1)
    size = packed_size(bits, flat.size)
    data, status = on.new(np.uint8, size), on.status()
    on.over("pack", size, on.put(flat), i64(flat.size), i32(bits), i64(size), data, status)
    if on.bits(status):
        raise InputError(f"a value does not fit {bits} bits")
    return bytes(on.get(data, np.uint8, size).tobytes())


def unpack(on: Launcher, data: bytes | memoryview, bits: int, count: int) -> I32:
    """:func:`proofcompute.numerics.bitpack.unpack`."""
    size = packed_size(bits, count)
    if len(data) != size:
        raise FormatError(f"{count} values of {bits} bits take {size} bytes, not {len(data)}")
    spare = 8 * size - count * bits
    if spare and data[-1] >> (8 - spare):
        raise FormatError("the padding of packed integers is not zero")
    values = on.new(np.int32, count)
    on.over("unpack", count, on.put(np.frombuffer(data, dtype=np.uint8)), i64(count), i32(bits), values)
    return on.get(values, np.int32, count)  # type: ignore[no-any-return]
