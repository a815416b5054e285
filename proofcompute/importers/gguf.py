"""Opens a GGUF file as a :class:`Checkpoint`, for the architectures "llama" and "qwen2".

The names of metadata keys and tensors are those of the GGUF specification and of llama.cpp. The reader
refuses by name whatever it does not understand and could change the arithmetic: another architecture, an
``<architecture>.*`` key, a tensor, a kind of rope scaling. It skips nothing silently.

In these files matrices are stored ``[out, in]`` (ggml writes the axes in reverse). The "llama" converter
permutes the rows of q and k so that rotary pairs are neighbours; "qwen2" keeps the halves apart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from proofcompute.arithmetic.definition import rope_frequencies
from proofcompute.arrays import F32
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.errors.arguments import path_of
from proofcompute.importers.architecture import Arch, Attention, Block, Mlp, Norm, Rope, tensor_shapes
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_metadata import check_kind, refuse_others, unused
from proofcompute.importers.gguf_parts import Contents, Stored, read_parts
from proofcompute.importers.gguf_scan import GgufTensor, Value
from proofcompute.importers.gguf_vocabulary import read_chat_template, read_vocabulary
from proofcompute.limits import MAX_CONTEXT, MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH
from proofcompute.models.supported import STORAGE_TYPES
from proofcompute.models.vocabulary import Vocabulary

__all__ = ["open_gguf", "stored_name"]

_FACTORS: Final = "rope_freqs.weight"
_LAYER_NAMES: Final = {
    "attention.norm": "attn_norm.weight",
    "attention.q": "attn_q.weight",
    "attention.k": "attn_k.weight",
    "attention.v": "attn_v.weight",
    "attention.q.bias": "attn_q.bias",
    "attention.k.bias": "attn_k.bias",
    "attention.v.bias": "attn_v.bias",
    "attention.o": "attn_output.weight",
    "ffn.norm": "ffn_norm.weight",
    "ffn.gate": "ffn_gate.weight",
    "ffn.up": "ffn_up.weight",
    "ffn.down": "ffn_down.weight",
}
_OTHER_NAMES: Final = {
    "embedding": "token_embd.weight",
    "norm": "output_norm.weight",
    "head": "output.weight",
}


def open_gguf(path: str | os.PathLike[str]) -> Checkpoint:
    """Open the checkpoint whose only or first file is at ``path``.

    The header is read and checked at once (the architecture first, then the tokenizer), weights when they are
    asked for.

    Raises:
        FormatError: the file is not well-formed GGUF, or something in it is missing or does not fit.
        LimitError: it exceeds one of this library's limits.
        UnsupportedError: its architecture, storage type, tokenizer or an option is not implemented.
        StorageError: it cannot be read.
        InputError: it is a pipe, a device or a later part, or a later part is missing.
    """
    notes: list[str] = []
    found: list[Vocabulary] = []

    def check(metadata: Mapping[str, Value]) -> None:
        check_kind(metadata)
        found.append(read_vocabulary(metadata, notes))

    contents = read_parts(path_of(path), check)
    (vocabulary,), metadata = found, contents.metadata
    arch = _read_arch(contents, len(vocabulary.tokens))
    tensors = _match_tensors(contents, arch)
    general = Fields(metadata, "general.")
    return Checkpoint(
        arch=arch,
        vocabulary=vocabulary,
        chat_template=read_chat_template(metadata),
        name=general.description("name"),
        licence=general.description("license"),
        digest=contents.digest,
        read_rows=lambda name, a, b: _read_rows(tensors[name], a, b),
        notes=tuple(notes),
        unused=unused(metadata, check_kind(metadata)),
    )


def _read_arch(contents: Contents, tokens: int) -> Arch:
    architecture = check_kind(contents.metadata)
    fields = Fields(contents.metadata, f"{architecture}.")
    width = fields.integer("embedding_length", 1, MAX_WIDTH)
    heads = fields.integer("attention.head_count", 1, MAX_WIDTH)
    kv_heads = fields.integer("attention.head_count_kv", 1, MAX_WIDTH, heads)
    if heads % kv_heads:
        raise FormatError(f"{heads} heads cannot share {kv_heads} key/value heads evenly")
    if not fields.has("attention.key_length") and width % heads:
        raise FormatError(f"a width of {width} cannot be cut into {heads} heads")
    head_dim = fields.integer("attention.key_length", 1, MAX_WIDTH, width // heads)
    if fields.integer("attention.value_length", 1, MAX_WIDTH, head_dim) != head_dim:
        raise UnsupportedError("keys and values of different lengths are not supported")
    if fields.integer("vocab_size", 1, MAX_VOCABULARY, tokens) != tokens:
        raise FormatError(f"{architecture}.vocab_size disagrees with the {tokens} tokens of the tokenizer")
    norm = Norm("rms", fields.positive("attention.layer_norm_rms_epsilon"))
    attention = Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        v_dim=head_dim,
        scale=float(np.float32(1) / np.sqrt(np.float32(head_dim))),
        rope=_read_rope(contents, fields, architecture, head_dim),
        bias="blk.0.attn_q.bias" in contents.tensors,
    )
    ffn = Mlp(fields.integer("feed_forward_length", 1, MAX_WIDTH), "silu")
    arch = Arch(
        family=architecture,
        width=width,
        vocabulary=tokens,
        context=fields.integer("context_length", 1, MAX_CONTEXT),
        blocks=(Block(attention, ffn, norm),) * fields.integer("block_count", 1, MAX_SEGMENTS),
        norm=norm,
        tied="output.weight" not in contents.tensors,
    )
    refuse_others(contents.metadata, f"{architecture}.", fields.unread(), "the arithmetic")
    return arch


def _read_rope(contents: Contents, fields: Fields, architecture: str, head_dim: int) -> Rope:
    dimensions = fields.integer("rope.dimension_count", 2, head_dim, head_dim)
    if dimensions % 2:
        raise FormatError(f"{architecture}.rope.dimension_count is {dimensions}, which is odd")
    scaling = fields.text("rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise UnsupportedError(f"rope scaling of type {scaling!r} is not supported")
    # these keys describe the training; linear scaling does not use them
    fields.integer("rope.scaling.original_context_length", 0, MAX_CONTEXT, 0)
    fields.flag("rope.scaling.finetuned", default=False)
    factor = fields.positive("rope.scaling.factor", 1.0)
    factors: tuple[float, ...] | None = None
    if scaling == "linear" and factor != 1.0:
        factors = (factor,) * (dimensions // 2)
    elif factor != 1.0:
        raise FormatError(f"{architecture}.rope.scaling.factor is {factor}, but there is no scaling")
    if _FACTORS in contents.tensors:
        if factors is not None:
            raise UnsupportedError(f"linear rope scaling together with {_FACTORS} is not supported")
        stored = contents.tensors[_FACTORS]
        _check(stored.tensor, (dimensions // 2,))
        found = _read_rows(stored, 0, dimensions // 2)
        if not (np.isfinite(found) & (found > 0)).all():
            raise FormatError(f"{_FACTORS}: a factor is not positive and finite")
        factors = tuple(found.tolist())
    freqs = rope_frequencies(fields.positive("rope.freq_base", 10_000.0), dimensions, factors)
    return Rope(tuple(freqs.view(np.uint32).tolist()), interleaved=architecture == "llama")


def _match_tensors(contents: Contents, arch: Arch) -> Mapping[str, Stored]:
    """Return canonical name -> tensor; raise unless there are exactly those of ``arch``."""
    # each layer has tensors of its own, so the size of the file bounds what is built next
    layers = len(arch.blocks)
    if layers > len(contents.tensors):
        raise FormatError(f"{layers} layers, but only {len(contents.tensors)} tensors")
    found: dict[str, Stored] = {}
    for name, shape in tensor_shapes(arch).items():
        stored = contents.tensors.get(stored_name(name))
        if stored is None:
            raise FormatError(f"tensor {stored_name(name)!r} is missing")
        _check(stored.tensor, shape)
        found[name] = stored
    expected = {s.tensor.name for s in found.values()} | {_FACTORS}
    if extra := [name for name in contents.tensors if name not in expected]:
        raise UnsupportedError(f"tensor {extra[0]!r} is not part of a supported decoder")
    return found


def stored_name(name: str) -> str:
    """Return the name that a GGUF file gives to the tensor with the canonical name ``name``."""
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    _, layer, rest = name.split(".", 2)
    return f"blk.{layer}.{_LAYER_NAMES[rest]}"


def _check(tensor: GgufTensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise FormatError(f"tensor {tensor.name!r} has the shape {tensor.shape}, expected {shape}")
    if tensor.type not in STORAGE_TYPES:
        raise UnsupportedError(f"tensor {tensor.name!r} is stored as {tensor.type}, which is not supported")


def _read_rows(stored: Stored, a: int, b: int) -> F32:
    """Return rows a..b in float32. A vector has a row per element, but one storage block may span several."""
    file, tensor = stored
    vector = len(tensor.shape) == 1
    row_bytes = tensor.nbytes if vector else tensor.nbytes // tensor.shape[0]
    first, count = (0, 1) if vector else (a, b - a)
    if count == 0:
        return np.zeros((0, *tensor.shape[1:]), np.float32)
    raw = np.frombuffer(file.read(tensor.offset + first * row_bytes, count * row_bytes), np.uint8)
    with np.errstate(all="ignore"):  # the caller refuses values that are not finite
        weights = dequantize(raw.reshape(count, row_bytes), GGMLQuantizationType[tensor.type])
    rows: F32 = np.ascontiguousarray(weights, np.float32)
    return rows.reshape(-1)[a:b] if vector else rows.reshape(count, *tensor.shape[1:])
