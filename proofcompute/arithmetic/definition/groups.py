"""Hashing groups of rows as one group after the other
(:meth:`proofcompute.arithmetic.kernels.Kernels.hash_groups`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import U8, Array
from proofcompute.commitments.hashing import DIGEST
from proofcompute.errors import InputError

__all__ = ["check_groups", "hashed_groups"]


def check_groups(
    tags: Sequence[bytes], groups: Sequence[Sequence[Array]], out: U8 | None = None, row: int = 0
) -> None:
    """InputError unless there are groups, of the same shapes and types, with a tag of one length each, and
    ``out`` has room for their digests from ``row`` on.
    """
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


def hashed_groups(
    suite: str,
    prefix: bytes,
    tags: Sequence[bytes],
    groups: Sequence[Sequence[Array]],
    out: U8 | None,
    row: int,
    k: Kernels,
) -> U8:
    """``hash_groups`` as one group after the other."""
    check_groups(tags, groups, out, row)
    n = len(groups[0][0])
    if out is None:
        out, row = np.empty((len(groups), n, DIGEST), np.uint8), 0
    for to, tag, parts in zip(out, tags, groups, strict=True):
        to[row : row + n] = k.hash_rows(suite, prefix + tag, k.row_bytes(parts))
    return out
