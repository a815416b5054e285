"""Finds the names of tokens in a text: leftmost first, longest first, in time linear in the text.

The automaton is that of the ``tokenizers`` library (Aho and Corasick 1975), built from the names alone.
Trying one name after the other would take a thousand times longer for names chosen to be slow, such as a
thousand with a common beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import tokenizers
from tokenizers.models import WordLevel

from proofcompute.errors import LimitError
from proofcompute.limits import MIB

__all__ = ["Names"]

MAX_NAMES: Final = 2 * MIB
"""The most characters of all names together; real vocabularies have up to 0.1 million."""
_OTHER: Final = ""
"""The automaton's token for the text between names."""


class Names:
    """Finds ``names`` (name -> id). Raises LimitError if they have more than MAX_NAMES characters."""

    def __init__(self, names: Mapping[str, int]) -> None:
        if (size := sum(map(len, names))) > MAX_NAMES:
            raise LimitError(f"the names of special tokens have {size} characters, the limit is {MAX_NAMES}")
        self._ids = list(names.values())
        self._finder = tokenizers.Tokenizer(WordLevel({_OTHER: 0}, unk_token=_OTHER))
        self._finder.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in names])

    def __bool__(self) -> bool:
        return bool(self._ids)

    def spans(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield start, end and id of each name in ``text``."""
        if not self._ids:
            return
        found = self._finder.encode(text, add_special_tokens=False)
        for number, (start, end) in zip(found.ids, found.offsets, strict=True):
            if number:
                yield start, end, self._ids[number - 1]

    def split(self, text: str) -> Iterator[str | int]:
        """Yield the pieces of ``text``: the token of each name, and the texts between that are not empty."""
        done = 0
        for start, end, token in self.spans(text):
            if done < start:
                yield text[done:start]
            yield token
            done = end
        if done < len(text):
            yield text[done:]
