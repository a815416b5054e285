"""Makes prompts of an exact number of tokens that begin differently, so that no cache of prefixes helps.

A prompt is a row of words that are one token each, with a space before them, in every tokenizer that splits
at spaces and merges bytes as the model's does. So servers that tokenise for themselves see the same number.
"""

from __future__ import annotations

import random
import re

from proofcompute.errors import InputError
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.quality import text
from proofcompute.tokens import Tokenizer

__all__ = ["Prompts"]

_FEWEST = 100
"""The fewest words from which prompts are drawn: two of four words are then equal once in 10^8."""


class Prompts:
    """Draws prompts for one model; ``seed`` makes them the same in every run."""

    def __init__(self, vocabulary: Vocabulary, seed: int = 1) -> None:
        self._tokenizer = Tokenizer(vocabulary)
        words = sorted(set(re.findall(r"[a-z]{3,}", text())))
        self.words = [w for w in words if len(self._encode(" " + w)) == 1]
        if len(self.words) < _FEWEST:
            raise InputError(f"only {len(self.words)} words of the English text are one token of this model")
        self._random = random.Random(seed)

    def __call__(self, tokens: int, prefix: str = "") -> str:
        """Return a prompt that no call returned before: ``prefix``, then ``tokens`` words."""
        text = "".join(f" {word}" for word in self._random.choices(self.words, k=tokens))
        found = len(self._encode(prefix + text)) - len(self._encode(prefix))
        if found != tokens:
            raise InputError(f"{tokens} words are {found} tokens together; this tokenizer joins words")
        return prefix + text

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, special=False)) if text else []
