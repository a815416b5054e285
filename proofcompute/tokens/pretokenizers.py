"""Rules that cut text into words before byte-pair merges; the table is in
:mod:`proofcompute.models.supported`.
"""

from __future__ import annotations

from typing import Final

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

from proofcompute.errors import UnsupportedError
from proofcompute.models.supported import WORD_RULES

__all__ = ["IGNORE_MERGES", "pre_tokenizer"]

IGNORE_MERGES: Final = frozenset(("llama-bpe", "llama3", "llama-v3"))
"""Rules whose models take a word that is a token as that token, whatever the merges say."""


def pre_tokenizer(name: str) -> PreTokenizer:
    """The rule called ``name``, ending in the byte-level alphabet. Raises UnsupportedError."""
    rules = WORD_RULES.get(name)
    if rules is None:
        known = ", ".join(sorted(WORD_RULES))
        raise UnsupportedError(f"pre-tokenizer {name!r} is not supported; supported are {known}")
    splits = [Split(Regex(rule), behavior="isolated") for rule in rules]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
