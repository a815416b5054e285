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
_HEADS: Final = ("hidden_size", "num_attention_heads", "head_dim")
_SIZES_BY: Final[Sequence[tuple[str, tuple[str, ...]]]] = (
    (r"(embedding|head)(\.bias)?", ("vocab_size", "hidden_size")),
    (r"positions", ("max_position_embeddings", "hidden_size")),
    (r"layers\.\d+\.attention\.(q|o|q_norm|sinks)(\.bias)?", _HEADS),
    (r"layers\.\d+\.attention\.(k|v|k_norm)(\.bias)?", ("hidden_size", "num_key_value_heads", "head_dim")),
    (r"layers\.\d+\.attention\.q_.*", ("q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim")),
    (r"layers\.\d+\.attention\.kv_a.*", ("kv_lora_rank", "qk_rope_head_dim")),
    (r"layers\.\d+\.attention\.kv_b", ("kv_lora_rank", "qk_nope_head_dim", "v_head_dim")),
    (r"layers\.\d+\.ffn\.(gate|up|down)(\.bias)?", ("hidden_size", "intermediate_size")),
    (r"layers\.\d+\.ffn\.(router|correction|experts).*", ("hidden_size", "the experts' number and size")),
    (r"layers\.\d+\.ffn\.shared.*", ("hidden_size", "the size of shared experts")),
    (r".*", ("hidden_size",)),
)
"""Which keys of the configuration decide a tensor's shape, for messages."""


def match(arch: Arch, family: Family, stored: Mapping[str, Stored], quantisation: Quantisation) -> Tensors:
    """Return the tensors of ``arch``.

    Raises FormatError or UnsupportedError, naming file and tensor, unless the folder has exactly these, in
    the right shapes and in supported types; LimitError if they are in too many pieces.
    """
    # each block has tensors of its own, so the size of the folder bounds what is built next
    if len(arch.blocks) > len(stored):
        raise FormatError(f"config.json: {len(arch.blocks)} layers, but there are only {len(stored)} tensors")
    matching = _Matching(family, _renamed(family, stored), quantisation)
    found: dict[str, tuple[Part, ...]] = {}
    count = 0
    for name, parts in pieces(arch, family.names):
        count += len(parts)
        if count > MAX_PIECES:
            raise LimitError(f"config.json: tensors in more than {MAX_PIECES} pieces")
        found[name] = tuple(matching.part(name, piece) for piece in parts)
        if len({part.stored.tensor.dtype for part in found[name]}) > 1:
            raise UnsupportedError(
                f"{found[name][0].stored} and others of {name} are stored as several types"
            )
    matching.refuse_others(len(arch.blocks))
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


class _Matching:
    """The stored tensors of a folder, and which of them were found."""

    def __init__(self, family: Family, named: Mapping[str, Stored], quantisation: Quantisation) -> None:
        self._family = family
        self._named = named
        self._quantisation = quantisation.kind
        self._used: set[str] = set()

    def part(self, name: str, piece: Piece) -> Part:
        """Return where a piece of the canonical tensor ``name`` is stored."""
        if (
            self._quantisation == "mxfp4"
            and piece.index is not None
            and f"{piece.name}_blocks" in self._named
        ):
            return self._blocks(name, piece)
        stored = self._found(piece.name)
        self._check_shape(stored, piece.shape, name)
        if stored.tensor.dtype in FLOATS:
            return Part(piece, stored)
        if stored.tensor.dtype != "I8":
            raise UnsupportedError(f"{stored} is stored as {stored.tensor.dtype}, which is not supported")
        if self._quantisation != "int8":
            raise UnsupportedError(
                f"{stored} is stored as I8, but config.json has no quantization_config for it"
            )
        if len(piece.shape) != 2 or piece.transposed or piece.index is not None:
            raise UnsupportedError(f"{stored} is stored as I8, which is not supported for this tensor")
        scale = self._found(f"{piece.name}_scale")
        if scale.tensor.shape != (piece.shape[0],):  # else a column
            self._check_shape(scale, (piece.shape[0], 1), name)
        if scale.tensor.dtype not in FLOATS:
            raise UnsupportedError(f"{scale} is stored as {scale.tensor.dtype}, which is not supported")
        return Part(piece, stored, scale)

    def refuse_others(self, layers: int) -> None:
        """Raise UnsupportedError for a tensor that was not found and is not one of those that are ignored."""
        family = self._family
        for name, stored in self._named.items():
            if name in self._used or any(re.fullmatch(p, name) for p in (*_IGNORED, *family.ignored)):
                continue
            number = re.match(r"model\.layers\.(\d{1,6})\.", name) if family.ignores_further_layers else None
            if number is not None and int(number[1]) >= layers:
                continue
            raise UnsupportedError(f"{stored} is not part of what config.json describes")

    def _blocks(self, name: str, piece: Piece) -> Part:
        """Return where a stacked matrix is in blocks of MXFP4, whose rows are not transposed."""
        experts, width, rows = piece.shape
        if width % BLOCK:
            raise UnsupportedError(f"tensor {piece.name + '_blocks'!r}: rows of {width} are no whole blocks")
        blocks, scales = self._found(f"{piece.name}_blocks"), self._found(f"{piece.name}_scales")
        shape = (experts, rows, width // BLOCK)
        self._check_shape(blocks, (*shape, BLOCK // 2), name)
        self._check_shape(scales, shape, name)
        for stored in (blocks, scales):
            if stored.tensor.dtype != "U8":
                raise UnsupportedError(f"{stored} is stored as {stored.tensor.dtype}, not U8")
        return Part(replace(piece, shape=blocks.tensor.shape, transposed=False), blocks, scales)

    def _found(self, name: str) -> Stored:
        stored = self._named.get(name)
        if stored is None:
            raise FormatError(f"tensor {name!r} is missing")
        self._used.add(name)
        return stored

    def _check_shape(self, stored: Stored, shape: tuple[int, ...], name: str) -> None:
        """Raise FormatError unless a stored tensor, part of the canonical ``name``, has this shape."""
        if stored.tensor.shape != shape:
            usual = next(keys for pattern, keys in _SIZES_BY if re.fullmatch(pattern, name))
            keys = dict.fromkeys(self._family.spellings.get(key, key) for key in usual)
            raise FormatError(
                f"{stored} has the shape {stored.tensor.shape}, but config.json asks for {shape} "
                f"({', '.join(key for key in keys if key)})"
            )
