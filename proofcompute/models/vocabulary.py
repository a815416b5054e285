"""Defines vocabularies, which are part of the model id, and their canonical encoding.

This module defines what tokens *are*; :mod:`proofcompute.tokens` turns text into tokens. A verifier needs
this module alone: end tokens and the bytes of tokens decide when an answer stops (docs/spec/vocabulary.md).

The encoding is the deterministic CBOR array ``[2, kind, joined, lengths, types, finding, merges, scores,
normalisers, splitters, bos, eos, unknown, ends, before, after, longest_word, ignore_merges, fuse_unknown,
strip_space]``. ``joined`` holds the tokens' bytes, concatenated; ``lengths`` one u16 per token; ``types`` and
``finding`` one byte per token; ``merges`` two u24 token ids per merge; ``scores`` one binary64 per token or
nothing; ``ends``, ``before`` and ``after`` one u24 per id. Numbers are little-endian; an absent id is -1;
flags are 0 or 1. Fixed widths give each vocabulary one encoding; 49,152 tokens with their merges take 0.8 MB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, count
from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import MAX_NAME, MAX_TOKENIZER, MAX_VOCABULARY
from proofcompute.models.part_codec import check_parts, decode_parts, encode_parts
from proofcompute.models.text_parts import NORMALISERS, SPLITTERS, Part
from proofcompute.models.token_checks import check_finding, check_merges, check_tokens
from proofcompute.models.token_types import (
    ALONE,
    BYTE,
    CONTROL,
    FOUND,
    LEFT,
    NORMAL,
    NORMALISED,
    RIGHT,
    SILENT,
    TYPES,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
)
from proofcompute.models.writing import BYTES, SPACES, WORDS

__all__ = [
    "ALONE",
    "BYTE",
    "CONTROL",
    "FOUND",
    "KINDS",
    "LEFT",
    "NORMAL",
    "NORMALISED",
    "RIGHT",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Vocabulary",
]

VERSION: Final = 2
KINDS: Final = ("bpe", "unigram", "wordpiece")
"""BPE with ranked merges (of bytes, or of characters with SentencePiece's spaces); Unigram; WordPiece."""

MAX_AROUND: Final = 16
"""The most tokens in front of a text, or behind it."""
MAX_GROWTH: Final = 16
"""The largest factor by which replacements may lengthen a text; a space becomes the three bytes of U+2581."""
MAX_WORD: Final = 1 << 10
"""The most that ``longest_word`` can be."""


@dataclass(frozen=True)
class Vocabulary:
    """An immutable, validated vocabulary; building an inconsistent one raises FormatError or LimitError."""

    kind: str
    """One of :data:`KINDS`."""
    tokens: tuple[bytes, ...]
    """Bytes of each token: the text that it prints, or the name of a control, unknown or unused token.

    Several tokens may have the same bytes: a text is encoded with the first of them, and all print it."""
    types: bytes
    """Type of each token, :data:`NORMAL` to :data:`BYTE`."""
    splitters: tuple[Part, ...] = ()
    """What cuts a text into words, one after the other."""
    normalisers: tuple[Part, ...] = ()
    """What changes a text before, one after the other."""
    merges: tuple[tuple[int, int], ...] = ()
    """Pairs of token ids that merge into one token, in order of rank; "bpe" only."""
    scores: tuple[int, ...] = ()
    """Log-probability of each token as a binary64 bit pattern; "unigram" only."""
    finding: bytes = b""
    """How each token is found in a text; b"" stands for :data:`FOUND` for control, unknown and user-defined
    tokens and 0 for others."""
    bos: int | None = None
    """The token that begins a text."""
    eos: int | None = None
    """The token that ends a text."""
    unknown: int | None = None
    """The token for text that no other token can express; None: such a text is refused."""
    end_ids: tuple[int, ...] = ()
    """Control tokens that end an answer (end of text, turn or message), ascending; contains ``eos``."""
    before: tuple[int, ...] = ()
    """Control tokens with which a prompt begins."""
    after: tuple[int, ...] = ()
    """Control tokens with which a prompt ends; models that write answers have none."""
    longest_word: int = 0
    """The most characters of a word that is not unknown as a whole; "wordpiece" only, 0 for others."""
    ignore_merges: bool = False
    """Whether a word that is a token becomes that token, whatever the merges give; "bpe" only."""
    fuse_unknown: bool = False
    """Whether unknown characters in a row become one token; "bpe" only, "unigram" always does."""
    strip_space: bool = False
    """Whether the space with which a decoded text begins is left out, as one was put in front."""

    def __post_init__(self) -> None:
        n = len(self.tokens)
        _limit(n, MAX_VOCABULARY, "tokens")
        _limit(len(self.merges), MAX_VOCABULARY, "merges")
        if n == 0:
            raise FormatError("vocabulary: no tokens")
        if self.kind not in KINDS:
            raise UnsupportedError(f"vocabulary: kind {self.kind!r}; known kinds are {', '.join(KINDS)}")
        if len(self.types) != n or not TYPES.issuperset(self.types):
            raise FormatError(f"vocabulary: {len(self.types)} types for {n} tokens, or a type outside 1..6")
        if not self.finding:
            named = bytes(FOUND * (kind in (UNKNOWN, CONTROL, USER_DEFINED)) for kind in range(256))
            object.__setattr__(self, "finding", self.types.translate(named))
        self._check_parts()
        check_tokens(self.tokens, self.types, self.writing, self.text_ids)
        check_finding(self.finding, self.tokens, self.types)
        if self.merges and self.kind != "bpe":
            raise FormatError(f"vocabulary: merges in a vocabulary of kind {self.kind}")
        check_merges(self.merges, self.tokens, self.types, self.text_ids)
        if len(self.scores) != (n if self.kind == "unigram" else 0):
            raise FormatError(f"vocabulary: {len(self.scores)} scores for {n} tokens of kind {self.kind}")
        if not np.isfinite(np.array(self.scores, np.uint64).view(np.float64)).all():
            raise FormatError("vocabulary: a score is not finite")
        self._check_special()

    def _check_special(self) -> None:
        n = len(self.tokens)
        around = (("in front of a text", self.before), ("behind a text", self.after))
        for what, ids in around:
            _limit(len(ids), MAX_AROUND, f"tokens {what}")
        named = [("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown)]
        for what, token in (*named, *((what, i) for what, ids in around for i in ids)):
            if token is not None and not 0 <= token < n:
                raise FormatError(f"vocabulary: {what} is token {token} of {n}")
        for what, ids in (*around, ("unknown", () if self.unknown is None else (self.unknown,))):
            if any(self.types[i] not in (CONTROL, UNKNOWN) for i in ids):
                raise FormatError(f"vocabulary: {what} is a token of type control or unknown, not text")
        if list(self.end_ids) != sorted({i for i in self.end_ids if 0 <= i < n}):
            raise FormatError("vocabulary: end_ids are not ascending token ids")
        if any(self.types[i] != CONTROL for i in self.end_ids):
            raise FormatError("vocabulary: an end token is not of type control, so text could contain it")
        if self.eos is not None and self.eos not in self.end_ids:
            raise FormatError("vocabulary: eos is not among end_ids")
        if self.unknown is None and self.kind != "bpe":
            raise FormatError(f"vocabulary: a vocabulary of kind {self.kind} without an unknown token")
        if not (1 <= self.longest_word <= MAX_WORD if self.kind == "wordpiece" else self.longest_word == 0):
            raise FormatError(f"vocabulary: longest_word is {self.longest_word} in kind {self.kind}")
        if (self.ignore_merges or self.fuse_unknown) and self.kind != "bpe":
            raise FormatError(f"vocabulary: ignore_merges or fuse_unknown in kind {self.kind}")

    def _check_parts(self) -> None:
        check_parts(self.normalisers, NORMALISERS, "normaliser")
        check_parts(self.splitters, SPLITTERS, "splitter")
        if any(part.name == "bytes" for part in self.splitters[:-1]):
            raise FormatError("vocabulary: a splitter behind the alphabet of bytes")
        if self.writing == BYTES and self.kind != "bpe":
            raise UnsupportedError(f"vocabulary: byte-level tokens in a vocabulary of kind {self.kind}")
        growth, maps = 1.0, 0
        for part in self.normalisers:
            maps += part.name == "charsmap"
            if part.name == "replace":
                old, new = (len(str(text).encode()) for text in part.arguments)
                growth *= max(1.0, new / old)
            elif part.name == "replace_rule":
                growth *= max(1, len(str(part.arguments[1]).encode()))
        if growth > MAX_GROWTH or maps > 1:
            raise LimitError(f"vocabulary: a text may grow more than {MAX_GROWTH} times before it is encoded")

    @cached_property
    def writing(self) -> str:
        """How tokens are written in files (:mod:`proofcompute.models.writing`)."""
        if self.splitters and self.splitters[-1].name == "bytes":
            return BYTES
        return WORDS if self.kind == "wordpiece" else SPACES

    @cached_property
    def text_ids(self) -> dict[bytes, int]:
        """Bytes -> id of every token of type normal; of several with the same bytes, the first. Read-only."""
        normal = [kind == NORMAL for kind in self.types]
        texts, ids = list(compress(self.tokens, normal)), list(compress(count(), normal))
        return dict(
            zip(reversed(texts), reversed(ids), strict=True)
        )  # of equal keys, the last in this reversed order stays

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Control and unknown tokens, which print nothing and which text from outside never becomes."""
        return frozenset(i for i, kind in enumerate(self.types) if kind in (CONTROL, UNKNOWN))

    def text_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that ``ids`` print, in which stop strings are searched.

        Special and unused tokens print nothing. The result need not be valid UTF-8. Raises InputError for an
        id outside the vocabulary.
        """
        n = len(self.tokens)
        parts = []
        for i in ids:
            if not 0 <= i < n:
                raise InputError(f"token {i} is not in a vocabulary of {n}")
            if self.types[i] not in SILENT:
                parts.append(self.tokens[i])
        return b"".join(parts)

    def encode(self) -> bytes:
        """Return the canonical encoding, which the module's docstring describes."""
        encoded = wire.encode(
            [
                VERSION,
                self.kind,
                b"".join(self.tokens),
                np.array([len(t) for t in self.tokens], "<u2").tobytes(),
                self.types,
                self.finding,
                _pack24([i for pair in self.merges for i in pair]),
                np.array(self.scores, "<u8").tobytes(),
                encode_parts(self.normalisers),
                encode_parts(self.splitters),
                *(-1 if i is None else i for i in (self.bos, self.eos, self.unknown)),
                *(_pack24(ids) for ids in (self.end_ids, self.before, self.after)),
                self.longest_word,
                *(int(flag) for flag in (self.ignore_merges, self.fuse_unknown, self.strip_space)),
            ]
        )
        _limit(len(encoded), MAX_TOKENIZER, "encoded bytes")
        return encoded

    @staticmethod
    def decode(data: bytes) -> Vocabulary:
        """Invert :meth:`encode`.

        Raises FormatError or LimitError for any other data, UnsupportedError for another version.
        """
        fields = wire.as_list(wire.decode(data, limit=MAX_TOKENIZER, what="vocabulary"), "vocabulary")
        if not fields or fields[0] != VERSION:
            raise UnsupportedError(f"vocabulary: not of version {VERSION}; import the checkpoint again")
        fields = wire.as_list(fields, "vocabulary", n=20)
        types = wire.as_bytes(fields[4], "vocabulary types", max_size=MAX_VOCABULARY)
        n = len(types)
        lengths = wire.as_bytes(fields[3], "vocabulary lengths", size=2 * n)
        joined = wire.as_bytes(fields[2], "vocabulary tokens", max_size=MAX_TOKENIZER)
        ends = np.cumsum(np.frombuffer(lengths, "<u2"), dtype=np.int64).tolist()
        if (ends[-1] if ends else 0) != len(joined):
            raise FormatError("vocabulary: token lengths do not add up to the tokens' bytes")
        pairs = _unpack24(wire.as_bytes(fields[6], "vocabulary merges", max_size=6 * MAX_VOCABULARY), 6)
        scores = wire.as_bytes(fields[7], "vocabulary scores", max_size=8 * n)
        if len(scores) % 8:
            raise FormatError("vocabulary scores: not a whole number of binary64 values")
        bos, eos, unknown = (wire.as_int(v, "vocabulary token id", -1, n - 1) for v in fields[10:13])
        lists = (wire.as_bytes(v, "vocabulary ids", max_size=3 * max(n, MAX_AROUND)) for v in fields[13:16])
        end_ids, before, after = (tuple(_unpack24(packed, 3)) for packed in lists)
        flags = [bool(wire.as_int(v, "vocabulary flag", 0, 1)) for v in fields[17:]]
        return Vocabulary(
            kind=wire.as_str(fields[1], "vocabulary kind", MAX_NAME),
            tokens=tuple([joined[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]),
            types=types,
            splitters=decode_parts(fields[9], "splitter"),
            normalisers=decode_parts(fields[8], "normaliser"),
            merges=tuple(zip(pairs[::2], pairs[1::2], strict=True)),
            scores=tuple(np.frombuffer(scores, "<u8").tolist()),
            finding=wire.as_bytes(fields[5], "vocabulary finding", size=n),
            bos=None if bos < 0 else bos,
            eos=None if eos < 0 else eos,
            unknown=None if unknown < 0 else unknown,
            end_ids=end_ids,
            before=before,
            after=after,
            longest_word=wire.as_int(fields[16], "vocabulary longest_word", 0, MAX_WORD),
            ignore_merges=flags[0],
            fuse_unknown=flags[1],
            strip_space=flags[2],
        )


def _limit(found: int, limit: int, what: str) -> None:
    if found > limit:
        raise LimitError(f"vocabulary: {found} {what}, the limit is {limit}")


def _pack24(ids: Iterable[int]) -> bytes:
    words: npt.NDArray[np.uint32] = np.array(list(ids), "<u4")
    return words.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _unpack24(data: bytes, unit: int) -> list[int]:
    if len(data) % unit:
        raise FormatError("vocabulary: token ids are not a whole number of units")
    words = np.zeros((len(data) // 3, 4), np.uint8)
    words[:, :3] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    ids: list[int] = words.view("<u4").ravel().tolist()
    return ids
