"""Make one root of many rows, and show that a row is among them: the trees of RFC 6962, section 2.1.

A leaf's hash is SHA-256 of 0x00 and its data, a node's that of 0x01 and its two children, so that neither
stands for the other. The left subtree has the greatest power of two of leaves that is less than all of them,
so a tree's root says how many leaves there are only together with their number, which is kept beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from proofcompute.errors import EnvelopeError, InputError

__all__ = ["MAX_LEAVES", "check_inclusion", "inclusion", "leaf_hash", "root_of"]

MAX_LEAVES: Final = 1 << 24
"""The most leaves of a tree that is made here."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the nodes of each level from below; a node without a sibling rises as it is."""
    if not 0 < len(leaves) <= MAX_LEAVES:
        raise InputError(f"a tree has 1 to {MAX_LEAVES} leaves, not {len(leaves)}")
    levels = [list(leaves)]
    while len(below := levels[-1]) > 1:
        above = [_node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(above + below[len(below) - len(below) % 2 :])
    return levels


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaves' hashes, 32 bytes. Raises InputError if there are none or too many."""
    return _levels(leaves)[-1][0]


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes beside the way from a leaf to the root, from below (RFC 6962, section 2.1.1)."""
    if not 0 <= index < len(leaves):
        raise InputError(f"there is no leaf {index} among {len(leaves)}")
    path, place = [], index
    for level in _levels(leaves)[:-1]:
        if place ^ 1 < len(level):
            path.append(level[place ^ 1])
        place >>= 1
    return path


def check_inclusion(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> None:
    """Check that a leaf's hash is at a place of a tree (RFC 9162, section 2.1.3.2).

    Raises EnvelopeError if it is not.
    """
    if not 0 <= index < size < 1 << 63:
        raise EnvelopeError(f"there is no leaf {index} in a tree of {size}")
    place, last, found, given = index, size - 1, leaf, list(path)
    for beside in given:
        if last == 0:
            raise EnvelopeError("the path is longer than the tree is high")
        if place % 2 or place == last:
            found = _node(beside, found)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _node(found, beside)
        place, last = place >> 1, last >> 1
    if last:
        raise EnvelopeError("the path ends below the root")
    if found != root:
        raise EnvelopeError("the leaf is not in the tree of this root")
