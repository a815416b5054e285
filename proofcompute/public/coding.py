"""Hash the codes of a model, plane by plane (docs/spec/public-proofs.md#code-roots).

A leaf of a code is one position of the words of all its messages. It is hashed in a chain, since all words of
a large model fit into no memory: the digest of a position is 32 zero bytes at first, and each run of at most
1,024 messages of a plane replaces it by the leaf hash of itself and the words (u32, little-endian). So memory
is that of one run and of the digests, and a publisher reads each weight once. Runs of codes with more than
2^16 positions in a coset are shorter, so that their words stay below 2^26.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I8, U8, U32
from proofcompute.commitments import hashing, merkle
from proofcompute.commitments.hasher import Hasher
from proofcompute.commitments.hashing import DIGEST
from proofcompute.public.layout import Code, Layout, Plane

__all__ = ["SUITE", "Coder", "chained", "digests_of", "runs"]

SUITE: Final = "sha256"
"""Hash suite of code roots; it is fixed, so that a model has one public id for each rate."""
_TAG: Final = hashing.tag(SUITE, "code", "words")


def runs(code: Code, plane: Plane) -> Iterator[tuple[int, int]]:
    """The runs a..b of a plane's messages that are hashed together."""
    return ((a, min(a + code.run, plane.rows)) for a in range(0, plane.rows, code.run))


def chained(digests: U8, words: U32, kernels: Hasher) -> U8:
    """Return the digests uint8 [n, 32] of n positions after one more run of words uint32 [n, run]."""
    rows = np.empty((len(words), DIGEST + 4 * words.shape[1]), np.uint8)
    rows[:, :DIGEST] = digests
    rows[:, DIGEST:] = np.ascontiguousarray(words, "<u4").view(np.uint8)
    return merkle.leaves(SUITE, _TAG, rows, kernels.hash_rows)


def digests_of(words: U32, layout: Layout, number: int, kernels: Hasher) -> U8:
    """Return the digests of opened positions of a code, uint8 [n, 32], from all words of each [n, rows]."""
    digests = np.zeros((len(words), DIGEST), np.uint8)
    for plane in layout.of_code(number):
        for a, b in runs(layout.codes[number], plane):
            digests = chained(digests, words[:, plane.first + a : plane.first + b], kernels)
    return digests


class Coder:
    """The digests of all positions of all codes, while planes are added in order."""

    def __init__(self, layout: Layout, kernels: Kernels) -> None:
        self.layout = layout
        self.digests = [np.zeros((code.circle.size, DIGEST), np.uint8) for code in layout.codes]
        self._kernels = kernels

    def add(self, plane: Plane, matrix: I8) -> None:
        """Add a plane, given its matrix int8 [m, d]."""
        code, digests = self.layout.codes[plane.code], self.digests[plane.code]
        circle, size = code.circle, 1 << code.circle.bits
        for a, b in runs(code, plane):
            messages = self.layout.messages(plane, matrix, a, b)
            for coset in range(circle.cosets):
                words = self._kernels.circle_words(messages, circle.bits, circle.twiddles(coset))
                at = slice(coset * size, (coset + 1) * size)
                digests[at] = chained(digests[at], words, self._kernels)

    def trees(self) -> list[merkle.Tree]:
        """Return the trees over the digests once all planes are added."""
        return [merkle.Tree(SUITE, digests, self._kernels.hash_rows) for digests in self.digests]
