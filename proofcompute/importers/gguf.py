"""Opens a GGUF file as a :class:`Checkpoint`.

The reader refuses by name whatever it does not understand and could change the arithmetic: another
architecture, an ``<architecture>.*`` key, a tensor, a kind of rope scaling. It skips nothing silently. What
files of an architecture do not say is in :mod:`.gguf_families`, where their tensors are in
:mod:`.gguf_names`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize

from proofcompute.arrays import F32
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.errors.arguments import path_of
from proofcompute.importers.architecture import Arch, tensor_shapes
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_metadata import check_kind, unused
from proofcompute.importers.gguf_names import Heads, Place, places
from proofcompute.importers.gguf_network import read_network
from proofcompute.importers.gguf_parts import Contents, Stored, digest, read_parts
from proofcompute.importers.gguf_reader import Header
from proofcompute.importers.gguf_rope import DIVISORS
from proofcompute.importers.gguf_scan import GgufTensor, Value
from proofcompute.importers.gguf_vocabulary import read_chat_template, read_vocabulary
from proofcompute.importers.hashed_file import OpenedFile, glanced, hashed
from proofcompute.models.supported import STORAGE_TYPES
from proofcompute.models.vocabulary import Vocabulary

__all__ = ["open_gguf"]


def open_gguf(path: str | os.PathLike[str], context: int | None = None) -> Checkpoint:
    """Open the checkpoint whose only or first file is at ``path``.

    ``context`` is how many positions are wanted, where that decides how the model rotates; None for as many
    as the model supports.

    All headers are read and checked first, then the files are hashed, and their headers are read and checked
    again in that pass; weights are read when they are asked for.

    Raises:
        FormatError: the file is not well-formed GGUF, or something in it is missing or does not fit.
        LimitError: it exceeds one of this library's limits.
        UnsupportedError: its architecture, storage type, tokenizer or an option is not implemented.
        StorageError: it cannot be read.
        InputError: it is a pipe, a device or a later part, or a later part is missing.
    """
    first = path_of(path)
    glimpse = read_parts(first, glanced)
    texts = _read_texts(glimpse.metadata)
    _network(glimpse, texts, context)
    contents = read_parts(first, hashed)
    if contents.metadata != glimpse.metadata:  # it is another file now
        texts = _read_texts(contents.metadata)
    arch, found, notes = _network(contents, texts, context)
    shapes, general = tensor_shapes(arch), Fields(contents.metadata, "general.")
    return Checkpoint(
        arch=arch,
        words=texts.vocabulary,
        chat_template=texts.chat_template,
        name=general.description("name"),
        licence=general.description("license"),
        digest=digest(contents),
        read_rows=lambda name, a, b: _read_rows(contents, found[name], shapes[name], a, b),
        notes=(*texts.notes, *notes),
        unused=unused(contents.metadata, check_kind(contents.metadata)),
    )


class _Texts(NamedTuple):
    """What metadata say about tokens."""

    vocabulary: Vocabulary
    chat_template: str | None
    notes: tuple[str, ...]


def _read_texts(metadata: Mapping[str, Value]) -> _Texts:
    check_kind(metadata)
    notes: list[str] = []
    vocabulary = read_vocabulary(metadata, notes)
    return _Texts(vocabulary, read_chat_template(metadata), tuple(notes))


def _network(
    contents: Contents[OpenedFile], texts: _Texts, context: int | None
) -> tuple[Arch, Mapping[str, Place], list[str]]:
    """Return the network, canonical name -> place, and notes; raise unless the tensors are exactly these."""
    header = Header(
        check_kind(contents.metadata),
        contents.metadata,
        {name: stored.tensor for name, stored in contents.tensors.items()},
        partial(_divisors, contents),
    )
    notes: list[str] = []
    arch = read_network(header, len(texts.vocabulary.tokens), context, notes)
    return arch, _stored(contents, arch), notes


def _stored(contents: Contents[OpenedFile], arch: Arch) -> Mapping[str, Place]:
    """Return canonical name -> place; raise unless the file's tensors are exactly those of ``arch``."""
    found = places(arch, contents.tensors)
    rotates = any(block.attention.rope is not None for block in arch.blocks)
    expected = set(DIVISORS if rotates else ())
    for place in found.values():
        for run in (place.keys, place.values) if isinstance(place, Heads) else (place,):
            if run.tensor in expected:
                continue
            stored = contents.tensors.get(run.tensor)
            if stored is None:
                raise FormatError(f"tensor {run.tensor!r} is missing")
            _check(stored.tensor, run.shape)
            expected.add(run.tensor)
    if extra := [name for name in contents.tensors if name not in expected]:
        raise UnsupportedError(f"tensor {extra[0]!r} is not part of a supported decoder")
    return found


def _check(tensor: GgufTensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise FormatError(f"tensor {tensor.name!r} has the shape {tensor.shape}, expected {shape}")
    if tensor.type not in STORAGE_TYPES:
        raise UnsupportedError(f"tensor {tensor.name!r} is stored as {tensor.type}, which is not supported")


def _divisors(contents: Contents[OpenedFile], name: str, n: int) -> F32 | None:
    stored = contents.tensors.get(name)
    if stored is None:
        return None
    _check(stored.tensor, (n,))
    return _elements(stored, 0, n)


def _read_rows(contents: Contents[OpenedFile], place: Place, shape: tuple[int, ...], a: int, b: int) -> F32:
    """Return rows a..b of a tensor of the canonical shape ``shape``, in float32."""
    if isinstance(place, Heads):
        return _read_heads(contents, place, a, b)
    size = math.prod(shape[1:])
    stored = contents.tensors[place.tensor]
    return _elements(stored, place.first + a * size, place.first + b * size).reshape(b - a, *shape[1:])


def _read_heads(contents: Contents[OpenedFile], place: Heads, a: int, b: int) -> F32:
    (_, rank, nope), (_, columns, _) = place.keys.shape, place.values.shape
    each = nope + columns
    first, last = a // each, -(-b // each)
    keys = _elements(contents.tensors[place.keys.tensor], first * rank * nope, last * rank * nope)
    values = _elements(contents.tensors[place.values.tensor], first * columns * rank, last * columns * rank)
    turned = keys.reshape(-1, rank, nope).transpose(0, 2, 1)
    rows = np.concatenate([turned, values.reshape(-1, columns, rank)], axis=1).reshape(-1, rank)
    return rows[a - first * each : b - first * each]


def _elements(stored: Stored, a: int, b: int) -> F32:
    """Return elements a..b of a tensor, [b - a]; whole rows of its last axis are read."""
    file, tensor = stored
    width = tensor.shape[-1]
    row_bytes = tensor.nbytes // math.prod(tensor.shape[:-1])
    first, last = a // width, -(-b // width)
    if first >= last:
        return np.zeros(0, np.float32)
    raw = np.frombuffer(file.read(tensor.offset + first * row_bytes, (last - first) * row_bytes), np.uint8)
    with np.errstate(all="ignore"):  # the caller refuses values that are not finite
        weights = dequantize(raw.reshape(last - first, row_bytes), GGMLQuantizationType[tensor.type])
    elements: F32 = np.ascontiguousarray(weights, np.float32).reshape(-1)
    return elements[a - first * width : b - first * width]
