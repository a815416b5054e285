"""Encodes text with SentencePiece's BPE: scores and byte fallback (Kudo, Richardson 2018, arXiv:1808.06226).

The text is one word. Of all neighbouring pieces whose joined text is a token, the pair with the highest score
(the leftmost of several) is joined, until there is none. A character that is not a token becomes its UTF-8
bytes. A heap makes this O(n log n) in the length of the text.

A space in the text matches a space in a token (written U+2581 in the model's file); a U+2581 in the text does
not.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

from proofcompute.errors import UnsupportedError
from proofcompute.models.vocabulary import BYTE, Vocabulary

__all__ = ["SentencePiece"]


class SentencePiece:
    """Encodes text without special tokens for a vocabulary of kind "spm"."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = vocabulary.text_ids
        self._scores: list[float] = np.array(vocabulary.scores, np.uint32).view(np.float32).tolist()
        both = enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        self._bytes = {token[0]: i for i, (token, kind) in both if kind == BYTE}

    def encode(self, text: str) -> list[int]:
        """Return the tokens of ``text``; UnsupportedError for a byte that no token can express."""
        # a piece that was joined into its left neighbour becomes b""; before[i] and after[i] are the
        # neighbours of piece i that are left
        pieces = [letter.encode() for letter in text]
        n = len(pieces)
        before, after = list(range(-1, n - 1)), list(range(1, n + 1))

        def pair(left: int) -> tuple[float, int, bytes] | None:
            """Return the heap's entry for joining ``left`` with its successor; None if that is no token."""
            right = after[left]
            token = self._ids.get(joined := pieces[left] + pieces[right]) if right < n else None
            return None if token is None else (-self._scores[token], left, joined)

        heap = [found for left in range(n) if (found := pair(left))]
        heapify(heap)
        while heap:
            _, left, joined = heappop(heap)
            right = after[left]
            # the entry is stale if either was joined meanwhile: then the two no longer give that text
            if not pieces[left] or right >= n or pieces[left] + pieces[right] != joined:
                continue
            pieces[left], pieces[right] = joined, b""
            after[left] = after[right]
            if after[left] < n:
                before[after[left]] = left
            for start in (before[left], left):
                if start >= 0 and (found := pair(start)):
                    heappush(heap, found)
        return [token for piece in pieces if piece for token in self._piece_ids(piece)]

    def _piece_ids(self, piece: bytes) -> list[int]:
        token = self._ids.get(piece)
        if token is not None:
            return [token]
        ids = [self._bytes.get(byte, -1) for byte in piece]
        if -1 in ids:
            missing = piece[ids.index(-1)]
            raise UnsupportedError(f"the vocabulary has no token for the byte 0x{missing:02x} of the text")
        return ids
