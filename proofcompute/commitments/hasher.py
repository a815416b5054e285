"""Define the protocol by which a backend hashes rows, groups of rows, and trees over their digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proofcompute.arrays import U8, Array, Arrays

__all__ = ["Hasher", "HasherOfArrays"]


class Hasher(Protocol):
    """Hash many rows at once; :mod:`proofcompute.commitments.hashing` defines the results."""

    def hash_rows(self, suite: str, prefix: bytes, rows: U8) -> U8:
        """Return the digest of prefix + row for each row of [n, w] bytes: [n, 32]."""
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
        """Return the digests of prefix + tag + row for the n rows of each of g groups: [g, n, 32].

        ``tags[i]`` precedes each row of group i; a row consists of the rows of the group's parts side by side
        (``row_bytes``). If ``out`` [g, >= row + n, 32] is given, the digests are written to its rows
        row..row+n, and it is returned. Raises InputError unless all groups have the same shapes and types.
        """
        ...

    def hash_trees(self, suite: str, prefix: bytes, leaves: U8, size: int) -> U8:
        """Return all nodes of t trees, as :func:`.hashing.hash_trees` does. ``prefix`` is one byte."""
        ...

    def hash_ranges(
        self, suite: str, prefix: bytes, size: int, ranges: Sequence[tuple[int, int]], leaves: U8, given: U8
    ) -> U8:
        """Return the roots of t trees from ranges of their leaves, as :func:`.hashing.hash_ranges` does.

        ``prefix`` is one byte. All arrays are on the host.
        """
        ...


class HasherOfArrays(Arrays, Hasher, Protocol):
    """A backend that hashes arrays of its own, which may lie on a device."""
