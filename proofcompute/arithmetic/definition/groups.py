"""Hash groups of rows one after the other (:meth:`proofcompute.arithmetic.kernels.Kernels.hash_groups`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import U8, Array
from proofcompute.commitments.hasher import check_groups
from proofcompute.commitments.hashing import DIGEST

__all__ = ["hashed_groups"]


def hashed_groups(
    suite: str,
    prefix: bytes,
    tags: Sequence[bytes],
    groups: Sequence[Sequence[Array]],
    out: U8 | None,
    row: int,
    k: Kernels,
) -> U8:
    """Hash one group after the other, with the arguments of ``hash_groups``. Raises as ``check_groups``."""
    check_groups(suite, tags, groups, out, row)
    n = len(groups[0][0])
    if out is None:
        out, row = np.empty((len(groups), n, DIGEST), np.uint8), 0
    for to, tag, parts in zip(out, tags, groups, strict=True):
        to[row : row + n] = k.hash_rows(suite, prefix + tag, k.row_bytes(parts))
    return out
