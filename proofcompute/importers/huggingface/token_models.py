"""Reads the model of a tokenizer.json: BPE, Unigram or WordPiece, and the tokens that are added to it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proofcompute.errors import FormatError, LimitError
from proofcompute.importers.huggingface.nodes import Node
from proofcompute.limits import MAX_VOCABULARY
from proofcompute.models.vocabulary import ALONE, FOUND, LEFT, MAX_WORD, NORMALISED, RIGHT
from proofcompute.models.writing import CONTINUES

__all__ = ["AddedToken", "TokenModel", "finding_of", "read_added", "read_model"]

BYTE_NAME: Final = re.compile("<0x[0-9A-F]{2}>")
"""How a token of one byte is written."""
_MAX_SHOWN: Final = 80


@dataclass(frozen=True)
class TokenModel:
    """A model as the file has it."""

    kind: str
    """Kind of the vocabulary."""
    ids: Mapping[str, int]
    """Written name -> id."""
    unknown: int | None
    """The unknown token."""
    byte_fallback: bool = False
    """Whether what is no token becomes bytes."""
    merges: Sequence[tuple[str, str]] = ()
    """Pairs of names, by rank."""
    scores: Mapping[int, float] = field(default_factory=dict)
    """Id -> score."""
    longest_word: int = 0
    """The most characters of a word."""
    ignore_merges: bool = False
    """Whether a word that is a token becomes it at once."""
    fuse_unknown: bool = False
    """Whether unknown characters are joined."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text by its name."""

    name: str
    """Its name."""
    token: int
    """Its id."""
    finding: int
    """How it is found."""
    special: bool
    """Whether it is a control token."""


def read_model(node: Node) -> TokenModel:
    """Return the model. Raises FormatError, LimitError or UnsupportedError, which name the field."""
    kind = node.text("type", _old_kind(node))
    if kind == "BPE":
        found = _bpe(node)
    elif kind == "Unigram":
        found = _unigram(node)
    elif kind == "WordPiece":
        found = _wordpiece(node)
    else:
        raise node.refuse(f"the model {kind[:_MAX_SHOWN]!r}")
    node.end()
    return found


def _old_kind(node: Node) -> str | None:
    """Return the kind of a model in a file that is older than the field ``type``."""
    if node.has("merges"):
        return "BPE"
    return "WordPiece" if node.has("max_input_chars_per_word") else None


def _bpe(node: Node) -> TokenModel:
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if node.text(key, ""):
            raise node.refuse(f"a {key}")
    if node.has("dropout"):
        raise node.refuse("dropout")
    node.ignore("dropout")
    ids = _ids(node)
    merges = [_merge(node, rank, merge) for rank, merge in enumerate(_limited(node, "merges"))]
    return TokenModel(
        kind="bpe",
        ids=ids,
        unknown=_unknown(node, ids),
        byte_fallback=node.flag("byte_fallback", default=False),
        merges=merges,
        ignore_merges=node.flag("ignore_merges", default=False),
        fuse_unknown=node.flag("fuse_unk", default=False),
    )


def _merge(node: Node, rank: int, merge: object) -> tuple[str, str]:
    """Return a merge, which newer files write as two texts and older ones with a space between."""
    pair = merge.split(" ") if type(merge) is str else merge
    if not isinstance(pair, list) or len(pair) != 2 or any(type(part) is not str for part in pair):
        raise FormatError(f"{node.path}.merges[{rank}] is not a pair of tokens")
    return pair[0], pair[1]


def _unigram(node: Node) -> TokenModel:
    ids: dict[str, int] = {}
    scores: dict[int, float] = {}
    for i, entry in enumerate(_limited(node, "vocab")):
        if not isinstance(entry, list) or len(entry) != 2 or type(entry[0]) is not str:
            raise FormatError(f"{node.path}.vocab[{i}] is not a token and its score")
        name, score = entry
        if type(score) not in (int, float) or not math.isfinite(score):
            raise FormatError(f"{node.path}.vocab[{i}]: the score is no finite number")
        if name in ids:
            raise FormatError(f"{node.path}.vocab[{i}]: the token {name[:_MAX_SHOWN]!r} occurs twice")
        ids[name], scores[i] = i, float(score)
    return TokenModel(
        kind="unigram",
        ids=ids,
        unknown=node.integer("unk_id", 0, max(0, len(ids) - 1)),
        byte_fallback=node.flag("byte_fallback", default=False),
        scores=scores,
    )


def _wordpiece(node: Node) -> TokenModel:
    if node.text("continuing_subword_prefix", CONTINUES) != CONTINUES:
        raise node.refuse(f"another continuing_subword_prefix than {CONTINUES}")
    ids = _ids(node)
    return TokenModel(
        kind="wordpiece",
        ids=ids,
        unknown=_unknown(node, ids),
        longest_word=node.integer("max_input_chars_per_word", 1, MAX_WORD, 100),
    )


def _ids(node: Node) -> Mapping[str, int]:
    ids = node.mapping("vocab")
    if len(ids) > MAX_VOCABULARY:
        raise LimitError(f"{node.path}.vocab has {len(ids)} tokens, the limit is {MAX_VOCABULARY}")
    for name, i in ids.items():
        if type(i) is not int or not 0 <= i < MAX_VOCABULARY:
            raise FormatError(f"{node.path}.vocab: the id of {name[:_MAX_SHOWN]!r} is none")
    if len(set(ids.values())) != len(ids):
        raise FormatError(f"{node.path}.vocab has two tokens with one id")
    return ids


def _limited(node: Node, key: str) -> list[object]:
    found = node.array(key)
    if len(found) > MAX_VOCABULARY:
        raise LimitError(f"{node.path}.{key} has {len(found)} elements, the limit is {MAX_VOCABULARY}")
    return found


def _unknown(node: Node, ids: Mapping[str, int]) -> int | None:
    name = node.text("unk_token", "")
    if not name:
        return None
    if name not in ids:
        raise FormatError(f"{node.path}.unk_token {name[:_MAX_SHOWN]!r} is no token")
    return ids[name]


def finding_of(node: Node) -> int:
    """Return how an added token is found."""
    flags = (("single_word", ALONE), ("lstrip", LEFT), ("rstrip", RIGHT), ("normalized", NORMALISED))
    return FOUND | sum(flag * node.flag(key, default=False) for key, flag in flags)


def read_added(nodes: Sequence[Node], ids: Mapping[str, int]) -> list[AddedToken]:
    """Return the added tokens.

    Raises FormatError if one has another id than the library gives it: that of the model's token with this
    name, or else the next after the model's tokens.
    """
    found: dict[str, AddedToken] = {}
    highest = -1
    for node in nodes:
        name = node.text("content")
        token = node.integer("id", 0, MAX_VOCABULARY - 1)
        expected = ids.get(name, highest + 1 if highest >= len(ids) else len(ids))
        finding = finding_of(node)
        special = node.flag("special", default=False)
        node.end()
        if not name:
            raise FormatError(f"{node.path}.content is empty")
        if name in found:
            raise FormatError(f"{node.path}.content {name[:_MAX_SHOWN]!r} was added before")
        if token != expected:
            raise FormatError(
                f"{node.path}: {name[:_MAX_SHOWN]!r} has the id {token}, but would be given {expected}"
            )
        found[name] = AddedToken(name, token, finding, special)
        highest = max(highest, token)
    return list(found.values())
