"""Launches Freivalds' projections and the packing of hints."""

from __future__ import annotations

from typing import Final

import numpy as np

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.launcher import Given, Launcher, i32, i64
from proofcompute.arithmetic.definition.bitpack import check_packed, packed_size
from proofcompute.arrays import I32
from proofcompute.errors import InputError, LimitError
from proofcompute.freivalds.field import P31, P61, check_columns, not_canonical
from proofcompute.limits import MAX_WIDTH

__all__ = ["fold31", "pack", "project31", "project61", "unpack", "unpacked"]

_GRID_Y: Final = 65535


def _check(y: Given, s: Given, axis: int, p: int) -> None:
    """Raise InputError as :mod:`proofcompute.freivalds.field` does, LimitError beyond the kernels' sums.

    Columns on the device are ours, and were checked when they were made.
    """
    check_columns(y, s, axis, p)
    if isinstance(s, np.ndarray) and s.size and int(s.max()) >= p:
        raise not_canonical()
    k, terms = s.shape
    if terms > MAX_WIDTH or k > _GRID_Y:
        raise LimitError(f"a projection of {terms} elements onto {k} columns")


def project31(on: Launcher, y: Given, s: Given) -> DeviceArray:
    """Return :func:`proofcompute.freivalds.field.project31`."""
    _check(y, s, 1, P31)
    (n, m), k = y.shape, len(s)
    out = on.new(np.uint32, n, k)
    on.blocks("project31", (n, k), on.array(y), i32(y.itemsize), on.array(s), i64(m), out)
    return out


def project61(on: Launcher, y: Given, s: Given) -> DeviceArray:
    """Return :func:`proofcompute.freivalds.field.project61`."""
    _check(y, s, 1, P61)
    (n, m), k = y.shape, len(s)
    out = on.new(np.uint64, n, k)
    on.blocks("project61", (n, k), on.array(y), i32(y.itemsize), on.array(s), i64(m), out)
    return out


def fold31(on: Launcher, w: Given, s: Given) -> DeviceArray:
    """Return :func:`proofcompute.freivalds.field.fold31` of an int8 matrix."""
    _check(w, s, 0, P31)
    if w.itemsize != 1:
        raise InputError(f"the device folds int8, and not {w.dtype}")
    (m, d), k = w.shape, len(s)
    out = on.new(np.uint32, k, d)
    on.blocks("fold31", (-(-d // 256), k), on.array(w), on.array(s), i64(m), i64(d), out)
    return out


def pack(on: Launcher, values: Given, bits: int) -> bytes:
    """Return :func:`proofcompute.arithmetic.definition.bitpack.pack`; raises errors of pending checks too."""
    flat = on.array(values if values.dtype == np.int32 else values.astype(np.int32)).reshape(-1)
    size = packed_size(bits, flat.size)
    data, status = on.new(np.uint8, size), on.fault((1, InputError, f"a value does not fit {bits} bits"))
    on.over("pack", size, flat, i64(flat.size), i32(bits), i64(size), data, status)
    return data.tobytes()


def unpack(on: Launcher, data: bytes | memoryview, bits: int, count: int) -> I32:
    """Return :func:`proofcompute.arithmetic.definition.bitpack.unpack`."""
    return on.fetch(unpacked(on, data, bits, count))


def unpacked(on: Launcher, data: bytes | memoryview, bits: int, count: int) -> DeviceArray:
    """Return the values of :func:`unpack` on the device."""
    check_packed(data, bits, count)
    values, packed = on.new(np.int32, count), on.array(np.frombuffer(data, dtype=np.uint8))
    on.over("unpack", count, packed, i64(count), i32(bits), values)
    return values
