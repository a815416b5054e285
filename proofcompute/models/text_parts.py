"""Defines the parts that prepare a text before a vocabulary's model reads it: a closed set, as data.

Normalisers change a text; splitters cut it into words. Both run in order, each on what the one before it
left. Their meaning is that of the parts of the ``tokenizers`` library that the tables name; which parts exist
is part of the vocabulary's format (docs/spec/vocabulary.md). A part that runs a regular expression names one
of :data:`~proofcompute.models.word_rules.RULES`, so no expression of a stranger is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "BEHAVIOURS",
    "NORMALISERS",
    "SCHEMES",
    "SPACE",
    "SPLITTERS",
    "Argument",
    "Part",
]

SPACE: Final = "\u2581"
"""SentencePiece's letter for a space."""
BEHAVIOURS: Final = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
"""What becomes of the matches of a split."""
SCHEMES: Final = ("always", "first", "never")
"""Where a metaspace splitter puts a space in front: every piece, the one that begins the text, none."""

Argument = int | str | bytes

NORMALISERS: Final[Mapping[str, tuple[str, ...]]] = {
    "nfc": (),
    "nfd": (),
    "nfkc": (),
    "nfkd": (),
    "lowercase": (),
    "strip_accents": (),
    "strip": ("flag", "flag"),
    "prepend": ("text",),
    "replace": ("text", "text or nothing"),
    "replace_rule": ("rule", "text or nothing"),
    "bert": ("flag", "flag", "accents", "flag"),
    "charsmap": ("charsmap",),
}
"""Name -> kinds of its arguments.

``strip``: at the left, at the right. ``replace``: what, by what. ``bert``: clean the text, spaces around
Chinese characters, strip accents (0 no, 1 yes, 2 as lowercase), lowercase. ``charsmap``: SentencePiece's map.
"""
SPLITTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "split": ("rule", "behaviour", "flag"),
    "split_text": ("text", "behaviour", "flag"),
    "digits": ("flag",),
    "punctuation": ("behaviour",),
    "whitespace": (),
    "whitespace_split": (),
    "bert": (),
    "metaspace": ("scheme", "flag"),
    "bytes": ("flag", "flag"),
}
"""Name -> kinds of its arguments.

``split``: a rule or a literal text, what becomes of its matches, whether the rest counts as matches.
``digits``: each alone. ``metaspace``: where a space is put in front, whether each space begins a word.
``bytes``: the alphabet of byte-level BPE; a space in front of each piece, the rule "gpt2" first.
"""


@dataclass(frozen=True)
class Part:
    """A normaliser or a splitter; an unknown name or a wrong argument raises when a vocabulary is made."""

    name: str
    """A key of :data:`NORMALISERS` or :data:`SPLITTERS`."""
    arguments: tuple[Argument, ...] = ()
    """Its arguments; a flag is 0 or 1."""
