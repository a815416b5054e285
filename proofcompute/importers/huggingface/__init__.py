"""Opens a folder in the layout of Hugging Face as a :class:`~proofcompute.importers.checkpoint.Checkpoint`.

The folder holds ``config.json`` and weights in safetensors files. Every key of the configuration is read by
the family's entry, or is on the list of keys that change nothing, or is refused by name; so is every tensor.
Nothing in the folder is executed: code, pickled weights and other formats are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from proofcompute.errors import InputError, UnsupportedError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.importers.architecture import Arch
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.hashed_file import glanced, hashed
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families import ENCODERS, FAMILIES, Family
from proofcompute.importers.huggingface.fitting import fitted
from proofcompute.importers.huggingface.folder import (
    Stored,
    digest,
    licence,
    model_name,
    read_json,
    read_shards,
)
from proofcompute.importers.huggingface.matching import match
from proofcompute.importers.huggingface.pooling import with_pooling
from proofcompute.importers.huggingface.quantisation import Quantisation, read_quantisation
from proofcompute.importers.huggingface.reading import Tensors
from proofcompute.importers.huggingface.tokenizer import read_tokenizer
from proofcompute.limits import MAX_CONTEXT
from proofcompute.models.vocabulary import Vocabulary

__all__ = ["open_huggingface", "read_config"]

_COMPARED_AT_ONCE: Final = 1024
"""Rows of a head and an embedding that are compared together."""


class Description(NamedTuple):
    """What a ``config.json`` says."""

    arch: Arch
    """The decoder."""
    family: Family
    quantisation: Quantisation
    """How weights are stored."""
    notes: tuple[str, ...]
    """Guesses and choices that were made, in sentences for the user."""
    unused: tuple[str, ...]
    """Keys that change nothing and were not read."""


def read_config(values: Mapping[str, Any], context: int | None = None) -> Description:
    """Return what a ``config.json`` says.

    Raises FormatError, LimitError or UnsupportedError, which name the key.
    """
    kind = values.get("model_type")
    families = {**FAMILIES, **ENCODERS}
    family = families.get(kind) if isinstance(kind, str) else None
    if values.get("is_encoder_decoder"):
        raise UnsupportedError(
            f"config.json: is_encoder_decoder: {str(kind)[:80]!r} is an encoder with a decoder"
        )
    if family is None:
        raise UnsupportedError(
            f"config.json: model_type is {str(kind)[:80]!r}; supported are {', '.join(sorted(families))}"
        )
    c = Config(values, family.defaults, context=context)
    c.ignore("model_type", "eos_token_id")  # is read above, and with the tokens
    quantisation = read_quantisation(c)
    unused: list[str] = []
    if family.section:
        inner = c.section(family.section, family.defaults, inner=False)
        c.ignore(*family.outer)
        if not c.flag("tie_word_embeddings"):
            raise UnsupportedError(f"{c.key('tie_word_embeddings')} is False, which is not supported")
        c.finish()
        unused += c.unused
        inner.must("model_type", f"{kind}_text")
        c = inner
    arch = family.read(c)
    c.finish()
    if "auto_map" in values:
        c.notes.append(
            "the folder brings code of its own, which is not run; the network is that which transformers "
            f"has for {kind}"
        )
    return Description(arch, family, quantisation, tuple(c.notes), (*unused, *c.unused))


def open_huggingface(
    path: StrPath,
    vocabulary: Vocabulary | None = None,
    *,
    chat_template: str | None = None,
    context: int | None = None,
) -> Checkpoint:
    """Open the checkpoint in the folder at ``path``.

    The configuration and the headers of all shards are checked first, then the shards are hashed, and their
    headers are read and checked again in that pass; weights are read when they are asked for.

    Args:
        path: the folder.
        vocabulary: the tokens; None: those of the folder's ``tokenizer.json``, and its chat template. The
            checkpoint's has as many tokens as the embedding has rows.
        chat_template: the Jinja template of chats, if ``vocabulary`` is given.
        context: the most positions that are wanted; needed only where a model rotates long texts otherwise.

    Raises:
        FormatError: a file is not well formed, or something in it is missing or does not fit.
        LimitError: it exceeds one of this library's limits.
        UnsupportedError: the family, a key, a tensor, a storage type or a format is not supported.
        InputError: ``path`` is no folder, a file is missing, or is a link out of the folder.
        StorageError: a file cannot be read.
    """
    folder = path_of(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    if context is not None and not 1 <= context <= MAX_CONTEXT:
        raise InputError(f"a context of {context} positions; it must be 1 to {MAX_CONTEXT}")
    values = read_json(folder, "config.json")
    if values is None:
        raise InputError(f"{folder} has no config.json")
    arch, family, quantisation, notes, unused = read_config(values, context)
    if arch.encoder is not None:
        arch, pooling = with_pooling(arch, folder)
        notes = (*notes, *pooling)
    pictures = arch.encoder is not None and arch.encoder.patches is not None
    if vocabulary is None and not pictures:
        tokenizer = read_tokenizer(folder)
        vocabulary, chat_template = tokenizer.vocabulary, tokenizer.chat_template
        notes = (*notes, *tokenizer.notes)
    fitting: tuple[str, ...] = ()
    if vocabulary is not None:
        vocabulary, fitting = fitted(vocabulary, arch.vocabulary)
    glimpse = read_shards(folder, glanced).tensors
    match(replace(arch, tied=_one_tensor(arch, family, glimpse)), family, glimpse, quantisation)
    contents = read_shards(folder, hashed)
    arch, tensors, more = _weights(arch, family, contents.tensors, quantisation)
    return Checkpoint(
        arch=arch,
        words=vocabulary,
        chat_template=chat_template,
        name=model_name(folder),
        licence=licence(folder),
        digest=digest(contents),
        read_rows=tensors.rows,
        read_quantised=tensors.quantised,
        notes=(*notes, *fitting, *more),
        unused=unused,
    )


def _weights(
    arch: Arch, family: Family, stored: Mapping[str, Stored], quantisation: Quantisation
) -> tuple[Arch, Tensors, tuple[str, ...]]:
    """Return the tensors, and the description as they complete it, with notes."""
    notes: tuple[str, ...] = ()
    if arch.tied:
        arch, tensors, notes = _untied(arch, family, stored, quantisation)
    else:
        tensors = match(arch, family, stored, quantisation)
    if family.rounds_embed_scale:
        arch = replace(arch, embed_scale=_as_stored(arch.embed_scale, tensors.dtype("embedding")))
    return arch, tensors, notes


def _one_tensor(arch: Arch, family: Family, stored: Mapping[str, Stored]) -> bool:
    """Return whether the head of a tied decoder is the embedding, as there is no tensor of its own."""
    return arch.tied and f"{family.names.model['head']}.weight" not in stored


def _untied(
    arch: Arch, family: Family, stored: Mapping[str, Stored], quantisation: Quantisation
) -> tuple[Arch, Tensors, tuple[str, ...]]:
    """Return a tied head, unless the folder also has one that differs.

    ``transformers`` uses head and embedding where it finds both, whatever the configuration says.
    """
    if _one_tensor(arch, family, stored):
        return arch, match(arch, family, stored, quantisation), ()
    name = f"{family.names.model['head']}.weight"
    both = match(replace(arch, tied=False), family, stored, quantisation)
    for a in range(0, arch.vocabulary, _COMPARED_AT_ONCE):
        b = min(a + _COMPARED_AT_ONCE, arch.vocabulary)
        if not np.array_equal(both.rows("head", a, b), both.rows("embedding", a, b)):
            return replace(arch, tied=False), both, (f"{name} differs from the embedding, so both are used",)
    without = {key: value for key, value in stored.items() if key != name}
    return arch, match(arch, family, without, quantisation), ()


def _as_stored(value: float, dtype: str) -> float:
    """Return a binary32 number rounded to a type of tensors, ties to even."""
    if dtype == "BF16":
        bits = int(np.float32(value).view(np.uint32))
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        return float(np.uint32(bits).view(np.float32))
    return float(np.float16(value)) if dtype == "F16" else value
