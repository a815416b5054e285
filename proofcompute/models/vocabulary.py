"""Defines vocabularies, which are part of the model id, and their canonical encoding.

This module defines what tokens *are*; :mod:`proofcompute.tokens` turns text into tokens. A verifier needs
this module alone: end tokens and the bytes of tokens decide when an answer stops (docs/spec/vocabulary.md).

The encoding is the deterministic CBOR array ``[1, kind, pre, joined, lengths, types, merges, scores, bos,
eos, unknown, ends, add_bos, add_space]``. ``joined`` holds the tokens' bytes, concatenated; ``lengths`` one
u16 per token; ``types`` one byte per token; ``merges`` two u24 token ids per merge; ``scores`` one binary32
per token or nothing; ``ends`` one u24 per id, ascending. Numbers are little-endian; an absent id is -1; flags
are 0 or 1. Fixed widths give each vocabulary one encoding; 49,152 tokens with their merges take 0.8 MB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress, count
from typing import Final

import numpy as np
import numpy.typing as npt

from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.limits import MAX_NAME, MAX_TOKEN, MAX_TOKENIZER, MAX_VOCABULARY

__all__ = [
    "BYTE",
    "CONTROL",
    "KINDS",
    "NORMAL",
    "UNKNOWN",
    "UNUSED",
    "USER_DEFINED",
    "Vocabulary",
    "byte_alphabet",
]

VERSION: Final = 1
KINDS: Final = ("bpe", "spm")
"""Byte-level BPE with ranked merges (GPT-2); SentencePiece BPE with scores and byte fallback (Llama 2)."""

NORMAL: Final = 1
UNKNOWN: Final = 2
CONTROL: Final = 3
USER_DEFINED: Final = 4
UNUSED: Final = 5
BYTE: Final = 6
TYPES: Final = frozenset((NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE))
"""Token types, numbered as in the GGUF specification (``tokenizer.ggml.token_type``)."""
_SILENT: Final = frozenset((UNKNOWN, CONTROL, UNUSED))
"""Types that print nothing."""


def byte_alphabet() -> str:
    """Return the printable character that byte-level BPE writes for each of the 256 bytes, in order.

    Bytes that are printable in Latin-1 stand for themselves; the others are written as U+0100 upwards
    (GPT-2).
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in plain else next(spare)) for byte in range(256))


@dataclass(frozen=True)
class Vocabulary:
    """An immutable, validated vocabulary; building an inconsistent one raises FormatError or LimitError."""

    kind: str
    """One of :data:`KINDS`."""
    pre: str
    """Name of the rule that splits text into words before merging, such as "smollm"; "" for "spm"."""
    tokens: tuple[bytes, ...]
    """Bytes of each token: the text that it prints, or the name of a control, unknown or unused token.

    Several tokens may have the same bytes: a text is encoded with the first of them, and all print it."""
    types: bytes
    """Type of each token, :data:`NORMAL` to :data:`BYTE`."""
    merges: tuple[tuple[int, int], ...] = ()
    """Pairs of token ids that merge into one token, in order of rank; "bpe" only."""
    scores: tuple[int, ...] = ()
    """Score of each token as a binary32 bit pattern, the highest merges first; "spm" only."""
    bos: int | None = None
    """The token that begins a text."""
    eos: int | None = None
    """The token that ends a text."""
    unknown: int | None = None
    """The token for text that no other token can express."""
    end_ids: tuple[int, ...] = ()
    """Control tokens that end an answer (end of text, turn or message), ascending; contains ``eos``."""
    add_bos: bool = False
    """Whether a prompt begins with ``bos``."""
    add_space: bool = False
    """Whether a space is put in front of a prompt's text; "spm" only."""

    def __post_init__(self) -> None:
        n = len(self.tokens)
        _limit(n, MAX_VOCABULARY, "tokens")
        _limit(len(self.merges), MAX_VOCABULARY, "merges")
        if n == 0:
            raise FormatError("vocabulary: no tokens")
        if self.kind not in KINDS:
            raise UnsupportedError(f"vocabulary: kind {self.kind!r}; known kinds are {', '.join(KINDS)}")
        _limit(len(self.pre.encode("utf-8", "surrogatepass")), MAX_NAME, "bytes of the pre-tokenizer's name")
        if len(self.types) != n or not TYPES.issuperset(self.types):
            raise FormatError(f"vocabulary: {len(self.types)} types for {n} tokens, or a type outside 1..6")
        self._check_tokens()
        self._check_merges()
        if self.kind == "spm" and self.pre != "":
            raise FormatError("vocabulary: a pre-tokenizer in a vocabulary of kind spm")
        if len(self.scores) != (n if self.kind == "spm" else 0):
            raise FormatError(f"vocabulary: {len(self.scores)} scores for {n} tokens of kind {self.kind}")
        if not np.isfinite(np.array(self.scores, np.uint32).view(np.float32)).all():
            raise FormatError("vocabulary: a score is not finite")
        for what, token in (("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown)):
            if token is not None and not 0 <= token < n:
                raise FormatError(f"vocabulary: {what} is token {token} of {n}")
        if list(self.end_ids) != sorted({i for i in self.end_ids if 0 <= i < n}):
            raise FormatError("vocabulary: end_ids are not ascending token ids")
        if any(self.types[i] != CONTROL for i in self.end_ids):
            raise FormatError("vocabulary: an end token is not of type control, so text could contain it")
        if self.eos is not None and self.eos not in self.end_ids:
            raise FormatError("vocabulary: eos is not among end_ids")
        if self.add_bos and self.bos is None:
            raise FormatError("vocabulary: add_bos without a bos token")
        if self.add_space and self.kind != "spm":
            raise FormatError(f"vocabulary: add_space in a vocabulary of kind {self.kind}")

    def _check_tokens(self) -> None:
        kinds = np.frombuffer(self.types, np.uint8)
        lengths = np.fromiter(map(len, self.tokens), np.int64, len(self.tokens))
        if (longest := int(lengths.max())) > MAX_TOKEN:
            _limit(longest, MAX_TOKEN, f"bytes of token {int(lengths.argmax())}")
        empty = (lengths == 0) & ((kinds == NORMAL) | (kinds == BYTE))
        if empty.any():
            raise FormatError(f"vocabulary: token {int(empty.argmax())} is empty")
        wrong = (kinds == BYTE) & ((lengths != 1) | (self.kind != "spm"))
        if wrong.any():
            raise FormatError(f"vocabulary: token {int(wrong.argmax())} is no byte token of kind {self.kind}")
        single = [self.tokens[i] for i in np.flatnonzero(kinds == BYTE).tolist()]
        if len(set(single)) != len(single):
            again = next(t for i, t in enumerate(single) if t in single[:i])
            raise FormatError(f"vocabulary: there are two byte tokens for 0x{again.hex()}")

    def _check_merges(self) -> None:
        if not self.merges:
            return
        if self.kind != "bpe":
            raise FormatError(f"vocabulary: merges in a vocabulary of kind {self.kind}")
        ids = list(chain.from_iterable(self.merges))
        n, tokens = len(self.tokens), self.tokens
        if min(ids) < 0 or max(ids) >= n:
            rank = next(i for i, pair in enumerate(self.merges) if not (0 <= min(pair) and max(pair) < n))
            raise FormatError(f"vocabulary: merge {rank} names token {max(self.merges[rank])} of {n}")
        special = np.frombuffer(self.types, np.uint8)[ids] != NORMAL
        if special.any():
            rank = int(special.argmax()) // 2
            raise FormatError(f"vocabulary: merge {rank} names a token that is not of type normal")
        if len(self.text_ids) < self.types.count(NORMAL):
            again = next((i for i in ids if self.text_ids[tokens[i]] != i), None)
            if again is not None:
                rank = ids.index(again) // 2
                raise FormatError(f"vocabulary: merge {rank} names token {again}, whose bytes another has")
        joined = [tokens[left] + tokens[right] for left, right in self.merges]
        if not all(map(self.text_ids.__contains__, joined)):
            rank = next(i for i, text in enumerate(joined) if text not in self.text_ids)
            raise FormatError(f"vocabulary: merge {rank} gives bytes that are no token")
        if len(set(self.merges)) != len(self.merges):
            first: dict[tuple[int, int], int] = {}
            rank = next(i for i, pair in enumerate(self.merges) if first.setdefault(pair, i) != i)
            raise FormatError(f"vocabulary: merge {rank} occurs twice")

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
            if self.types[i] not in _SILENT:
                parts.append(self.tokens[i])
        return b"".join(parts)

    def encode(self) -> bytes:
        """Return the canonical encoding, which the module's docstring describes."""
        encoded = wire.encode(
            [
                VERSION,
                self.kind,
                self.pre,
                b"".join(self.tokens),
                np.array([len(t) for t in self.tokens], "<u2").tobytes(),
                self.types,
                _pack24([i for pair in self.merges for i in pair]),
                np.array(self.scores, "<u4").tobytes(),
                *(-1 if i is None else i for i in (self.bos, self.eos, self.unknown)),
                _pack24(self.end_ids),
                int(self.add_bos),
                int(self.add_space),
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
            raise UnsupportedError(f"vocabulary: not of version {VERSION}")
        fields = wire.as_list(fields, "vocabulary", n=14)
        types = wire.as_bytes(fields[5], "vocabulary types", max_size=MAX_VOCABULARY)
        n = len(types)
        lengths = wire.as_bytes(fields[4], "vocabulary lengths", size=2 * n)
        joined = wire.as_bytes(fields[3], "vocabulary tokens", max_size=MAX_TOKENIZER)
        ends = np.cumsum(np.frombuffer(lengths, "<u2"), dtype=np.int64).tolist()
        if (ends[-1] if ends else 0) != len(joined):
            raise FormatError("vocabulary: token lengths do not add up to the tokens' bytes")
        pairs = _unpack24(wire.as_bytes(fields[6], "vocabulary merges", max_size=6 * MAX_VOCABULARY), 6)
        scores = wire.as_bytes(fields[7], "vocabulary scores", max_size=4 * n)
        if len(scores) % 4:
            raise FormatError("vocabulary scores: not a whole number of binary32 values")
        bos, eos, unknown = (wire.as_int(v, "vocabulary token id", -1, n - 1) for v in fields[8:11])
        return Vocabulary(
            kind=wire.as_str(fields[1], "vocabulary kind", MAX_NAME),
            pre=wire.as_str(fields[2], "vocabulary pre-tokenizer", MAX_NAME),
            tokens=tuple([joined[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]),
            types=types,
            merges=tuple(zip(pairs[::2], pairs[1::2], strict=True)),
            scores=tuple(np.frombuffer(scores, "<u4").tolist()),
            bos=None if bos < 0 else bos,
            eos=None if eos < 0 else eos,
            unknown=None if unknown < 0 else unknown,
            end_ids=tuple(_unpack24(wire.as_bytes(fields[11], "vocabulary ends", max_size=3 * n), 3)),
            add_bos=bool(wire.as_int(fields[12], "vocabulary add_bos", 0, 1)),
            add_space=bool(wire.as_int(fields[13], "vocabulary add_space", 0, 1)),
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
