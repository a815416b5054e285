"""Tracks, character by character, who wrote a text.

A template works on the real contents, so comparing, searching, splitting and trimming give the usual results.
Each character has an **author**: the template, one of the messages, or nobody known. Only text that is known
to be the template's may become a control token, so every operation that is not listed here errs on the safe
side: its result has no known author, unless all its operands have the same one.

Authors are stored as a text of the same length, one letter per character, so slices, concatenations and joins
are the same operation on both.
"""

# ruff: noqa: D102  # the methods of str need no other documentation

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, SupportsIndex

__all__ = ["NOBODY", "TEMPLATE", "Authored", "authors_of", "common_author", "join", "message_author"]

NOBODY: Final = "\x00"
"""Author of the result of an operation that is not tracked."""
TEMPLATE: Final = "\x01"
"""Author of the template's own text, of roles, and of the names of bos and eos."""
_NEUTRAL: Final = (bool, type(None))


def message_author(i: int) -> str:
    """Return the author of the content of message ``i``."""
    return chr(2 + i)


class Authored(str):
    """A text with the author of each character; otherwise it behaves like ``str``."""

    __slots__ = ("_authors",)
    _authors: str

    def __new__(cls, text: str = "", authors: str = "") -> Authored:
        """Make a text by ``authors``: a letter per character, or one for all; else nobody is known."""
        made = super().__new__(cls, text)
        n = len(text)
        made._authors = authors if len(authors) == n else (authors if len(authors) == 1 else NOBODY) * n
        return made

    def __str__(self) -> Authored:
        return self

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, str) or hasattr(other, "__html__"):
            return NotImplemented
        return Authored(str.__add__(self, other), self._authors + authors_of(other))

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, str) or hasattr(other, "__html__"):
            return NotImplemented
        return Authored(str.__add__(other, self), authors_of(other) + self._authors)

    def __mul__(self, n: SupportsIndex) -> Authored:
        return Authored(str.__mul__(self, n), self._authors * n)

    __rmul__ = __mul__

    def __getitem__(self, key: SupportsIndex | slice) -> Authored:
        return Authored(str.__getitem__(self, key), self._authors[key])

    def __iter__(self) -> Iterator[Authored]:
        return map(Authored, str.__iter__(self), self._authors)

    def __mod__(self, values: Any) -> Authored:
        text = str.__mod__(self, values)
        given = values if isinstance(values, tuple) else (values,)
        places = [m.span() for m in re.finditer("%(.)", self, re.DOTALL)]
        if all(str.__getitem__(self, slice(*p)) == "%s" for p in places) and len(places) == len(given):
            parts, at = [], 0
            for (a, b), value in zip(places, given, strict=True):
                parts += [self[at:a], shown(value)]
                at = b
            return join([*parts, self[at:]])
        return Authored(text, common_author([self, *given]))

    # -- parts of this text -----------------------------------------------------------------------------
    def strip(self, chars: str | None = None) -> Authored:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None) -> Authored:
        return self[len(self) - len(str.lstrip(self, chars)) :]

    def rstrip(self, chars: str | None = None) -> Authored:
        return self[: len(str.rstrip(self, chars))]

    def removeprefix(self, prefix: str, /) -> Authored:
        return self[len(self) - len(str.removeprefix(self, prefix)) :]

    def removesuffix(self, suffix: str, /) -> Authored:
        return self[: len(str.removesuffix(self, suffix))]

    def split(  # type: ignore[override]
        self, sep: str | None = None, maxsplit: SupportsIndex = -1
    ) -> list[Authored]:
        return self._placed(str.split(self, sep, maxsplit), sep)

    def rsplit(  # type: ignore[override]
        self, sep: str | None = None, maxsplit: SupportsIndex = -1
    ) -> list[Authored]:
        return self._placed(str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[Authored]:  # type: ignore[override]
        lines = self._placed(str.splitlines(self, keepends=True), "")
        return lines if keepends else [line[: len(str.splitlines(line)[0])] for line in lines]

    def partition(self, sep: str, /) -> tuple[Authored, Authored, Authored]:
        a, b, c = self._placed(list(str.partition(self, sep)), "")
        return a, b, c

    def rpartition(self, sep: str, /) -> tuple[Authored, Authored, Authored]:
        a, b, c = self._placed(list(str.rpartition(self, sep)), "")
        return a, b, c

    def _placed(self, pieces: list[str], sep: str | None) -> list[Authored]:
        """Return consecutive pieces of this text, between which is ``sep`` (None: white space)."""
        found, at = [], 0
        for piece in pieces:
            at = str.find(self, piece, at) if sep is None else at
            found.append(self[at : at + len(piece)])
            at += len(piece) + len(sep or "")
        return found

    # -- texts made of this one -------------------------------------------------------------------------
    def join(self, parts: Iterable[str], /) -> Authored:
        parts = list(parts)
        return Authored(str.join(self, parts), self._authors.join(map(authors_of, parts)))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Authored:
        """Replace ``old``; what replaces a message's words counts as that message's, whoever wrote it."""
        if not old:
            return Authored(str.replace(self, old, new, count), common_author([self, new]))
        first, *rest = self.split(old, count)
        parts, at = [first], len(first)
        for piece in rest:
            gone = self._authors[at : at + len(old)].strip(TEMPLATE)
            parts += [Authored(new, gone[0] if gone else authors_of(new)), piece]
            at += len(old) + len(piece)
        return join(parts)

    def upper(self) -> Authored:
        return self._letterwise(str.upper)

    def lower(self) -> Authored:
        return self._letterwise(str.lower)

    def title(self) -> Authored:
        return self._letterwise(str.title)

    def capitalize(self) -> Authored:
        return self._letterwise(str.capitalize)

    def swapcase(self) -> Authored:
        return self._letterwise(str.swapcase)

    def casefold(self) -> Authored:
        return self._letterwise(str.casefold)

    def _letterwise(self, change: Any) -> Authored:
        """Apply ``change``; if a letter becomes several, all of them have its author."""
        text: str = change(self)
        authors = self._authors
        if len(text) != len(self):
            authors = "".join(a * len(change(c)) for c, a in zip(str.__iter__(self), authors, strict=True))
        return Authored(text, authors if len(authors) == len(text) else common_author([self]))


def authors_of(text: str) -> str:
    """Return the author of each character of ``text``."""
    return text._authors if isinstance(text, Authored) else NOBODY * len(text)


def common_author(values: Iterable[object]) -> str:
    """Return the author of a result that was made from ``values`` by an operation that is not tracked.

    If all texts among them have the same author, so has the result. Any other object (a list, a text that is
    not tracked) may hold anybody's words, and a number may be made of them.
    """
    found: set[str] = set()
    for value in values:
        if isinstance(value, str):
            found.update(authors_of(value))
        elif type(value) not in _NEUTRAL:
            found.add(NOBODY)
    return found.pop() if len(found) == 1 else NOBODY if found else TEMPLATE


def shown(value: object) -> Authored:
    """Return ``str(value)``, as a template prints it."""
    text = str(value)
    return text if isinstance(text, Authored) else Authored(text, common_author([value]))


def join(parts: Iterable[str]) -> Authored:
    """Return all parts, one after the other."""
    return Authored().join(parts)
