"""Matches stored tensors with canonical ones, and reads rows of them as float32."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import F32, I8, Array
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.architecture import Arch
from proofcompute.importers.huggingface.families import Family
from proofcompute.importers.huggingface.folder import Stored
from proofcompute.importers.huggingface.pieces import Piece, pieces
from proofcompute.importers.huggingface.safetensors_header import SIZES

__all__ = ["Tensors", "match"]

FLOATS: Final = ("F32", "F16", "BF16")
"""Types of weights; all values of these are binary32 values too."""
_IGNORED: Final = (r".*\.rotary_emb\.inv_freq",)
"""Stored names that all models may have: frequencies, which follow from the configuration."""
_SIZES_BY: Final[Sequence[tuple[str, str]]] = (
    (r"(embedding|head)(\.bias)?", "vocab_size and hidden_size"),
    (r"positions", "n_positions and n_embd"),
    (r"layers\.\d+\.attention\.(q|o|q_norm|sinks)(\.bias)?", "hidden_size, num_attention_heads and head_dim"),
    (r"layers\.\d+\.attention\.(k|v|k_norm)(\.bias)?", "hidden_size, num_key_value_heads and head_dim"),
    (r"layers\.\d+\.attention\.(q_a|q_b|q_a_norm).*", "q_lora_rank and the sizes of heads"),
    (r"layers\.\d+\.attention\.kv_.*", "kv_lora_rank and the sizes of heads"),
    (r"layers\.\d+\.ffn\.(gate|up|down)(\.bias)?", "hidden_size and intermediate_size"),
    (r"layers\.\d+\.ffn\.(router|correction|experts).*", "hidden_size, the experts' number and their size"),
    (r"layers\.\d+\.ffn\.shared.*", "hidden_size and the size of shared experts"),
    (r".*", "hidden_size"),
)
"""Which keys of the configuration decide a tensor's shape, for messages."""


class Tensors:
    """The stored tensors of a decoder by canonical names."""

    def __init__(
        self, found: Mapping[str, tuple[tuple[Piece, Stored], ...]], scales: Mapping[str, Stored]
    ) -> None:
        self._found = found
        self._scales = scales

    def rows(self, name: str, a: int, b: int) -> F32:
        """Return rows a..b, as :attr:`Checkpoint.read_rows`."""
        parts = [self._float(piece, stored, *span) for piece, stored, span in self._spans(name, a, b)]
        if len(parts) == 1:
            return parts[0]
        if parts:
            return np.concatenate(parts)
        piece = self._found[name][0][0]
        return np.zeros((0, *_width(piece)), np.float32)

    def quantised(self, name: str, a: int, b: int) -> tuple[I8, F32] | None:
        """Return int8 rows a..b and their scales, as stored; None if the tensor is not stored so."""
        if self._found[name][0][1].tensor.dtype != "I8":
            return None
        rows, scales = [], []
        for piece, stored, (i, j) in self._spans(name, a, b):
            rows.append(_raw(piece, stored, i, j).view(np.int8))
            scales.append(self._scale(piece, stored, i, j))
        if not rows:
            return np.zeros((0, *_width(self._found[name][0][0])), np.int8), np.zeros(0, np.float32)
        return np.ascontiguousarray(np.concatenate(rows)), np.concatenate(scales)

    def dtype(self, name: str) -> str:
        """Return the type in which the tensor's first rows are stored."""
        return self._found[name][0][1].tensor.dtype

    def _spans(self, name: str, a: int, b: int) -> list[tuple[Piece, Stored, tuple[int, int]]]:
        """Return which rows of which pieces rows a..b are."""
        spans, start = [], 0
        for piece, stored in self._found[name]:
            i, j = max(a - start, 0), min(b - start, piece.rows)
            if i < j:
                spans.append((piece, stored, (i, j)))
            start += piece.rows
        return spans

    def _float(self, piece: Piece, stored: Stored, a: int, b: int) -> F32:
        raw = _raw(piece, stored, a, b)
        if stored.tensor.dtype == "I8":
            found: F32 = raw.view(np.int8).astype(np.float32) * self._scale(piece, stored, a, b)[:, None]
        else:
            found = _widened(raw, stored.tensor.dtype)
        return _finite(found, stored)

    def _scale(self, piece: Piece, stored: Stored, a: int, b: int) -> F32:
        scale = self._scales[piece.name]
        shape = (piece.shape[0],)  # stored as one column, or as a vector
        found = _raw(Piece(scale.tensor.name, shape, piece.rows, piece.first, piece.step), scale, a, b)
        values = _finite(_widened(found, scale.tensor.dtype), scale)
        if not (values >= 0).all():
            raise FormatError(f"{scale}: a scale is negative")
        return values


def _width(piece: Piece) -> tuple[int, ...]:
    if piece.flat:
        return ()
    shape = piece.shape if piece.index is None else piece.shape[1:]
    return (shape[0],) if piece.transposed else shape[1:]


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


def _finite(values: F32, stored: Stored) -> F32:
    if not np.isfinite(values).all():
        raise FormatError(f"{stored}: a value is NaN or infinite")
    return values


def match(
    arch: Arch, family: Family, stored: Mapping[str, Stored], quantised: Sequence[str] | None
) -> Tensors:
    """Return the tensors of ``arch``; raise unless the folder has exactly these, in the right shapes.

    Args:
        arch: what the configuration describes.
        family: its family.
        stored: name -> tensor of all shards.
        quantised: None, or regular expressions of the modules that are not stored as int8 in a checkpoint
            that otherwise is.
    """
    named = _renamed(family, stored)
    # each block has tensors of its own, so the size of the folder bounds what is built next
    if len(arch.blocks) > len(stored):
        raise FormatError(f"config.json: {len(arch.blocks)} layers, but there are only {len(stored)} tensors")
    found: dict[str, tuple[tuple[Piece, Stored], ...]] = {}
    scales: dict[str, Stored] = {}
    used: set[str] = set()
    for name, parts in pieces(arch, family.names).items():
        matched = []
        for piece in parts:
            tensor = named.get(piece.name)
            if tensor is None:
                raise FormatError(f"tensor {piece.name!r} is missing")
            _check(name, piece, tensor)
            used.add(piece.name)
            if tensor.tensor.dtype == "I8":
                scales[piece.name] = _scale(piece, tensor, named, quantised)
                used.add(f"{piece.name}_scale")
            matched.append((piece, tensor))
        found[name] = tuple(matched)
    _refuse_others(arch, family, named, used)
    return Tensors(found, scales)


def _renamed(family: Family, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return the tensors by the names that the family's table uses."""
    named: dict[str, Stored] = {}
    for name, tensor in stored.items():
        for pattern, other in family.aliases:
            name = re.sub(pattern, other, name)
        if name in named:
            raise FormatError(f"{tensor} and {named[name]} have the same meaning")
        named[name] = tensor
    return named


def _check(name: str, piece: Piece, stored: Stored) -> None:
    tensor = stored.tensor
    if tensor.shape != piece.shape:
        keys = next(keys for pattern, keys in _SIZES_BY if re.fullmatch(pattern, name))
        raise FormatError(
            f"{stored} has the shape {tensor.shape}, but config.json asks for {piece.shape} ({keys})"
        )
    if tensor.dtype not in (*FLOATS, "I8"):
        raise UnsupportedError(f"{stored} is stored as {tensor.dtype}, which is not supported")


def _scale(
    piece: Piece, stored: Stored, named: Mapping[str, Stored], quantised: Sequence[str] | None
) -> Stored:
    """Return the scales of an int8 matrix."""
    if quantised is None:
        raise UnsupportedError(f"{stored} is stored as I8, but config.json has no quantization_config")
    if len(piece.shape) != 2 or piece.transposed or piece.index is not None:
        raise UnsupportedError(f"{stored} is stored as I8, which is not supported for this tensor")
    scale = named.get(f"{piece.name}_scale")
    if scale is None:
        raise FormatError(f"tensor {piece.name + '_scale'!r} is missing")
    if scale.tensor.shape not in ((piece.shape[0], 1), (piece.shape[0],)):
        raise FormatError(f"{scale} has the shape {scale.tensor.shape}, expected {(piece.shape[0], 1)}")
    if scale.tensor.dtype not in FLOATS:
        raise UnsupportedError(f"{scale} is stored as {scale.tensor.dtype}, which is not supported")
    return scale


def _refuse_others(arch: Arch, family: Family, named: Mapping[str, Stored], used: set[str]) -> None:
    for name, stored in named.items():
        if name in used or any(re.fullmatch(pattern, name) for pattern in (*_IGNORED, *family.ignored)):
            continue
        if family.ignores_further_layers:
            number = re.match(r"model\.layers\.(\d{1,6})\.", name)
            if number is not None and int(number[1]) >= len(arch.blocks):
                continue
        raise UnsupportedError(f"{stored} is not part of what config.json describes")
