"""The vocabulary in a GGUF file's metadata (``tokenizer.*``), for "gpt2" and "llama" tokenizers.

What llama.cpp assumes where a key is missing is assumed here. Keys that only name further special tokens
(fill-in-the-middle, padding, separators) change nothing in a text's encoding and are not read; a key that
would change it and is not implemented is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_scan import Value
from proofcompute.limits import MAX_TEMPLATE, MAX_VOCABULARY
from proofcompute.vocabulary import BYTE, CONTROL, NORMAL, USER_DEFINED, Vocabulary, byte_alphabet

__all__ = ["read_chat_template", "read_vocabulary"]

_BEGIN_WITH_BOS: Final = frozenset(("llama3", "llama-v3", "llama-bpe"))
"""Pre-tokenizers whose models expect bos unless the file says otherwise."""
_END_NAMES: Final = frozenset(
    (
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_turn>",
    )
)
"""Names of tokens after which no model goes on with its answer; files declare only some of them as ends."""
_SPACE: Final = "\u2581"
"""How SentencePiece writes a space."""


def read_vocabulary(metadata: Mapping[str, Value]) -> Vocabulary:
    """The vocabulary that ``metadata`` describes.

    Raises FormatError or LimitError for what is missing or wrong, UnsupportedError for another kind.
    """
    fields = Fields(metadata, "tokenizer.ggml.")
    model = fields.text("model")
    if model not in ("gpt2", "llama"):
        raise UnsupportedError(f"tokenizer.ggml.model {model!r} is not supported; 'gpt2' and 'llama' are")
    bpe = model == "gpt2"
    for key in ("add_eos_token", "add_sep_token", "normalizer.lowercase", *(("add_space_prefix",) * bpe)):
        if fields.flag(key, default=False):
            raise UnsupportedError(f"tokenizer.ggml.{key} is not supported with the tokenizer {model!r}")
    names, kinds = fields.array("tokens", str), list(fields.array("token_type", int))
    if len(names) != len(kinds):
        raise FormatError(f"tokenizer.ggml.token_type has {len(kinds)} elements for {len(names)} tokens")
    if not all(NORMAL <= kind <= BYTE for kind in kinds):
        raise FormatError("tokenizer.ggml.token_type has an element outside 1..6")
    # llama.cpp's defaults; those of "gpt2" are arbitrary numbers there and count as absent here
    bos, eos, unknown = (
        _token_id(fields, name, len(names), None if bpe else default)
        for name, default in (("bos", 1), ("eos", 2), ("unknown", 0))
    )
    ends = _end_ids(fields, eos, names, kinds)
    for i in ends:
        kinds[i] = CONTROL
    pre = fields.text("pre", "default") if bpe else ""
    read = _bpe_token if bpe else _spm_token
    tokens = tuple(read(i, name, kind) for i, (name, kind) in enumerate(zip(names, kinds, strict=True)))
    scores = () if bpe else np.array(fields.array("scores", float), np.float32).view(np.uint32).tolist()
    add_bos = fields.flag("add_bos_token", default=not bpe or pre in _BEGIN_WITH_BOS)
    return Vocabulary(
        kind="bpe" if bpe else "spm",
        pre=pre,
        tokens=tokens,
        types=bytes(kinds),
        merges=_merges(fields.array("merges", str), names, kinds) if bpe else (),
        scores=tuple(scores),
        bos=bos,
        eos=eos,
        unknown=unknown,
        end_ids=tuple(sorted(ends)),
        add_bos=add_bos,
        add_space=not bpe and fields.flag("add_space_prefix", default=True),
    )


def read_chat_template(metadata: Mapping[str, Value]) -> str | None:
    """The default chat template, or None. Raises FormatError, LimitError."""
    template = Fields(metadata, "tokenizer.").text("chat_template", "", limit=MAX_TEMPLATE)
    return template or None


def _token_id(fields: Fields, name: str, n: int, default: int | None) -> int | None:
    key = f"{name}_token_id"
    if default is None and not fields.has(key):
        return None
    return fields.integer(key, 0, n - 1, default)


def _end_ids(fields: Fields, eos: int | None, names: Sequence[str], kinds: Sequence[int]) -> set[int]:
    declared = (eos, *(_token_id(fields, name, len(names), None) for name in ("eot", "eom")))
    known = {
        i
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED) and name in _END_NAMES
    }
    return known.union(i for i in declared if i is not None)


@cache
def _bytes_of_letters() -> dict[int, int]:
    return {ord(letter): byte for byte, letter in enumerate(byte_alphabet())}


def _bpe_token(i: int, name: str, kind: int) -> bytes:
    if kind != NORMAL:
        return name.encode()
    try:
        return bytes([_bytes_of_letters()[ord(letter)] for letter in name])
    except KeyError:
        raise FormatError(f"token {i} has a character outside the byte-level alphabet") from None


def _spm_token(i: int, name: str, kind: int) -> bytes:
    if kind == NORMAL:
        return name.replace(_SPACE, " ").encode()
    if kind != BYTE:
        return name.encode()
    if len(name) != 6 or not name.startswith("<0x") or not name.endswith(">"):
        raise FormatError(f"token {i} is a byte token, but not written <0xNN>")
    try:
        return bytes.fromhex(name[3:5])
    except ValueError:
        raise FormatError(f"token {i} is a byte token, but not written <0xNN>") from None


def _merges(merges: Sequence[str], names: Sequence[str], kinds: Sequence[int]) -> tuple[tuple[int, int], ...]:
    if len(merges) > MAX_VOCABULARY:
        raise LimitError(f"{len(merges)} merges, the limit is {MAX_VOCABULARY}")
    ids = {name: i for i, (name, kind) in enumerate(zip(names, kinds, strict=True)) if kind == NORMAL}
    pairs = []
    for rank, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        a, b = ids.get(left), ids.get(right)
        if a is None or b is None:
            raise FormatError(f"merge {rank} names a token that does not exist or is not of type normal")
        pairs.append((a, b))
    return tuple(pairs)
