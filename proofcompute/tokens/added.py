"""Cuts texts at the names of special and user-defined tokens, as the ``tokenizers`` library does.

Names are found leftmost first and longest first, those of control tokens in trusted texts only, each text by
itself. Then tokens take white space beside them, or are dropped if they must stand alone and do not. There
are two rounds: names as they are written, and those that are searched in the normalised text. If a vocabulary
normalises, the second round is the library's (:mod:`proofcompute.tokens.library`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from proofcompute.errors import UnsupportedError
from proofcompute.models.vocabulary import (
    ALONE,
    CONTROL,
    LEFT,
    NORMAL,
    NORMALISED,
    RIGHT,
    UNKNOWN,
    Vocabulary,
)
from proofcompute.models.writing import written
from proofcompute.tokens.names import Names

__all__ = ["AddedTokens", "Span", "found_names"]

Span = tuple[int, int]
"""Where a piece of a text begins and ends."""
_WHITE: Final = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""Unicode's White_Space."""


def found_names(vocabulary: Vocabulary, *, control: bool, normalised: bool) -> dict[str, int]:
    """Return name -> id of the tokens that are found by name, in one of the two rounds.

    ``control``: those that print nothing, else the others. If two have the same name, the first one counts.
    A name that belongs to both kinds is that of the control token.
    """
    names: dict[str, int] = {}
    others: set[str] = set()
    for i in np.flatnonzero(np.frombuffer(vocabulary.finding, np.uint8)).tolist():
        how = vocabulary.finding[i]
        token, kind = vocabulary.tokens[i], vocabulary.types[i]
        if kind == NORMAL:
            name = written(vocabulary.writing, token)
        else:
            name = token.decode("utf-8", "replace")
            if name.encode() != token:  # a name that is not UTF-8 occurs in no text
                continue
        if (kind in (CONTROL, UNKNOWN)) != control:
            others.add(name)
        elif bool(how & NORMALISED) == normalised:
            names.setdefault(name, i)
    return names if control else {name: i for name, i in names.items() if name not in others}


class AddedTokens:
    """Finds the tokens of a vocabulary that stand in a text by name."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._finding = vocabulary.finding
        rounds = (False,) if vocabulary.normalisers else (False, True)
        self._rounds = [
            (
                Names({**found_names(vocabulary, control=False, normalised=n), **marks}),
                Names(found_names(vocabulary, control=False, normalised=n)),
                frozenset(marks.values()),
            )
            for n in rounds
            for marks in (found_names(vocabulary, control=True, normalised=n),)
        ]

    def cut(self, text: str, trusted: Sequence[Span]) -> Iterator[Span | int]:
        """Yield, in order, tokens and the pieces of ``text`` between; control tokens stand in ``trusted``.

        Raises UnsupportedError for a text that the library cannot cut.
        """
        pieces: Iterable[Span | int] = [(0, len(text))] if text else []
        for every, plain, marks in self._rounds:
            pieces = [
                part
                for piece in pieces
                for part in (
                    (piece,)
                    if isinstance(piece, int)
                    else self._cut_piece(text, piece, trusted, (every, plain, marks))
                )
            ]
        yield from pieces

    def _cut_piece(
        self,
        text: str,
        piece: Span,
        trusted: Sequence[Span],
        names: tuple[Names, Names, frozenset[int]],
    ) -> Iterator[Span | int]:
        every, plain, marks = names
        matches: list[tuple[int, int, int]] = []
        for start, end in trusted if marks else ():
            start, end = max(start, piece[0]), min(end, piece[1])
            if start < end:
                found = every.spans(text[start:end])
                matches += [(start + a, start + b, token) for a, b, token in found if token in marks]
        at = piece[0]
        if plain:
            for start, end, _ in [*matches, (piece[1], piece[1], 0)]:
                matches += [(at + a, at + b, token) for a, b, token in plain.spans(text[at:start])]
                at = end
        yield from self._applied(text, piece, sorted(matches))

    def _applied(
        self, text: str, piece: Span, matches: Sequence[tuple[int, int, int]]
    ) -> Iterator[Span | int]:
        done, last = piece
        for start, end, token in matches:
            how = self._finding[token]
            if how & ALONE and (
                (start > piece[0] and _of_word(text[start - 1])) or (end < last and _of_word(text[end]))
            ):
                continue
            if how & LEFT:
                while start > piece[0] and text[start - 1] in _WHITE:
                    start -= 1
                start = max(start, done)
            if how & RIGHT:
                while end < last and text[end] in _WHITE:
                    end += 1
            if start > end:  # where the library panics
                raise UnsupportedError(
                    f"token {token} takes the white space beside it, which another token has taken with the "
                    "white space behind"
                )
            if done < start:
                yield done, start
            if start < end:  # else another token has taken all of it, and the library drops this one
                yield token
            done = end
        if done < last:
            yield done, last


def _of_word(letter: str) -> bool:
    r"""Return whether a letter matches ``\w`` of Rust's regex library (Unicode's UTS 18, annex C)."""
    kind = unicodedata.category(letter)
    return (
        kind[0] in "LM"
        or kind in ("Nd", "Nl", "Pc")
        or letter in "\u200c\u200d"
        or "\u24b6" <= letter <= "\u24e9"
        or "\U0001f130" <= letter <= "\U0001f149"
        or "\U0001f150" <= letter <= "\U0001f169"
        or "\U0001f170" <= letter <= "\U0001f189"
    )
