"""Splits text into words before byte-pair merges; the rules are in :mod:`proofcompute.models.supported`."""

from __future__ import annotations

from typing import Final

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

from proofcompute.errors import UnsupportedError
from proofcompute.models.supported import WORD_RULES

__all__ = ["IGNORE_MERGES", "pre_tokenizer"]

IGNORE_MERGES: Final = frozenset(("llama-bpe", "llama3", "llama-v3"))
"""Rules of models for which a word that is a token becomes that token, whatever the merges give."""


def pre_tokenizer(name: str) -> PreTokenizer:
    """Return the rule ``name``, followed by the byte-level alphabet; UnsupportedError if it is unknown."""
    rules = WORD_RULES.get(name)
    if rules is None:
        known = ", ".join(sorted(WORD_RULES))
        raise UnsupportedError(f"pre-tokenizer {name!r} is not supported; supported are {known}")
    splits = [Split(Regex(rule), behavior="isolated") for rule in rules]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
