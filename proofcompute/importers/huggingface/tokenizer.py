"""Reads the tokenizer of a folder in the layout of Hugging Face: ``tokenizer.json`` and what lies beside it.

A text becomes the tokens that the ``tokenizers`` library gives with that file. Every field of it is read,
changes nothing, or is refused by name. ``tokenizer_config.json`` and ``special_tokens_map.json`` name special
tokens, ``generation_config.json`` those that end an answer; other fields of these
files do not change how a text is encoded, apart from ``split_special_tokens``, which is refused, and from
added tokens, which must be those of the first file. The flags
``add_bos_token`` and ``add_eos_token`` do not count beside a ``tokenizer.json``, as in transformers 5.

Chat markers that the file lists as ordinary text become control tokens, as in GGUF files; merges that would
make a control token out of letters are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofcompute.errors import FormatError, InputError, UnsupportedError
from proofcompute.importers.huggingface.chat_template import read_chat_template
from proofcompute.importers.huggingface.finishing import read_decoder, read_template
from proofcompute.importers.huggingface.folder import end_tokens, read_json
from proofcompute.importers.huggingface.nodes import Node
from proofcompute.importers.huggingface.preparing import read_normalisers, read_splitters
from proofcompute.importers.huggingface.token_models import BYTE_NAME, TokenModel, read_added, read_model
from proofcompute.importers.huggingface.token_types import CONFIG, FILE, Tokens
from proofcompute.importers.marks import known_ends, note_user_defined
from proofcompute.importers.template_tokens import assigned, used
from proofcompute.limits import MAX_TOKENIZER
from proofcompute.models.text_parts import Part
from proofcompute.models.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    Vocabulary,
)
from proofcompute.models.writing import BYTES, SPACES, WORDS

__all__ = ["TokenizerFiles", "read_tokenizer", "read_vocabulary"]

_NAMED = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
"""The special tokens that have a key of their own."""


@dataclass(frozen=True)
class TokenizerFiles:
    """What a folder says about tokens."""

    vocabulary: Vocabulary
    """The vocabulary."""
    chat_template: str | None
    """The chat template; None if there is none."""
    notes: tuple[str, ...] = ()
    """What was guessed or corrected."""


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """Return vocabulary and chat template of a folder.

    Raises:
        FormatError: a file is not well-formed, or something in it is missing or does not fit.
        LimitError: it exceeds one of this library's limits.
        UnsupportedError: something in it could change a text's tokens and is not implemented.
        StorageError: it cannot be read.
        InputError: there is no ``tokenizer.json``, or a file is not within the folder.
    """
    tokenizer = read_json(folder, FILE, MAX_TOKENIZER)
    if tokenizer is None:
        raise InputError(f"{folder} has no {FILE}, which says how texts become tokens")
    config = read_json(folder, CONFIG, MAX_TOKENIZER // 4) or {}
    notes: list[str] = []
    special = read_json(folder, "special_tokens_map.json") or {}
    template = read_chat_template(folder, config, notes)
    vocabulary = read_vocabulary(
        tokenizer,
        config=config,
        special=special,
        ends=end_tokens(folder),
        template=template or "",
        notes=notes,
    )
    if template is not None:
        template = assigned(template, _variables(template, config, special))
    return TokenizerFiles(vocabulary, template, tuple(notes))


def read_vocabulary(
    tokenizer: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    special: Mapping[str, Any] | None = None,
    ends: Collection[int] = (),
    template: str = "",
    notes: list[str] | None = None,
) -> Vocabulary:
    """Return the vocabulary that a ``tokenizer.json`` describes.

    Args:
        tokenizer: the file's object.
        config: the object of ``tokenizer_config.json``.
        special: the object of ``special_tokens_map.json``, which counts where ``config`` is silent.
        ends: tokens that end an answer, besides the one that ends a text.
        template: the chat template.
        notes: what was guessed or corrected is appended.

    Raises as :func:`read_tokenizer`.
    """
    notes = [] if notes is None else notes
    config, special = config or {}, special or {}
    root = Node(tokenizer, FILE)
    root.ignore("version")
    if root.has("truncation") or root.has("padding"):
        notes.append(f"{FILE}: truncation and padding are not applied, as requests have texts of any length")
    root.ignore("truncation", "padding")
    node = root.child("model")
    if node is None:
        raise FormatError(f"{FILE}.model is missing")
    model = read_model(node)
    added = read_added(root.children("added_tokens") if root.has("added_tokens") else [], model.ids)
    root.ignore("added_tokens")
    normalisers = read_normalisers(root.child("normalizer"))
    splitters = read_splitters(root.child("pre_tokenizer"))
    decoding = read_decoder(root.child("decoder"), f"{FILE}.decoder")
    around = read_template(root.child("post_processor"))
    root.end()
    if config.get("split_special_tokens"):
        raise UnsupportedError(f"{CONFIG}: split_special_tokens is not supported")
    writing = _writing(model, splitters)
    if decoding.writing != writing:
        raise UnsupportedError(
            f"{FILE}.decoder takes tokens to be written as {decoding.writing}, its model and pre_tokenizer "
            f"as {writing}"
        )
    tokens = Tokens(model, added, writing, notes)
    if decoding.byte_fallback != (BYTE in tokens.kinds) and (
        model.byte_fallback or any(BYTE_NAME.fullmatch(name) for name in model.ids)
    ):
        raise UnsupportedError(f"{FILE}: byte_fallback of the model and ByteFallback of the decoder disagree")
    tokens.compare(config)
    bos, eos, *_ = (tokens.named(config, special, f"{name}_token") for name in _NAMED)
    tokens.more(config, special)
    for key, name in _variables(template, config, special).items():
        tokens.named({key: name}, {}, key)
    tokens.correct(bos)
    for i in ends:
        if i >= len(tokens.names):
            raise FormatError(f"eos_token_id of the configuration is {i}, which is no token")
        if tokens.kinds[i] == NORMAL and len(tokens.printed()[i]) == 1:
            raise UnsupportedError(f"eos_token_id of the configuration is {i}, a byte that texts need")
    every_end = {*ends, *known_ends(tokens.names, tokens.kinds), *([] if eos is None else [eos])}
    for i in every_end:
        tokens.kinds[i] = CONTROL
    note_user_defined(template, tokens.names, tokens.kinds, notes)
    before, after = (tokens.around(pairs) for pairs in around)
    _note_flag(config, "add_bos_token", bos, before, notes)
    _note_flag(config, "add_eos_token", eos, after, notes)
    return Vocabulary(
        kind=model.kind,
        tokens=tokens.printed(),
        types=bytes(tokens.kinds),
        splitters=splitters,
        normalisers=normalisers,
        merges=tokens.merges(),
        scores=tokens.scores(),
        finding=bytes(tokens.finding),
        bos=bos,
        eos=eos,
        unknown=model.unknown,
        end_ids=tuple(sorted(every_end)),
        before=tuple(before),
        after=tuple(after),
        longest_word=model.longest_word,
        ignore_merges=model.ignore_merges,
        fuse_unknown=model.fuse_unknown,
        strip_space=decoding.strip,
    )


def _variables(template: str, config: Mapping[str, Any], special: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that a template uses by name, apart from bos and eos.

    As in transformers, every key that ends with ``_token`` names one, and so does a key of an object
    ``extra_special_tokens``. Raises UnsupportedError for a template that uses what has no such name.
    """
    found: dict[str, str] = {}
    for fields in (config, special):
        more = fields.get("extra_special_tokens")
        for key, value in {**(more if isinstance(more, dict) else {}), **fields}.items():
            name = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and key.isidentifier() and isinstance(name, str):
                found.setdefault(key, name)
    return {key: found[key] for key in used(template, found) if key not in ("bos_token", "eos_token")}


def _writing(model: TokenModel, splitters: Sequence[Part]) -> str:
    if any(part.name == "bytes" for part in splitters):
        return BYTES
    return WORDS if model.kind == "wordpiece" else SPACES


def _note_flag(
    config: Mapping[str, Any], key: str, token: int | None, around: Sequence[int], notes: list[str]
) -> None:
    """Note a flag of the configuration that contradicts the post-processor, which is what counts."""
    wanted = config.get(key)
    if wanted is None or token is None:
        return
    if type(wanted) is not bool:
        raise FormatError(f"{CONFIG}: {key} is not true or false")
    if wanted != (token in around):
        notes.append(
            f"{CONFIG}: {key} is {str(wanted).lower()}, but what counts is the post_processor of {FILE}"
        )
