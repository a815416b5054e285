"""Reads the vocabulary in a GGUF file's metadata (``tokenizer.*``): "gpt2", "llama", "t5" and "bert".

If a key is missing, the default of llama.cpp is used and noted. Keys that only name further special tokens
(fill-in-the-middle, padding) do not change how a text is encoded and are not read. A key that would change it
and is not implemented is refused by name. Chat markers that a file lists as ordinary text become control
tokens, as in llama.cpp. A text becomes the tokens that the model's published ``tokenizer.json`` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_scan import Value
from proofcompute.importers.gguf_tokens import (
    merges_of_names,
    merges_of_scores,
    printed_tokens,
    score_bits,
    token_text,
)
from proofcompute.importers.marks import correct_marks, known_ends, note_user_defined
from proofcompute.importers.template_tokens import NAMES, assigned, used
from proofcompute.limits import MAX_TEMPLATE
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.part_codec import MAX_CHARSMAP
from proofcompute.models.supported import TOKENIZERS
from proofcompute.models.text_parts import SPACE, Part
from proofcompute.models.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary
from proofcompute.models.writing import BYTES, SPACES, WORDS

__all__ = ["read_chat_template", "read_vocabulary"]

_HARMLESS: Final = frozenset(("scores", "merges", "pre", "token_type_count", "added_tokens"))
"""Keys that have no effect on a tokenizer that does not read them."""
_NEUTRAL: Final[Mapping[str, tuple[Value, ...]]] = {
    "remove_extra_whitespaces": (False,),
    "escape_whitespaces": (True,),
    "precompiled_charsmap": ((), ""),
}
"""Values with which these keys change nothing."""
_WRITING: Final = {"gpt2": BYTES, "llama": SPACES, "t5": SPACES, "bert": WORDS}
_DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = {
    "gpt2": {},
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2},
    "bert": {"bos": 101, "eos": 102, "unknown": 100},
}
"""llama.cpp's defaults; those of "gpt2" are arbitrary numbers there and count as absent here."""
_KEYS: Final = {"bos": "bos", "eos": "eos", "unknown": "unknown"}
_SPECIAL: Final = {"bert": {"bos": "cls", "eos": "seperator", "unknown": "unknown"}}
"""Keys of special tokens, spelled as they are, where they have other names."""
_TEMPLATE_KEYS: Final = {
    "pad_token": "padding",
    "unk_token": "unknown",
    "sep_token": "seperator",
    "cls_token": "cls",
    "mask_token": "mask",
}
"""Keys of the tokens that a chat template may use by name."""
_LONGEST_WORD: Final = 100
"""The most characters of a word of WordPiece that is not unknown, which the files do not say (BERT)."""


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
    word_rule = _word_rule(fields, notes) if model == "gpt2" else ""
    names = list(fields.array("tokens", str))
    kinds = _kinds(fields, model, len(names), notes)
    special = {
        name: _token_id(fields, key, len(names), _DEFAULTS[model].get(name))
        for name, key in _SPECIAL.get(model, _KEYS).items()
    }
    merges = fields.array("merges", str) if model == "gpt2" else ()
    correct_marks(
        names,
        kinds,
        lambda: {left + right for left, _, right in (merge.partition(" ") for merge in merges)},
        special["bos"],
        notes,
        letters=lambda name: token_text(_WRITING[model], name),
    )
    ends = known_ends(names, kinds) | {
        i
        for i in (special["eos"], *(_token_id(fields, name, len(names), None) for name in ("eot", "eom")))
        if i is not None
    }
    for i in ends:
        kinds[i] = CONTROL
    template = Fields(metadata, "tokenizer.").text("chat_template", "", limit=MAX_TEMPLATE)
    note_user_defined(template, names, kinds, notes)
    tokens = printed_tokens(_WRITING[model], names, kinds)
    read = {"gpt2": _gpt2, "llama": _llama, "t5": _t5, "bert": _bert}[model]
    found = read(fields, word_rule, tokens, kinds, special)
    if model == "gpt2":
        found["merges"] = merges_of_names(merges, names, kinds)
    _refuse_unknown(metadata, fields)
    return Vocabulary(
        tokens=tokens,
        types=bytes(kinds),
        bos=special["bos"],
        eos=special["eos"],
        end_ids=tuple(sorted(ends)),
        **found,
    )


# -- kinds of tokenizers -----------------------------------------------------------------------------------
Special = Mapping[str, "int | None"]


def _gpt2(
    fields: Fields, word_rule: str, tokens: Sequence[bytes], kinds: list[int], special: Special
) -> dict[str, Any]:
    _refuse_flags(
        fields, "gpt2", "add_eos_token", "add_sep_token", "normalizer.lowercase", "add_space_prefix"
    )
    prepared = NAMED_RULES[word_rule]
    return {
        "kind": "bpe",
        "splitters": prepared.splitters,
        "normalisers": prepared.normalisers,
        "ignore_merges": prepared.ignore_merges,
        "before": _around(fields, "add_bos_token", "bos", special, default=prepared.begin),
    }


def _llama(
    fields: Fields, word_rule: str, tokens: Sequence[bytes], kinds: list[int], special: Special
) -> dict[str, Any]:
    _refuse_flags(fields, "llama", "add_eos_token", "add_sep_token", "normalizer.lowercase")
    space = fields.flag("add_space_prefix", default=True)
    scores = fields.array("scores", float)
    if len(scores) != len(tokens):
        raise FormatError(f"tokenizer.ggml.scores has {len(scores)} elements for {len(tokens)} tokens")
    return {
        "kind": "bpe",
        "normalisers": (*((Part("prepend", (SPACE,)),) * space), Part("replace", (" ", SPACE))),
        "merges": merges_of_scores(tokens, kinds, scores),
        "unknown": _unknown(kinds, special),
        "before": _around(fields, "add_bos_token", "bos", special, default=True),
        "fuse_unknown": True,
        "strip_space": space,
    }


def _t5(
    fields: Fields, word_rule: str, tokens: Sequence[bytes], kinds: list[int], special: Special
) -> dict[str, Any]:
    _refuse_flags(fields, "t5", "add_sep_token", "normalizer.lowercase")
    letters = fields.array("precompiled_charsmap", int, ())
    if len(letters) > MAX_CHARSMAP:
        raise LimitError(
            f"tokenizer.ggml.precompiled_charsmap has {len(letters)} bytes, the limit is {MAX_CHARSMAP}"
        )
    if not all(-128 <= letter < 256 for letter in letters):
        raise FormatError("tokenizer.ggml.precompiled_charsmap has an element that is no byte")
    space = fields.flag("add_space_prefix", default=True)
    words = fields.flag("remove_extra_whitespaces", default=True)
    return {
        "kind": "unigram",
        "normalisers": ((Part("charsmap", (bytes(v & 255 for v in letters),)),) if letters else ()),
        "splitters": (
            *((Part("whitespace_split"),) * words),
            Part("metaspace", ("always" if space else "never", 1)),
        ),
        "scores": score_bits(fields.array("scores", float), len(tokens)),
        "unknown": _unknown(kinds, special),
        "before": _around(fields, "add_bos_token", "bos", special, default=False),
        "after": _around(fields, "add_eos_token", "eos", special, default=True),
        "strip_space": space,
    }


def _bert(
    fields: Fields, word_rule: str, tokens: Sequence[bytes], kinds: list[int], special: Special
) -> dict[str, Any]:
    lower = fields.flag("normalizer.lowercase", default=True)
    return {
        "kind": "wordpiece",
        "normalisers": (Part("bert", (1, 1, 2, int(lower))),),
        "splitters": (Part("bert"),),
        "unknown": _unknown(kinds, special),
        "before": _around(fields, "add_bos_token", "bos", special, default=True),
        "after": _around(fields, "add_eos_token", "eos", special, default=True),
        "longest_word": _LONGEST_WORD,
        "strip_space": True,
    }


def _unknown(kinds: list[int], special: Special) -> int | None:
    """Return the unknown token, which becomes one also if the file calls it text."""
    token = special["unknown"]
    if token is not None and kinds[token] != CONTROL:
        kinds[token] = UNKNOWN
    return token


def _around(fields: Fields, key: str, name: str, special: Special, *, default: bool) -> tuple[int, ...]:
    if not fields.flag(key, default=default):
        return ()
    token = special[name]
    if token is None:
        raise FormatError(f"tokenizer.ggml.{key} without a {name} token")
    return (token,)


# -- fields ------------------------------------------------------------------------------------------------
def _refuse_flags(fields: Fields, model: str, *keys: str) -> None:
    for key in keys:
        if fields.flag(key, default=False):
            raise UnsupportedError(f"tokenizer.ggml.{key} is not supported with the tokenizer {model!r}")


def _word_rule(fields: Fields, notes: list[str]) -> str:
    if not fields.has("pre"):
        notes.append(
            "the file names no pre-tokenizer (it is older than that key): 'default' is used, as in "
            "llama.cpp, and may split words otherwise than in the model's training"
        )
    name = fields.text("pre", "default")
    if name not in NAMED_RULES:
        known = ", ".join(sorted(NAMED_RULES))
        raise UnsupportedError(f"pre-tokenizer {name!r} is not supported; supported are {known}")
    return name


def _kinds(fields: Fields, model: str, n: int, notes: list[str]) -> list[int]:
    if model == "gpt2" and not fields.has("token_type"):
        notes.append("the file has no token types: all tokens are taken as text, except chat markers")
        return [NORMAL] * n
    kinds = list(fields.array("token_type", int))
    if n != len(kinds):
        raise FormatError(f"tokenizer.ggml.token_type has {len(kinds)} elements for {n} tokens")
    if not all(NORMAL <= kind <= BYTE for kind in kinds):
        raise FormatError("tokenizer.ggml.token_type has an element outside 1..6")
    return kinds


def _refuse_unknown(metadata: Mapping[str, Value], fields: Fields) -> None:
    """Raise UnsupportedError for an unknown key, which could change the tokens of a text."""
    for key in fields.unread():
        name = key.removeprefix("tokenizer.ggml.")
        if name in _HARMLESS or name.endswith("_token_id") or metadata[key] in _NEUTRAL.get(name, ()):
            continue
        raise UnsupportedError(f"metadata key {key!r} is unknown and could change a text's tokens")


def read_chat_template(metadata: Mapping[str, Value]) -> str | None:
    """Return the default chat template, or None.

    Raises FormatError or LimitError, and UnsupportedError for a template that uses a special token which the
    file does not name.
    """
    template = Fields(metadata, "tokenizer.").text("chat_template", "", limit=MAX_TEMPLATE)
    if not (variables := used(template, NAMES)):
        return template or None
    fields = Fields(metadata, "tokenizer.ggml.")
    names, defaults = fields.array("tokens", str), _DEFAULTS.get(fields.text("model"), {})
    values = {}
    for name in variables:
        key = _TEMPLATE_KEYS[name]
        i = _token_id(fields, key, len(names), defaults.get(key))
        if i is None:
            raise UnsupportedError(
                f"the chat template uses {name}, but the file has no tokenizer.ggml.{key}_token_id"
            )
        values[name] = names[i]
    return assigned(template, values)


def _token_id(fields: Fields, name: str, n: int, default: int | None) -> int | None:
    key = f"{name}_token_id"
    if not fields.has(key) and (default is None or default >= n):
        return None
    return fields.integer(key, 0, n - 1, default)
