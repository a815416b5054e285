"""Gives a vocabulary as many tokens as the embedding of its model has rows.

Embeddings are often padded to a round number of rows; the model may then write an id that no token has. Such
ids become unused tokens, which print nothing. And a tokenizer may name added tokens for which the model has
no row, such as that of images in the smallest Gemma 3; a text cannot contain them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proofcompute.errors import FormatError
from proofcompute.models.vocabulary import BYTE, NORMAL, UNUSED, Vocabulary

__all__ = ["fitted"]


def fitted(vocabulary: Vocabulary, rows: int) -> tuple[Vocabulary, tuple[str, ...]]:
    """Return the vocabulary with ``rows`` tokens, and notes for the user.

    Raises FormatError if a token without a row is text that the tokenizer makes, or begins or ends texts.
    """
    n = len(vocabulary.tokens)
    if n == rows:
        return vocabulary, ()
    if n < rows:
        return _padded(vocabulary, rows - n), ()
    beyond = set(range(rows, n))
    named = {vocabulary.bos, vocabulary.eos, vocabulary.unknown}
    needed = named.union(vocabulary.end_ids, vocabulary.before, vocabulary.after)
    lost = [i for i in sorted(beyond) if i in needed or vocabulary.types[i] in (NORMAL, BYTE)]
    if lost:
        raise FormatError(
            f"config.json: vocab_size is {rows}, but the tokenizer has {n} tokens, and needs token {lost[0]}"
        )
    names = ", ".join(repr(vocabulary.tokens[i].decode("utf-8", "replace"))[:80] for i in sorted(beyond)[:4])
    note = f"the model has no row for {n - rows} of the tokenizer's added tokens, which are left out: {names}"
    return (
        replace(
            vocabulary,
            tokens=vocabulary.tokens[:rows],
            types=vocabulary.types[:rows],
            finding=vocabulary.finding[:rows],
            scores=vocabulary.scores[:rows],
        ),
        (note,),
    )


def _padded(vocabulary: Vocabulary, more: int) -> Vocabulary:
    scores = vocabulary.scores
    if vocabulary.kind == "unigram":
        # the largest: the smallest score decides what unknown characters count for
        values = np.array(scores, np.uint64).view(np.float64)
        scores = (*scores, *[scores[int(values.argmax())]] * more)
    return replace(
        vocabulary,
        tokens=(*vocabulary.tokens, *[b""] * more),
        types=vocabulary.types + bytes([UNUSED]) * more,
        finding=vocabulary.finding + bytes(more),
        scores=scores,
    )
