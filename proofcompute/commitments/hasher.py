"""The hashing part of a backend: rows, groups of rows, and trees over their digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proofcompute.arrays import U8, Array, Arrays

__all__ = ["Hasher", "HasherOfArrays"]


class Hasher(Protocol):
    """Hashes many rows at once; :mod:`proofcompute.commitments.hashing` defines what comes out."""

    def hash_rows(self, suite: str, prefix: bytes, rows: U8) -> U8:
        """Digest of prefix + row for each row of [n, w] bytes: [n, 32]."""
        ...

    def hash_groups(
        self,
        suite: str,
        prefix: bytes,
        tags: Sequence[bytes],
        groups: Sequence[Sequence[Array]],
        out: U8 | None = None,
        row: int = 0,
    ) -> U8:
        """Digests of prefix + tag + row for the n rows of each of g groups: [g, n, 32].

        Group i has ``tags[i]`` in front of each of its rows, which are those of its parts side by side
        (``row_bytes``). Where ``out`` is given, [g, >= row + n, 32], they become its rows row..row+n, and it
        is returned. InputError unless groups are alike and fit
        (:mod:`proofcompute.arithmetic.definition.groups`).
        """
        ...

    def hash_trees(self, suite: str, prefix: bytes, leaves: U8, size: int) -> U8:
        """All nodes of t trees: see :func:`proofcompute.commitments.hashing.hash_trees`. ``prefix`` is one
        byte.
        """
        ...

    def hash_ranges(
        self, suite: str, prefix: bytes, size: int, ranges: Sequence[tuple[int, int]], leaves: U8, given: U8
    ) -> U8:
        """Roots of t trees of which some leaves are known: see
        :func:`proofcompute.commitments.hashing.hash_ranges`.

        ``prefix`` is one byte. On the host.
        """
        ...


class HasherOfArrays(Arrays, Hasher, Protocol):
    """A backend as growing trees want it: it hashes, and its arrays may be a device's."""
