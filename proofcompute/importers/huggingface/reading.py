"""Reads rows of canonical tensors as float32 from where a folder stores them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arrays import F32, I8, Array
from proofcompute.errors import FormatError
from proofcompute.importers.huggingface.folder import Stored
from proofcompute.importers.huggingface.pieces import Piece
from proofcompute.importers.huggingface.safetensors_header import SIZES

__all__ = ["BLOCK", "FLOATS", "Part", "Tensors"]

FLOATS: Final = ("F32", "F16", "BF16")
"""Types of weights; all values of these are binary32 values too."""
BLOCK: Final = 32
"""Elements of a block of MXFP4, which have one scale and take four bits each."""
_MXFP4: Final = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""Values of four bits: a sign, two bits of exponent, one of mantissa (OCP Microscaling Formats 1.0)."""


@dataclass(frozen=True)
class Part:
    """A piece of a canonical tensor and the stored tensors that hold it."""

    piece: Piece
    stored: Stored
    """Floats, int8 rows, or blocks of MXFP4."""
    scale: Stored | None = None
    """The scales of int8 rows or of blocks."""


class Tensors:
    """The tensors of a decoder by canonical names."""

    def __init__(self, parts: Mapping[str, tuple[Part, ...]], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._parts = parts
        self._shapes = shapes

    def rows(self, name: str, a: int, b: int) -> F32:
        """Return rows a..b, as :attr:`Checkpoint.read_rows`."""
        inner = self._shapes[name][1:]
        rows = [_floats(part, i, j).reshape(-1, *inner) for part, i, j in self._spans(name, a, b)]
        if len(rows) == 1:
            return rows[0]
        return np.concatenate(rows) if rows else np.zeros((0, *inner), np.float32)

    def quantised(self, name: str, a: int, b: int) -> tuple[I8, F32] | None:
        """Return int8 rows a..b and their scales, as stored; None if the tensor is not stored so."""
        if self.dtype(name) != "I8":
            return None
        spans = self._spans(name, a, b)
        if not spans:
            return np.zeros((0, *self._shapes[name][1:]), np.int8), np.zeros(0, np.float32)
        rows = [_raw(part.piece, part.stored, i, j).view(np.int8) for part, i, j in spans]
        return np.concatenate(rows), np.concatenate([_row_scales(part, i, j) for part, i, j in spans])

    def dtype(self, name: str) -> str:
        """Return the type in which all of the tensor is stored."""
        return self._parts[name][0].stored.tensor.dtype

    def _spans(self, name: str, a: int, b: int) -> list[tuple[Part, int, int]]:
        """Return which rows of which parts rows a..b are."""
        spans, start = [], 0
        for part in self._parts[name]:
            i, j = max(a - start, 0), min(b - start, part.piece.rows)
            if i < j:
                spans.append((part, i, j))
            start += part.piece.rows
        return spans


def _floats(part: Part, a: int, b: int) -> F32:
    """Return rows a..b of a part."""
    raw, dtype = _raw(part.piece, part.stored, a, b), part.stored.tensor.dtype
    if dtype in FLOATS:
        found = _widened(raw, dtype)
    elif dtype == "I8":
        found = raw.view(np.int8).astype(np.float32) * _row_scales(part, a, b)[:, None]
    else:
        found = _unblocked(part, raw, a, b)
    return _finite(found, part.stored)


def _raw(piece: Piece, stored: Stored, a: int, b: int) -> Array:
    """Return rows a..b of a piece as unsigned integers of the elements' size."""
    tensor = stored.tensor
    size = SIZES[tensor.dtype]
    dtype = np.dtype(f"<u{size}")
    shape = piece.shape if piece.index is None else piece.shape[1:]
    elements = math.prod(shape)
    shape = (elements,) if piece.flat else shape
    start = tensor.offset + (0 if piece.index is None else piece.index * elements * size)
    first, last = piece.first + a * piece.step, piece.first + (b - 1) * piece.step + 1
    if piece.transposed:  # columns of all rows
        whole = np.frombuffer(stored.file.read(start, elements * size), dtype).reshape(shape)
        return np.ascontiguousarray(whole[:, first : last : piece.step].T)
    width = math.prod(shape[1:])
    data = stored.file.read(start + first * width * size, (last - first) * width * size)
    rows = np.frombuffer(data, dtype).reshape(last - first, *shape[1:])
    return np.ascontiguousarray(rows[:: piece.step])


def _widened(raw: Array, dtype: str) -> F32:
    """Return float32 values of the bits of elements, which is exact."""
    if dtype == "F32":
        return raw.view(np.float32)
    if dtype == "F16":
        return raw.view(np.float16).astype(np.float32)
    return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _row_scales(part: Part, a: int, b: int) -> F32:
    """Return the scales of int8 rows a..b."""
    piece, scale = part.piece, _scale_of(part)
    column = Piece(scale.tensor.name, (piece.shape[0],), piece.rows, piece.first, piece.step)
    values = _finite(_widened(_raw(column, scale, a, b), scale.tensor.dtype), scale)
    if (values < 0).any():
        raise FormatError(f"{scale}: a scale is negative")
    return values


def _unblocked(part: Part, raw: Array, a: int, b: int) -> F32:
    """Return float32 rows of blocks of MXFP4, which is exact: values of four bits times powers of two."""
    piece, scale = part.piece, _scale_of(part)
    exponents = Piece(
        scale.tensor.name, scale.tensor.shape, piece.rows, piece.first, piece.step, index=piece.index
    )
    powers = _raw(exponents, scale, a, b).astype(np.int32) - 127
    values = np.empty((*raw.shape[:-1], BLOCK), np.float32)
    values[..., 0::2] = _MXFP4[raw & 15]
    values[..., 1::2] = _MXFP4[raw >> 4]
    with np.errstate(over="ignore"):  # refused as infinite
        found: F32 = np.ldexp(values, powers[..., None])
    return found.reshape(b - a, -1)


def _scale_of(part: Part) -> Stored:
    if part.scale is None:
        raise TypeError(f"{part.stored} has no scale")
    return part.scale


def _finite(values: F32, stored: Stored) -> F32:
    if not np.isfinite(values).all():
        raise FormatError(f"{stored}: a value is NaN or infinite")
    return values
