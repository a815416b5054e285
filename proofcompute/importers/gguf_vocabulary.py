"""Reads the vocabulary in a GGUF file's metadata (``tokenizer.*``), for "gpt2" and "llama" tokenizers.

If a key is missing, the default of llama.cpp is used and noted. Keys that only name further special tokens
(fill-in-the-middle, padding, separators) do not change how a text is encoded and are not read. A key that
would change it and is not implemented is refused by name. Chat markers that a file lists as ordinary text
become control tokens, as in llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_scan import Value
from proofcompute.limits import MAX_TEMPLATE, MAX_VOCABULARY
from proofcompute.models.supported import TOKENIZERS, WORD_RULES
from proofcompute.models.vocabulary import BYTE, CONTROL, NORMAL, USER_DEFINED, Vocabulary, byte_alphabet

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
"""Names of tokens that end an answer in every model; files declare only some of them as ends."""
_MARK: Final = re.compile(r"<[|\uff5c][^|\uff5c<>\s]+[|\uff5c]>")
"""The usual form of chat markers: <|name|>, or the same with the full-width bars of some models."""
_MARKS: Final = frozenset(
    (
        "<start_of_turn>",
        "<end_of_turn>",
        "[INST]",
        "[/INST]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    )
)
"""Chat markers of published models that have another form."""
_SHOWN: Final = 8
"""The most names that a note lists."""
_HARMLESS: Final = frozenset(("scores", "merges", "pre", "token_type_count", "added_tokens"))
"""Keys that have no effect on a tokenizer that does not read them."""
_NEUTRAL: Final[Mapping[str, tuple[Value, ...]]] = {
    "remove_extra_whitespaces": (False,),
    "escape_whitespaces": (True,),
    "precompiled_charsmap": ((), ""),
}
"""Values with which these keys change nothing."""
_SPACE: Final = "\u2581"
"""SentencePiece's letter for a space."""


def read_vocabulary(metadata: Mapping[str, Value], notes: list[str] | None = None) -> Vocabulary:
    """Return the vocabulary that ``metadata`` describes; append to ``notes`` what was guessed or corrected.

    Raises FormatError or LimitError if something is missing or wrong, UnsupportedError for another kind.
    """
    notes = [] if notes is None else notes
    fields = Fields(metadata, "tokenizer.ggml.")
    model = fields.text("model")
    if model not in TOKENIZERS:
        known = ", ".join(TOKENIZERS)
        raise UnsupportedError(f"tokenizer.ggml.model {model!r} is not supported; supported are {known}")
    bpe = model == "gpt2"
    pre = _word_rule(fields, notes) if bpe else ""
    for key in ("add_eos_token", "add_sep_token", "normalizer.lowercase", *(("add_space_prefix",) * bpe)):
        if fields.flag(key, default=False):
            raise UnsupportedError(f"tokenizer.ggml.{key} is not supported with the tokenizer {model!r}")
    names = list(fields.array("tokens", str))
    if bpe and not fields.has("token_type"):
        notes.append("the file has no token types: all tokens are taken as text, except chat markers")
        kinds = [NORMAL] * len(names)
    else:
        kinds = list(fields.array("token_type", int))
    if len(names) != len(kinds):
        raise FormatError(f"tokenizer.ggml.token_type has {len(kinds)} elements for {len(names)} tokens")
    if not all(NORMAL <= kind <= BYTE for kind in kinds):
        raise FormatError("tokenizer.ggml.token_type has an element outside 1..6")
    # llama.cpp's defaults; those of "gpt2" are arbitrary numbers there and count as absent here
    bos, eos, unknown = (
        _token_id(fields, name, len(names), None if bpe else default)
        for name, default in (("bos", 1), ("eos", 2), ("unknown", 0))
    )
    merges = fields.array("merges", str) if bpe else ()
    _correct_marks(names, kinds, merges, bos, notes)
    ends = _end_ids(fields, eos, names, kinds)
    for i in ends:
        kinds[i] = CONTROL
    template = Fields(metadata, "tokenizer.").text("chat_template", "", limit=MAX_TEMPLATE)
    _note_user_defined(template, names, kinds, notes)
    read = _bpe_token if bpe else _spm_token
    tokens = tuple(read(i, name, kind) for i, (name, kind) in enumerate(zip(names, kinds, strict=True)))
    scores = () if bpe else np.array(fields.array("scores", float), np.float32).view(np.uint32).tolist()
    add_bos = fields.flag("add_bos_token", default=not bpe or pre in _BEGIN_WITH_BOS)
    _refuse_unknown(metadata, fields)
    return Vocabulary(
        kind="bpe" if bpe else "spm",
        pre=pre,
        tokens=tokens,
        types=bytes(kinds),
        merges=_merges(merges, names, kinds),
        scores=tuple(scores),
        bos=bos,
        eos=eos,
        unknown=unknown,
        end_ids=tuple(sorted(ends)),
        add_bos=add_bos,
        add_space=not bpe and fields.flag("add_space_prefix", default=True),
    )


def _word_rule(fields: Fields, notes: list[str]) -> str:
    if not fields.has("pre"):
        notes.append(
            "the file names no pre-tokenizer (it is older than that key): 'default' is used, as in "
            "llama.cpp, and may split words otherwise than in the model's training"
        )
    name = fields.text("pre", "default")
    if name not in WORD_RULES:
        known = ", ".join(sorted(WORD_RULES))
        raise UnsupportedError(f"pre-tokenizer {name!r} is not supported; supported are {known}")
    return name


def _correct_marks(
    names: list[str], kinds: list[int], merges: Sequence[str], bos: int | None, notes: list[str]
) -> None:
    """Make control tokens of the chat markers that the file lists as text.

    As text, a marker would be mere letters in the prompt; as a user-defined token, it would be recognised in
    the content of messages too.
    """
    marks = {}
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if not name.startswith(("<", "[")):
            continue
        if kind == NORMAL and merges:
            name = _letters(name)
        if kind in (NORMAL, USER_DEFINED) and (_MARK.fullmatch(name) or name in _MARKS or i == bos):
            marks[i] = name
    if marks:
        made = {left + right for left, _, right in (merge.partition(" ") for merge in merges)}
        if words := [name for i, name in marks.items() if names[i] in made]:
            notes.append("the tokenizer makes chat markers out of letters: " + _few(words))
        marks = {i: name for i, name in marks.items() if names[i] not in made}
    for i, name in marks.items():
        names[i], kinds[i] = name, CONTROL
    if marks:
        notes.append("listed as text in the file, and used as control tokens: " + _few(list(marks.values())))


def _letters(name: str) -> str:
    """Return the text that a token of byte-level BPE prints, or its name if that is not UTF-8."""
    try:
        return _bpe_token(0, name, NORMAL).decode()
    except (FormatError, UnicodeDecodeError):
        return name


def _note_user_defined(template: str, names: Sequence[str], kinds: Sequence[int], notes: list[str]) -> None:
    found = [
        name
        for name, kind in zip(names, kinds, strict=True)
        if kind == USER_DEFINED and len(name) > 2 and not name.isspace() and name in template
    ]
    if found:
        notes.append(
            "user-defined tokens of the chat template, which messages may contain too: " + _few(found)
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _refuse_unknown(metadata: Mapping[str, Value], fields: Fields) -> None:
    """Raise UnsupportedError for an unknown key, which could change the tokens of a text."""
    for key in fields.unread():
        name = key.removeprefix("tokenizer.ggml.")
        if name in _HARMLESS or name.endswith("_token_id") or metadata[key] in _NEUTRAL.get(name, ()):
            continue
        raise UnsupportedError(f"metadata key {key!r} is unknown and could change a text's tokens")


def read_chat_template(metadata: Mapping[str, Value]) -> str | None:
    """Return the default chat template, or None. Raises FormatError or LimitError."""
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
    ids: dict[str, int] = {}
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if kind == NORMAL:
            ids.setdefault(name, i)
    pairs = []
    for rank, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        a, b = ids.get(left), ids.get(right)
        if a is None or b is None:
            raise FormatError(f"merge {rank} names a token that does not exist or is not of type normal")
        pairs.append((a, b))
    return tuple(pairs)
