"""Define the protocol by which a backend hashes rows, groups of rows, and trees over their digests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from proofcompute.arrays import U8, Array, Arrays
from proofcompute.commitments.hashing import DIGEST, require_suite
from proofcompute.errors import InputError

__all__ = ["Hasher", "HasherOfArrays", "check_groups"]


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
        row..row+n, and it is returned. Raises as :func:`check_groups`.
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


def check_groups(
    suite: str, tags: Sequence[bytes], groups: Sequence[Sequence[Array]], out: U8 | None = None, row: int = 0
) -> None:
    """Check the arguments of ``hash_groups``, for every backend.

    Raises UnsupportedError for an unknown suite, and InputError unless there are groups, all of the same
    shapes and types, with a tag of one length each, and ``out`` has room for their digests from ``row`` on.
    """
    require_suite(suite)
    kinds = {tuple((p.shape, p.dtype) for p in parts) for parts in groups}
    rows = {shape[0] for kind in kinds for shape, _ in kind}
    if len(tags) != len(groups) or len({len(t) for t in tags}) != 1 or len(kinds) != 1 or len(rows) != 1:
        raise InputError(
            "groups that are hashed together have tags of one length and the same shapes and types"
        )
    if out is None:
        return
    (n,) = rows
    fits = out.ndim == 3 and out.dtype == np.uint8 and (len(out), out.shape[2]) == (len(groups), DIGEST)
    if not fits or not 0 <= row <= out.shape[1] - n:
        raise InputError(f"no room for digests of {len(groups)} groups of {n} rows in {list(out.shape)}")
