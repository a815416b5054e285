"""Hashing, Freivalds' projections and packing on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from proofcompute.backends.cuda.array import DeviceArray
from proofcompute.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.errors import InputError, LimitError
from proofcompute.field import P31, P61
from proofcompute.hashing import DIGEST
from proofcompute.kernels import I32
from proofcompute.limits import MAX_WIDTH, MIB
from proofcompute.numerics.bitpack import check_packed, packed_size

__all__ = ["fold31", "hash_groups", "hash_rows", "pack", "project31", "project61", "unpack"]

_CHUNK: Final = 1024
"""Bytes of a chunk of BLAKE3."""
_GRID_Y: Final = 65535
_TOGETHER: Final = 512 * MIB
"""Bytes of rows that are copied to be hashed in one launch."""


def hash_rows(on: Launcher, suite: str, prefix: bytes, rows: DeviceArray) -> DeviceArray:
    """Digest of prefix + row for each row of uint8 [n, w]: uint8 [n, 32]; the suite is known."""
    out = on.new(np.uint8, len(rows), DIGEST)
    _digests(on, suite, prefix, rows, out)
    return out


def _digests(on: Launcher, suite: str, prefix: bytes, rows: DeviceArray, out: DeviceArray) -> None:
    n, width = rows.shape
    head = on.constant(np.frombuffer(prefix, dtype=np.uint8))
    message = (head, i64(len(prefix)), rows, i64(n), i64(width))
    if suite == "blake3":
        chunks = max(1, -(-(len(prefix) + width) // _CHUNK))
        values = on.new(np.uint32, n, chunks, 8)
        on.over("blake3_chunks", n * chunks, *message, i64(chunks), values)
        on.over("blake3_parents", n, values, i64(n), i64(chunks), out)
    else:
        on.over(f"{suite}_rows", n, *message, out)


def hash_groups(
    on: Launcher, suite: str, prefix: bytes, tags: Sequence[bytes], groups: Sequence[Sequence[Given]]
) -> DeviceArray:
    """Digest of prefix + tag + row for each row of each group: uint8 [g, n, 32]; the suite is known.

    One thread hashes a row, so rows of all groups are hashed at once, as many as ``_TOGETHER`` bytes hold:
    they are set behind their tags first.
    """
    count, n, front = len(groups), len(groups[0][0]), len(tags[0])
    width = front + sum(math.prod(p.shape[1:]) * p.dtype.itemsize for p in groups[0])
    heads = on.constant(np.frombuffer(b"".join(tags), dtype=np.uint8))
    out = on.new(np.uint8, count, n, DIGEST)
    if not n:
        return out
    batches = -(-count // max(1, _TOGETHER // (n * max(1, width))))
    for i in range(batches):
        a, b = i * count // batches, (i + 1) * count // batches
        rows = on.new(np.uint8, b - a, n, width)
        for j in range(a, b):
            target = rows[j - a].buffer
            on.columns(heads.part(front * j, front), 0, target, width, n, front)
            at = front
            for part in map(on.array, groups[j]):
                place = target.part(at, target.size - at)
                on.columns(part.buffer, part.row_bytes, place, width, n, part.row_bytes)
                at += part.row_bytes
        _digests(on, suite, prefix, rows.reshape(-1, width), out[a:b])
    return out


def _check(
    y: Given, s: Given, widths: tuple[int, ...], residue: type[np.generic], p: int, terms: int
) -> None:
    """InputError as :mod:`proofcompute.field` raises it; LimitError beyond the kernels' sums.

    Columns on the device are ours, and were checked when they were made.
    """
    if y.ndim != 2 or y.dtype.kind != "i" or y.itemsize not in widths:
        raise InputError(f"expected a matrix of integers of {widths} bytes, not {y.dtype} {list(y.shape)}")
    if s.ndim != 2 or s.dtype != residue or s.shape[1] != terms:
        raise InputError(f"expected columns [k, {terms}], not {s.dtype} {list(s.shape)}")
    if isinstance(s, np.ndarray) and s.size and int(s.max()) >= p:
        raise InputError("a column holds a value that is not a canonical residue")
    if terms > MAX_WIDTH or len(s) > _GRID_Y:
        raise LimitError(f"a projection of {terms} elements onto {len(s)} columns")


def project31(on: Launcher, y: Given, s: Given) -> DeviceArray:
    """:func:`proofcompute.field.project31`."""
    _check(y, s, (1, 2, 4), np.uint32, P31, y.shape[-1])
    (n, m), k = y.shape, len(s)
    out = on.new(np.uint32, n, k)
    on.blocks("project31", (n, k), on.array(y), i32(y.itemsize), on.array(s), i64(m), out)
    return out


def project61(on: Launcher, y: Given, s: Given) -> DeviceArray:
    """:func:`proofcompute.field.project61`."""
    _check(y, s, (1, 2, 4, 8), np.uint64, P61, y.shape[-1])
    (n, m), k = y.shape, len(s)
    out = on.new(np.uint64, n, k)
    on.blocks("project61", (n, k), on.array(y), i32(y.itemsize), on.array(s), i64(m), out)
    return out


def fold31(on: Launcher, w: Given, s: Given) -> DeviceArray:
    """:func:`proofcompute.field.fold31` of an int8 matrix."""
    _check(w, s, (1,), np.uint32, P31, len(w))
    (m, d), k = w.shape, len(s)
    out = on.new(np.uint32, k, d)
    on.blocks("fold31", (-(-d // 256), k), on.array(w), on.array(s), i64(m), i64(d), out)
    return out


def pack(on: Launcher, values: Given, bits: int) -> bytes:
    """:func:`proofcompute.numerics.bitpack.pack`; what else is pending is looked at as well."""
    flat = on.array(values if values.dtype == np.int32 else values.astype(np.int32)).reshape(-1)
    size = packed_size(bits, flat.size)
    data, status = on.new(np.uint8, size), on.fault((1, InputError, f"a value does not fit {bits} bits"))
    on.over("pack", size, flat, i64(flat.size), i32(bits), i64(size), data, status)
    return data.tobytes()


def unpack(on: Launcher, data: bytes | memoryview, bits: int, count: int) -> I32:
    """:func:`proofcompute.numerics.bitpack.unpack`."""
    check_packed(data, bits, count)
    values, packed = on.new(np.int32, count), on.array(np.frombuffer(data, dtype=np.uint8))
    on.over("unpack", count, packed, i64(count), i32(bits), values)
    return on.fetch(values)
