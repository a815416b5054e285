"""Matches the tensors of a folder with those that its configuration describes: exactly these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.architecture import Arch, tensor_shapes
from proofcompute.importers.huggingface.families import Family
from proofcompute.importers.huggingface.folder import Stored
from proofcompute.importers.huggingface.pieces import Piece, pieces
from proofcompute.importers.huggingface.quantisation import Quantisation
from proofcompute.importers.huggingface.reading import BLOCK, FLOATS, Part, Tensors

__all__ = ["match"]

MAX_PIECES: Final = 1 << 20
"""The most pieces of all tensors together; DeepSeek-V3 has 45,000."""
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


def match(arch: Arch, family: Family, stored: Mapping[str, Stored], quantisation: Quantisation) -> Tensors:
    """Return the tensors of ``arch``.

    Raises FormatError or UnsupportedError, naming file and tensor, unless the folder has exactly these, in
    the right shapes and in supported types; LimitError if they are in too many pieces.
    """
    named = _renamed(family, stored)
    # each block has tensors of its own, so the size of the folder bounds what is built next
    if len(arch.blocks) > len(stored):
        raise FormatError(f"config.json: {len(arch.blocks)} layers, but there are only {len(stored)} tensors")
    found: dict[str, tuple[Part, ...]] = {}
    used: set[str] = set()
    count = 0
    for name, parts in pieces(arch, family.names):
        count += len(parts)
        if count > MAX_PIECES:
            raise LimitError(f"config.json: tensors in more than {MAX_PIECES} pieces")
        found[name] = tuple(_part(name, piece, named, quantisation, used) for piece in parts)
        if len({part.stored.tensor.dtype for part in found[name]}) > 1:
            raise UnsupportedError(
                f"{found[name][0].stored} and others of {name} are stored as several types"
            )
    _refuse_others(arch, family, named, used)
    return Tensors(found, tensor_shapes(arch))


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


def _part(
    name: str, piece: Piece, named: Mapping[str, Stored], quantisation: Quantisation, used: set[str]
) -> Part:
    """Return where a piece is stored; the names of stored tensors are added to ``used``."""
    if quantisation.kind == "mxfp4" and piece.index is not None and f"{piece.name}_blocks" in named:
        return _blocks(name, piece, named, used)
    stored = _found(piece.name, named, used)
    _check_shape(stored, piece.shape, name)
    if stored.tensor.dtype in FLOATS:
        return Part(piece, stored)
    if stored.tensor.dtype != "I8":
        raise UnsupportedError(f"{stored} is stored as {stored.tensor.dtype}, which is not supported")
    if quantisation.kind != "int8":
        raise UnsupportedError(f"{stored} is stored as I8, but config.json has no quantization_config for it")
    if len(piece.shape) != 2 or piece.transposed or piece.index is not None:
        raise UnsupportedError(f"{stored} is stored as I8, which is not supported for this tensor")
    scale = _found(f"{piece.name}_scale", named, used)
    if scale.tensor.shape != (piece.shape[0],):  # else a column
        _check_shape(scale, (piece.shape[0], 1), name)
    if scale.tensor.dtype not in FLOATS:
        raise UnsupportedError(f"{scale} is stored as {scale.tensor.dtype}, which is not supported")
    return Part(piece, stored, scale)


def _blocks(name: str, piece: Piece, named: Mapping[str, Stored], used: set[str]) -> Part:
    """Return where a stacked matrix is in blocks of MXFP4, whose rows are not transposed."""
    experts, width, rows = piece.shape
    if width % BLOCK:
        raise UnsupportedError(
            f"tensor {piece.name + '_blocks'!r}: rows of {width} elements are no whole blocks"
        )
    blocks, scales = (_found(f"{piece.name}_{what}", named, used) for what in ("blocks", "scales"))
    shape = (experts, rows, width // BLOCK)
    _check_shape(blocks, (*shape, BLOCK // 2), name)
    _check_shape(scales, shape, name)
    for stored in (blocks, scales):
        if stored.tensor.dtype != "U8":
            raise UnsupportedError(f"{stored} is stored as {stored.tensor.dtype}, not U8")
    return Part(replace(piece, shape=blocks.tensor.shape, transposed=False), blocks, scales)


def _found(name: str, named: Mapping[str, Stored], used: set[str]) -> Stored:
    stored = named.get(name)
    if stored is None:
        raise FormatError(f"tensor {name!r} is missing")
    used.add(name)
    return stored


def _check_shape(stored: Stored, shape: tuple[int, ...], name: str) -> None:
    """Raise FormatError unless a stored tensor, part of the canonical ``name``, has this shape."""
    if stored.tensor.shape != shape:
        keys = next(keys for pattern, keys in _SIZES_BY if re.fullmatch(pattern, name))
        raise FormatError(
            f"{stored} has the shape {stored.tensor.shape}, but config.json asks for {shape} ({keys})"
        )


def _refuse_others(arch: Arch, family: Family, named: Mapping[str, Stored], used: set[str]) -> None:
    for name, stored in named.items():
        if name in used or any(re.fullmatch(pattern, name) for pattern in (*_IGNORED, *family.ignored)):
            continue
        if family.ignores_further_layers:
            number = re.match(r"model\.layers\.(\d{1,6})\.", name)
            if number is not None and int(number[1]) >= len(arch.blocks):
                continue
        raise UnsupportedError(f"{stored} is not part of what config.json describes")
