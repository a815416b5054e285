"""Makes the ``tokenizers`` library's tokenizer for a vocabulary, which encodes text without control tokens.

The library numbers the tokens that it knows from 0; they are translated here. It is never told the names of
control and unknown tokens, so no text becomes one. Its unknown token has an empty name, which is no text. If
a vocabulary has no unknown token, a text that needs one is refused, where the library would drop it silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

from proofcompute.errors import UnsupportedError
from proofcompute.models.text_parts import SPACE, Argument, Part
from proofcompute.models.vocabulary import (
    ALONE,
    BYTE,
    LEFT,
    NORMAL,
    RIGHT,
    Vocabulary,
)
from proofcompute.models.word_rules import expression_of
from proofcompute.models.writing import BYTES, CONTINUES, byte_name, written

__all__ = ["Library", "Near"]

_NOTHING: Final = -1
"""Stands for the unknown token of a vocabulary that has none."""
_ACCENTS: Final = (False, True, None)

_NORMALISERS: Final[Mapping[str, Callable[..., normalizers.Normalizer]]] = {
    "nfc": normalizers.NFC,
    "nfd": normalizers.NFD,
    "nfkc": normalizers.NFKC,
    "nfkd": normalizers.NFKD,
    "lowercase": normalizers.Lowercase,
    "strip_accents": normalizers.StripAccents,
    "strip": lambda left, right: normalizers.Strip(left=bool(left), right=bool(right)),
    "prepend": normalizers.Prepend,
    "replace": normalizers.Replace,
    "replace_rule": lambda rule, by: normalizers.Replace(Regex(expression_of(rule)), by),
    "bert": lambda clean, chinese, accents, lower: normalizers.BertNormalizer(
        clean_text=bool(clean),
        handle_chinese_chars=bool(chinese),
        strip_accents=_ACCENTS[accents],
        lowercase=bool(lower),
    ),
    "charsmap": normalizers.Precompiled,
}
_SPLITTERS: Final[Mapping[str, Callable[..., pre_tokenizers.PreTokenizer]]] = {
    "split": lambda rule, behaviour, invert: pre_tokenizers.Split(
        Regex(expression_of(rule)), behaviour, invert=bool(invert)
    ),
    "split_text": lambda text, behaviour, invert: pre_tokenizers.Split(text, behaviour, invert=bool(invert)),
    "digits": lambda each: pre_tokenizers.Digits(individual_digits=bool(each)),
    "punctuation": pre_tokenizers.Punctuation,
    "whitespace": pre_tokenizers.Whitespace,
    "whitespace_split": pre_tokenizers.WhitespaceSplit,
    "bert": pre_tokenizers.BertPreTokenizer,
    "metaspace": lambda scheme, split: pre_tokenizers.Metaspace(
        replacement=SPACE, prepend_scheme=scheme, split=bool(split)
    ),
    "bytes": lambda space, rule: pre_tokenizers.ByteLevel(
        add_prefix_space=bool(space), trim_offsets=False, use_regex=bool(rule)
    ),
}


class Near:
    """Says which tokens can occur in parts of a text: the others, and merges that give them, are left out.

    At each step of the merging, the pieces of a text are parts of it, or of it with a space in front. Leaving
    out the others makes the tokenizer ten times faster.
    """

    def __init__(self, data: bytes, spaced: bool) -> None:
        self._data, self._spaced = data, spaced

    @staticmethod
    def of(vocabulary: Vocabulary, text: str) -> Near | None:
        """Return what is near ``text``; None if a vocabulary changes texts too much to say it so simply."""
        if vocabulary.kind != "bpe":
            return None
        spaces = (Part("replace", (" ", SPACE)), Part("prepend", (SPACE,)))
        known = spaces if vocabulary.writing != BYTES else ()
        for part in vocabulary.normalisers:
            if part not in known and not (part.name == "nfc" and text.isascii()):
                return None
        plain = vocabulary.writing == BYTES and vocabulary.splitters[-1].arguments[0] == 0
        if vocabulary.writing != BYTES:
            text = text.replace(SPACE, " ")
        return Near(text.encode("utf-8", "surrogatepass"), not plain)

    def among(self, tokens: Iterable[bytes]) -> list[bytes]:
        """Return those of ``tokens`` that can occur."""
        data = self._data
        if not self._spaced:
            return [token for token in tokens if token in data]
        return [token for token in tokens if token in data or (token[:1] == b" " and token[1:] in data)]


class _Typed:
    """Turns a panic of the library into an UnsupportedError.

    Vocabularies come from strangers, and some of them, as that of a token whose name is normalised away, make
    the library panic. That is an exception of a class without a name to import, which is no ``Exception``.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException"):
            raise UnsupportedError(f"the library tokenizers cannot handle this vocabulary: {error}") from None


class Library:
    """The library's tokenizer, with the tokens that are ``near`` a text only if that is given.

    ``added`` maps names that are found in the normalised text to their tokens. Raises UnsupportedError for a
    vocabulary that the library cannot handle.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        near: Near | None = None,
        added: Mapping[str, int] | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._ids: list[int] = []
        with _Typed():
            self._make(near, added or {})

    def _make(self, near: Near | None, added: Mapping[str, int]) -> None:
        vocabulary = self._vocabulary
        model = _MODELS[vocabulary.kind](vocabulary, near, self._ids)
        self._added = [
            AddedToken(
                name,
                single_word=bool(vocabulary.finding[token] & ALONE),
                lstrip=bool(vocabulary.finding[token] & LEFT),
                rstrip=bool(vocabulary.finding[token] & RIGHT),
                normalized=True,
            )
            for name, token in added.items()
        ]
        self._begin = self._made(model, vocabulary.splitters)
        later = tuple(map(_later, vocabulary.splitters))
        self._later = self._begin if later == vocabulary.splitters else self._made(model, later)
        for token in self._added:
            number = self._begin.token_to_id(token.content)
            if number is not None and number >= len(self._ids):
                self._ids.append(added[token.content])

    def _made(self, model: models.Model, splitters: Sequence[Part]) -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(model)
        if normalisers := [_part(_NORMALISERS, part) for part in self._vocabulary.normalisers]:
            made.normalizer = normalizers.Sequence(normalisers)
            for token in self._added:
                if not made.normalizer.normalize_str(token.content):
                    raise UnsupportedError(
                        f"the name {token.content!r} of a token is normalised to nothing, which is found "
                        "everywhere in a text"
                    )
        if splitters:
            made.pre_tokenizer = pre_tokenizers.Sequence([_part(_SPLITTERS, part) for part in splitters])
        made.add_tokens(self._added)
        return made

    def encode(self, text: str, *, begin: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the tokens of ``text`` and which letters each stands for.

        ``begin``: the text begins the prompt. Raises UnsupportedError for a text that no token expresses,
        or that the library cannot handle.
        """
        with _Typed():
            found = (self._begin if begin else self._later).encode(text, add_special_tokens=False)
        ids = [self._ids[number] for number in found.ids]
        offsets: list[tuple[int, int]] = found.offsets
        if _NOTHING in ids:
            start, end = offsets[ids.index(_NOTHING)]
            raise UnsupportedError(
                f"the vocabulary has no token for the byte 0x{self._missing(text[start:end]):02x} of the text"
            )
        return ids, offsets

    def _missing(self, letters: str) -> int:
        """Return the first byte of ``letters`` that is no token, or the first."""
        data = letters.encode()
        return next((b for b in data if bytes([b]) not in self._vocabulary.text_ids), data[0] if data else 0)


def _part(table: Mapping[str, Callable[..., object]], part: Part) -> object:
    arguments: tuple[Argument, ...] = part.arguments
    return table[part.name](*arguments)


def _later(part: Part) -> Part:
    """Return the splitter for a piece that does not begin the text."""
    if part.name == "metaspace" and part.arguments[0] == "first":
        return Part("metaspace", ("never", part.arguments[1]))
    return part


def _unknown(vocabulary: Vocabulary) -> int:
    return _NOTHING if vocabulary.unknown is None else vocabulary.unknown


def _bpe(vocabulary: Vocabulary, near: Near | None, ids: list[int]) -> models.Model:
    tokens, way = vocabulary.tokens, vocabulary.writing
    known, pairs = vocabulary.text_ids, vocabulary.merges
    near_ids: Iterable[int] = known.values()
    if near is not None:
        near_ids = [known[token] for token in near.among(known)]
        left = frozenset(near_ids)
        joined = {tokens[a] + tokens[b]: None for a, b in pairs if a in left and b in left}
        parts = frozenset(near.among(joined))
        pairs = tuple(
            p for p in pairs if p[0] in left and p[1] in left and tokens[p[0]] + tokens[p[1]] in parts
        )
    names = {i: written(way, tokens[i]) for i in near_ids}
    merges = [(names[a], names[b]) for a, b in pairs]
    byte_ids = [i for i, kind in enumerate(vocabulary.types) if kind == BYTE]
    ids += [*names, *byte_ids, _unknown(vocabulary)]
    every = [*names.values(), *(byte_name(tokens[i][0]) for i in byte_ids), ""]
    return models.BPE(
        vocab={name: number for number, name in enumerate(every)},
        merges=merges,
        unk_token="",
        fuse_unk=vocabulary.fuse_unknown,
        byte_fallback=bool(byte_ids),
        ignore_merges=vocabulary.ignore_merges,
    )


def _unigram(vocabulary: Vocabulary, near: Near | None, ids: list[int]) -> models.Model:
    scores = np.array(vocabulary.scores, np.uint64).view(np.float64).tolist()
    # what is no text has the empty name, which the library's trie never finds; its score stays, as the
    # library gives unknown characters the smallest of all scores, less 10
    pieces = []
    for i, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        name = written(vocabulary.writing, token) if kind == NORMAL else ""
        pieces.append((byte_name(token[0]) if kind == BYTE else name, scores[i]))
    ids += range(len(pieces))
    return models.Unigram(pieces, vocabulary.unknown, BYTE in vocabulary.types)


def _wordpiece(vocabulary: Vocabulary, near: Near | None, ids: list[int]) -> models.Model:
    names = {written(vocabulary.writing, token): i for token, i in vocabulary.text_ids.items()}
    ids += [*names.values(), _unknown(vocabulary)]
    return models.WordPiece(
        vocab={name: number for number, name in enumerate([*names, ""])},
        unk_token="",
        max_input_chars_per_word=vocabulary.longest_word,
        continuing_subword_prefix=CONTINUES,
    )


_MODELS: Final = {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece}
