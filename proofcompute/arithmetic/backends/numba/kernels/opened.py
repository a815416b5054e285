"""Grow trees, compute roots from opened ranges of leaves, and check that opened floats are settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.signatures import read
from proofcompute.arithmetic.backends.numba.kernels import sha256
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.scalar.functions import FINITE_BITS
from proofcompute.arrays import F32, U8
from proofcompute.commitments.hashing import DIGEST, check_leaves, check_ranges
from proofcompute.commitments.hashing import hash_ranges as define

__all__ = ["hash_ranges", "hash_trees", "is_settled"]

_LARGEST: Final = 1 << 62
"""The most leaves of a tree whose indices can be computed in int64."""
_SPLIT_LEAVES: Final = 1 << 11
"""Least leaves of the trees that a thread of the pool pays for."""

_NEGATIVE_ZERO: Final = np.int32(-(2**31))
_MAGNITUDE: Final = np.int32(2**31 - 1)


@kernel(types.boolean(read(types.int32, 1)))
def _settled(bits: Any) -> Any:
    """Return whether no float32 with these bits is -0, an infinity or NaN."""
    wrong = np.int32(0)
    for i in range(bits.size):
        wrong |= np.int32(bits[i] == _NEGATIVE_ZERO) | np.int32((bits[i] & _MAGNITUDE) >= FINITE_BITS)
    return wrong == 0


def is_settled(x: F32) -> bool:
    """See :meth:`proofcompute.arithmetic.kernels.Kernels.is_settled`."""
    return bool(_settled(x.reshape(-1).view(np.int32)))


def hash_ranges(prefix: bytes, size: int, ranges: Sequence[tuple[int, int]], leaves: U8, given: U8) -> U8:
    """See :meth:`proofcompute.arithmetic.kernels.Kernels.hash_ranges`.

    The hash is SHA-256, and ``prefix`` is one byte.
    """
    if size > _LARGEST:
        return define("sha256", prefix, size, ranges, leaves, given)
    check_ranges(size, ranges, leaves, given)
    roots = np.empty((len(ranges), DIGEST), np.uint8)
    leaves, given = np.ascontiguousarray(leaves), np.ascontiguousarray(given)
    sha256.hash_ranges(prefix[0], size, np.array(ranges, np.int64), leaves, given, roots)
    return roots


def hash_trees(prefix: bytes, leaves: U8, size: int) -> U8:
    """See :meth:`proofcompute.arithmetic.kernels.Kernels.hash_trees`.

    The hash is SHA-256, and ``prefix`` is one byte.
    """
    check_leaves("sha256", leaves, size)
    count, level = size, size
    while level > 1:
        level = (level + 1) // 2
        count += level
    nodes = np.empty((len(leaves), count, DIGEST), np.uint8)
    least = -(-_SPLIT_LEAVES // size)
    leaves = np.ascontiguousarray(leaves)
    threads.split(sha256.hash_trees, len(leaves), least, prefix[0], leaves, size, nodes)
    return nodes
